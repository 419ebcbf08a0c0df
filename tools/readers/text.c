/*
 * text.c - values as text, as csv and jsonl write them.
 */
#include "format.h"

#include <inttypes.h>
#include <string.h>

/* Nine digits bring every float back exactly. */
bool text_accepts(const struct format *format, uint32_t given, uint32_t *held)
{
    (void)format;
    *held = rows_is_ids(given) ? ROWS_INT64 : VINDEX_FLOAT;
    return true;
}

vindex_status text_write_value(struct writer *writer, const void *rows, size_t at,
                               const char *before, struct fault *fault)
{
    int64_t id;
    float value;

    if (writer->type == ROWS_INT64) {
        memcpy(&id, (const char *)rows + 8 * at, sizeof id);
        return output_print(writer->output, fault, "%s%" PRId64, before, id);
    }
    memcpy(&value, (const char *)rows + 4 * at, sizeof value);
    return output_print(writer->output, fault, "%s%.9g", before, value);
}
