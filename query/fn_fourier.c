/* Fourier transforms of series, of any length in n log n: a power of two by the usual butterflies; any other length
 * by Bluestein's way, which writes the transform as a convolution and takes three transforms of a power of two for
 * it. None counts as 0. */
#include "query/fn.h"

#include <complex.h>
#include <math.h>

static const double pi = 3.14159265358979323846;

/* exp(-2 pi i k / N) for k < N / 2. */
static double complex *turns_of(struct arena *arena, size_t n)
{
    double complex *turns = arena_calloc(arena, n / 2, sizeof(*turns));

    for (size_t k = 0; k < n / 2; k++)
        turns[k] = cexp(-2 * pi * I * (double)k / (double)n);
    return turns;
}

/* In place; N is a power of two. SIGN -1 transforms, 1 goes back (without dividing by N). */
static void transform_power_of_two(double complex *v, size_t n, const double complex *turns, double sign)
{
    for (size_t i = 1, k = 0; i < n; i++) {
        size_t bit = n / 2;

        for (; k & bit; bit /= 2)
            k ^= bit;
        k ^= bit;
        if (i < k) {
            double complex swap = v[i];

            v[i] = v[k];
            v[k] = swap;
        }
    }
    for (size_t half = 1; half < n; half *= 2) {
        for (size_t k = 0; k < half; k++) {
            double complex turn = sign < 0 ? turns[n / 2 / half * k] : conj(turns[n / 2 / half * k]);

            for (size_t i = k; i < n; i += 2 * half) {
                double complex odd = v[i + half] * turn;

                v[i + half] = v[i] - odd;
                v[i] += odd;
            }
        }
    }
}

/* exp(sign * pi * i * k^2 / n): the square is taken modulo 2n, where the function repeats, to stay exact. */
static double complex chirp(size_t k, size_t n, double sign)
{
    double square = (double)((unsigned __int128)k * k % (2 * (unsigned __int128)n));

    return cexp(sign * pi * I * square / (double)n);
}

static void transform(struct arena *arena, double complex *v, size_t n, double sign)
{
    double complex *a, *b, *turns;
    size_t wide = 1;

    while (wide < n)
        wide *= 2;
    if (wide == n || n == 0) {
        if (n > 1)
            transform_power_of_two(v, n, turns_of(arena, n), sign);
        return;
    }
    wide *= 2;
    turns = turns_of(arena, wide);
    a = arena_calloc(arena, wide, sizeof(*a));
    b = arena_calloc(arena, wide, sizeof(*b));
    for (size_t k = 0; k < n; k++) {
        b[k] = chirp(k, n, -sign);
        a[k] = v[k] * conj(b[k]);
        b[(wide - k) % wide] = b[k];
    }
    transform_power_of_two(a, wide, turns, -1);
    transform_power_of_two(b, wide, turns, -1);
    for (size_t k = 0; k < wide; k++)
        a[k] *= b[k];
    transform_power_of_two(a, wide, turns, 1);
    for (size_t k = 0; k < n; k++)
        v[k] = a[k] / (double)wide * chirp(k, n, sign);
}

static double known(double v)
{
    return isfinite(v) ? v : 0;
}

static void add_part(struct fn_call *call, const struct series *s, const double complex *v, size_t n, const char *part,
                     struct series_list *result)
{
    struct series *made = series_copy(call->arena, s, fn_name(call, "fft(%.*s,%s)", SPAN_ARG(s->name), part));
    double *values = series_room(call->arena, n);

    for (size_t i = 0; i < n; i++)
        values[i] = part[0] == 'a' ? cabs(v[i]) : carg(v[i]);
    made->integers = false;
    series_set_values(made, values, n);
    series_list_add(call->arena, result, made);
}

static int fft(struct fn_call *call, struct value *out)
{
    const struct series_list *list = fn_list(call, 0);
    struct span mode = fn_text(call, 1, "both");
    bool abs = !span_eq(mode, SPAN_LIT("phase"));
    bool phase = !span_eq(mode, SPAN_LIT("abs"));
    struct series_list result = {0};

    if (abs && phase && mode.len > 0 && !span_eq(mode, SPAN_LIT("both")) && !span_eq(mode, SPAN_LIT("all")))
        return fn_fail(call, "the mode must be abs, phase or both");
    for (size_t i = 0; i < list->count; i++) {
        const struct series *s = list->items[i];
        const double *points;
        double complex *v;
        size_t n;

        if (fn_points(call, s, &points, &n) < 0)
            return ERR_INPUT;
        v = arena_calloc(call->arena, n, sizeof(*v));
        for (size_t k = 0; k < n; k++)
            v[k] = known(points[k]);
        transform(call->arena, v, n, -1);
        if (abs)
            add_part(call, s, v, n, "abs", &result);
        if (phase)
            add_part(call, s, v, n, "phase", &result);
    }
    return fn_return(out, result);
}

