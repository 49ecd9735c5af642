/* Any bytes as a time: either a reason or an instant that the calendar of any zone can show. */
#include "query/time_spec.h"

#include "base/must.h"

#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct span text = span_of(data, size);
    const struct tz *zones[] = {tz_utc(), tz_find(SPAN_LIT("Europe/Berlin")), tz_find(SPAN_LIT("America/Sao_Paulo"))};
    struct err err = {0};
    int64_t t;

    for (size_t i = 0; i < sizeof(zones) / sizeof(*zones); i++) {
        const struct tz *tz = zones[i] != NULL ? zones[i] : tz_utc();

        if (time_spec_parse(text, tz, 1500000000, &t, &err) == 0) {
            struct civil c = civil_of(t + tz_offset(tz, t));

            MUST(c.month >= 1 && c.month <= 12 && c.day >= 1 && c.day <= civil_month_days(c.year, c.month));
            MUST(civil_seconds(&c) == t + tz_offset(tz, t));
        } else {
            MUST(err.text[0] != '\0');
        }
    }
    time_offset_parse(text, &t, NULL);
    tz_find(text);
    return 0;
}
