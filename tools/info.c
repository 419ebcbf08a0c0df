/*
 * info.c - vindex info: the facts of an index.
 */
#include <inttypes.h>
#include <string.h>

#include "command.h"
#include "library.h"
#include "rows.h"

static const struct flag flags[] = {
    {"json", 0, NULL, NULL, "print one JSON object"},
    {NULL, 0, NULL, NULL, NULL},
};

static void format_uuid(const uint8_t uuid[16], char text[33])
{
    static const char digits[] = "0123456789abcdef";

    for (int i = 0; i < 16; i++) {
        text[2 * i] = digits[uuid[i] >> 4];
        text[2 * i + 1] = digits[uuid[i] & 15];
    }
    text[32] = 0;
}

/* Removed rows in the segments encoded keep their codes: they count as well. */
static double codes_bytes_a_row(const vindex_stats *stats)
{
    return stats->n_coded ? (double)stats->codes_bytes / (double)stats->n_coded : 0;
}

static vindex_status print_json(const char *path, const vindex_stats *stats, const char *uuid,
                                struct output *out, struct fault *fault)
{
    vindex_status st = output_print(out, fault, "{\"index\":");

    if (st == VINDEX_OK) st = print_json_string(out, path, fault);
    if (st != VINDEX_OK) return st;
    return output_print(
        out, fault,
        ",\"rows\":%" PRIu64 ",\"dim\":%lu,\"type\":\"%s\",\"metric\":\"%s\",\"layout\":\"%s\","
        "\"recall\":%.6g,\"tail_rows\":%" PRIu64 ",\"dead_rows\":%" PRIu64 ",\"segments\":%" PRIu64
        ",\"blocks\":%" PRIu64 ",\"row_bytes\":%" PRIu64 ",\"size_bytes\":%" PRIu64
        ",\"used_bytes\":%" PRIu64 ",\"coded_rows\":%" PRIu64 ",\"c4_axes\":%lu,\"p8_axes\":%lu,\"codes_bytes\":%" PRIu64
        ",\"audits\":%" PRIu64 ",\"epoch\":%" PRIu64 ",\"next_id\":%" PRId64
        ",\"format_version\":%lu,\"uuid\":\"%s\",\"isa\":\"%s\",\"version\":\"%s\"}\n",
        stats->n_rows, (unsigned long)stats->dim, rows_type_name(stats->type),
        vindex_metric_name((vindex_metric)stats->metric), library_layout_name(stats->layout),
        (double)stats->recall, stats->n_tail, stats->n_dead, stats->n_segments, stats->n_blocks,
        stats->row_bytes, stats->size_bytes, stats->used_bytes, stats->n_coded,
        (unsigned long)stats->c4_axes, (unsigned long)stats->p8_axes, stats->codes_bytes, stats->n_audits,
        stats->epoch, stats->next_id, (unsigned long)stats->format_version, uuid, vindex_isa(), vindex_version());
}

static vindex_status print_text(const char *path, const vindex_stats *stats, const char *uuid,
                                struct output *out, struct fault *fault)
{
    vindex_status st = output_print(out, fault, "index       ");

    if (st == VINDEX_OK) st = output_write(out, path, strlen(path), fault);
    if (st != VINDEX_OK) return st;
    return output_print(
        out, fault,
        "\nrows        %" PRIu64 " (%" PRIu64 " of them in the tail)\n"
        "vectors     %lu x %s, metric %s, layout %s\n"
        "recall      %.6g by default\n"
        "segments    %" PRIu64 ", with %" PRIu64 " removed rows that still take space\n"
        "blocks      %" PRIu64 "\n"
        "size        %" PRIu64 " bytes, %" PRIu64 " in use (a row has %" PRIu64 ")\n"
        "codes       of %" PRIu64 " rows, %.1f bytes each, 4-bit ones along %lu axes, 8-bit ones along %lu\n"
        "audits      %" PRIu64 "\n"
        "epoch       %" PRIu64 "\n"
        "next id     %" PRId64 "\n"
        "uuid        %s, format %lu\n"
        "vindex      %s, instruction set %s\n",
        stats->n_rows, stats->n_tail, (unsigned long)stats->dim, rows_type_name(stats->type),
        vindex_metric_name((vindex_metric)stats->metric), library_layout_name(stats->layout),
        (double)stats->recall, stats->n_segments, stats->n_dead, stats->n_blocks, stats->size_bytes,
        stats->used_bytes, stats->row_bytes, stats->n_coded, codes_bytes_a_row(stats),
        (unsigned long)stats->c4_axes, (unsigned long)stats->p8_axes, stats->n_audits, stats->epoch,
        stats->next_id, uuid, (unsigned long)stats->format_version, vindex_version(), vindex_isa());
}

static vindex_status run(const struct arguments *arguments, struct output *out, struct fault *fault)
{
    const char *path = arguments_operand(arguments, 0);
    vindex *index = NULL;
    vindex_stats stats;
    uint8_t uuid[16];
    char uuid_text[33];
    vindex_status st = library_open(path, &index, NULL, fault);

    if (st == VINDEX_OK) st = library_stat(index, path, &stats, fault);
    if (st == VINDEX_OK) st = library_check(vindex_uuid(index, uuid), path, fault);
    if (st == VINDEX_OK) {
        format_uuid(uuid, uuid_text);
        st = arguments_has(arguments, "json") ? print_json(path, &stats, uuid_text, out, fault)
                                              : print_text(path, &stats, uuid_text, out, fault);
    }
    vindex_close(index);
    return st;
}

const struct command command_info = {
    .name = "info",
    .operands = "INDEX",
    .n_operands_least = 1,
    .n_operands_most = 1,
    .summary = "the facts of an index",
    .flags = flags,
    .run = run,
};
