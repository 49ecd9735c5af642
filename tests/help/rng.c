#include "tests/help/rng.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The seed whose body runs, as text: a signal handler may not format. Empty: none. */
static char running[64];

/* A failed assertion ends the test's process by exit(): with the note still set, the body was left. */
__attribute__((destructor)) static void tell_seed(void)
{
    if (running[0] != '\0' && write(2, running, strlen(running)) < 0)
        _exit(1);
    running[0] = '\0';
}

static const int deadly[] = {SIGABRT, SIGSEGV, SIGBUS, SIGFPE, SIGILL};
static struct sigaction before[sizeof(deadly) / sizeof(deadly[0])];

/* Tell, then let whoever was there before (the sanitizer, the system) deal with the signal again. */
static void tell_and_die(int sig)
{
    tell_seed();
    for (size_t i = 0; i < sizeof(deadly) / sizeof(deadly[0]); i++)
        if (deadly[i] == sig)
            sigaction(sig, &before[i], NULL);
    if (sig == SIGABRT)
        raise(sig);
}

static void watch_signals(void)
{
    static bool done;
    struct sigaction action = {.sa_handler = tell_and_die};

    if (done)
        return;
    done = true;
    for (size_t i = 0; i < sizeof(deadly) / sizeof(deadly[0]); i++)
        sigaction(deadly[i], &action, &before[i]);
}

static bool from_environment(const char *name, uint64_t *out)
{
    const char *text = getenv(name);

    if (text == NULL || *text == '\0')
        return false;
    *out = strtoull(text, NULL, 0);
    return true;
}

uint64_t rng_seed_first(void)
{
    uint64_t seed = 1;

    watch_signals();
    if (!from_environment("SEED", &seed))
        from_environment("SEEDS_FROM", &seed);
    return seed;
}

bool rng_seed_next(uint64_t seed, uint64_t count)
{
    uint64_t only;
    bool goes_on;

    if (from_environment("SEED", &only))
        goes_on = seed == only;
    else
        goes_on = seed - rng_seed_first() < count;
    running[0] = '\0';
    if (goes_on)
        snprintf(running, sizeof(running), "this was SEED=%llu\n", (unsigned long long)seed);
    return goes_on;
}
