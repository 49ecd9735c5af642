/* Any bytes as an INI file: read or refused, and what was read lies within the text. */
#include "base/ini.h"

#include "base/must.h"

#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_section(const struct ini *ini, const struct ini_section *section, size_t size)
{
    for (size_t i = 0; i < section->count; i++) {
        const struct ini_option *option = &section->options[i];

        MUST(option->key.len != 0 && option->line > 0);
        MUST(option->key.ptr >= ini->text && option->key.ptr + option->key.len <= ini->text + size);
        MUST(option->value.ptr >= ini->text && option->value.ptr + option->value.len <= ini->text + size);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    for (unsigned flags = INI_STRICT; flags <= INI_ALLOW_GLOBAL; flags++) {
        struct err err;
        struct ini *ini;

        if (ini_parse(span_of(data, size), "f", flags, &ini, &err) < 0) {
            MUST(err.code == ERR_INPUT && ini == NULL);
            continue;
        }
        for (size_t i = 0; i < ini->count; i++)
            check_section(ini, &ini->sections[i], size);
        ini_free(ini);
    }
    return 0;
}