static int ifft(struct fn_call *call, struct value *out)
{
    const struct series_list *list = fn_list(call, 0);
    const struct series_list *phases = fn_list(call, 1);
    struct series_list result = {0};

    for (size_t i = 0; i < list->count; i++) {
        const struct series *s = list->items[i];
        const struct series *p = i < phases->count ? phases->items[i] : NULL;
        const double *points, *angles = NULL;
        size_t n, angles_count = 0;
        struct series *made;
        double complex *v;
        double *values;

        if (fn_points(call, s, &points, &n) < 0 || (p != NULL && fn_points(call, p, &angles, &angles_count) < 0))
            return ERR_INPUT;
        v = arena_calloc(call->arena, n, sizeof(*v));
        for (size_t k = 0; k < n; k++)
            v[k] = known(points[k]) * cexp(I * (k < angles_count ? known(angles[k]) : 0));
        transform(call->arena, v, n, 1);
        values = series_room(call->arena, n);
        for (size_t k = 0; k < n; k++)
            values[k] = cabs(v[k]) / (double)n;
        made = series_copy(call->arena, s,
                           p == NULL ? fn_name(call, "ifft(%.*s)", SPAN_ARG(s->name))
                                     : fn_name(call, "ifft(%.*s, %.*s)", SPAN_ARG(s->name), SPAN_ARG(p->name)));
        made->integers = false;
        series_set_values(made, values, n);
        series_list_add(call->arena, &result, made);
    }
    return fn_return(out, result);
}

/* Of a spectrum, the low frequencies stand at both ends. */
static int low_pass(struct fn_call *call, struct value *out)
{
    const struct series_list *list = fn_list(call, 0);
    double percent = fn_float(call, 1, 0);
    struct series_list result = {0};

    if (!(percent >= 0 && percent <= 100))
        return fn_fail(call, "the percentage must be between 0 and 100");
    for (size_t i = 0; i < list->count; i++) {
        const struct series *s = list->items[i];
        struct series *made =
            series_copy(call->arena, s, fn_name(call, "lowPass(%.*s,%g)", SPAN_ARG(s->name), percent));
        const double *points;
        double *values;
        size_t n, kept;

        if (fn_points(call, s, &points, &n) < 0)
            return ERR_INPUT;
        kept = (size_t)(percent / 200 * (double)n);
        values = series_room(call->arena, n);
        for (size_t k = 0; k < n; k++)
            values[k] = k < kept || k >= n - kept ? points[k] : NAN;
        series_set_values(made, values, n);
        series_list_add(call->arena, &result, made);
    }
    return fn_return(out, result);
}

static const struct fn_def fouriers[] = {
    {.name = "fft",
     .group = "Transform",
     .params = {FN_SERIES("seriesList"),
                {.name = "mode", .type = FN_TYPE_STRING, .options = "[\"abs\",\"phase\",\"both\"]"}},
     .brief = "The Fourier transform of each series: amounts, phases, or both. None counts as 0.",
     .extension = FN_CARBONAPI,
     .kind = FN_ANY,
     .run = fft},
    {.name = "ifft",
     .group = "Transform",
     .params = {FN_SERIES("seriesList"), FN_OPTIONAL("phaseSeriesList", FN_TYPE_SERIES_LIST)},
     .brief = "The amounts of the inverse Fourier transform, of spectra given by amounts and, optionally, phases.",
     .extension = FN_CARBONAPI,
     .kind = FN_ANY,
     .run = ifft},
    {.name = "lowPass",
     .group = "Transform",
     .params = {FN_SERIES("seriesList"), FN_PARAM("cutPercent", FN_TYPE_FLOAT)},
     .brief = "Of a spectrum (see fft), only the so many percent of lowest frequencies.",
     .extension = FN_CARBONAPI,
     .kind = FN_ANY,
     .run = low_pass},
    {.name = "lpf",
     .group = "Transform",
     .params = {FN_SERIES("seriesList"), FN_PARAM("cutPercent", FN_TYPE_FLOAT)},
     .brief = "Short for lowPass.",
     .extension = FN_CARBONAPI,
     .kind = FN_ANY,
     .run = low_pass},
};
const struct fn_family fn_fourier = FN_FAMILY(fouriers);
