/*
 * options.c - names and numbers of types, metrics and options; the one table of options; option structs of
 * callers that were built against an older or newer header.
 */
#include <math.h>
#include <string.h>
#include <strings.h>

#include "api/api.h"
#include "base/status.h"
#include "kernels/kernels.h"

_Static_assert(sizeof(vindex_create_options) == 40, "the public layout is pinned");
_Static_assert(sizeof(vindex_search_options) == 56, "the public layout is pinned");
_Static_assert(sizeof(vindex_filter) == 48, "the public layout is pinned");
_Static_assert(sizeof(vindex_hit) == 16, "the public layout is pinned");
_Static_assert(sizeof(vindex_vectors) == 32, "the public layout is pinned");
_Static_assert(sizeof(vindex_report) == 232, "the public layout is pinned");
_Static_assert(sizeof(vindex_stats) == 152, "the public layout is pinned");
_Static_assert((int)VINDEX_BIT == VKERN_BIT && (int)VINDEX_HAMMING == VKERN_HAMMING,
               "types and metrics have one numbering");

static const vindex_option option_table[] = {
    {"dim", "create", "int", "", "1..65520", "numbers in a vector"},
    {"type", "create", "enum", "float", "float|float16|bfloat16|int8|uint8|bit",
     "how each number is stored"},
    {"metric", "create", "enum", "l2", "l2|cosine|ip|hamming", "what nearest means"},
    {"layout", "create", "enum", "auto", "auto|flat", "how rows are arranged"},
    {"recall", "create", "float", "0.99", "(0, 1]", "the index's default recall target"},
    {"seal-rows", "create", "int", "4096", "1..16384", "fresh rows that make a segment"},
    {"seal-bytes", "create", "int", "8388608", "1..16777216", "or their bytes, whichever comes first"},
    {"recall", "search", "float", "the index's", "(0, 1]", "recall target; 1 = exact and proven"},
    {"threads", "search", "int", "1", "1..1024", "threads that share a call's work"},
    {"device", "search", "text", "cpu", "cpu|pjrt[:PLUGIN][,required]",
     "TPU or GPU that answers, through a PJRT plugin"},
    {"timeout-ms", "search", "int", "0", "0..", "stop after this time; 0 = never"},
};

const vindex_option *vindex_options(size_t *n)
{
    if (n) *n = sizeof option_table / sizeof *option_table;
    return option_table;
}

static const struct {
    const char *name, *alias;
    vindex_type type;
} types[] = {
    {"FLOAT", "f32", VINDEX_FLOAT},       {"FLOAT16", "f16", VINDEX_FLOAT16},
    {"BFLOAT16", "bf16", VINDEX_BFLOAT16}, {"INT8", "i8", VINDEX_INT8},
    {"UINT8", "u8", VINDEX_UINT8},        {"BIT", "b1", VINDEX_BIT},
};
static const char *const metrics[] = {"l2", "cosine", "ip", "hamming"};

vindex_status vindex_type_parse(const char *text, vindex_type *type)
{
    for (size_t i = 0; text && type && i < sizeof types / sizeof *types; i++)
        if (strcasecmp(text, types[i].name) == 0 || strcasecmp(text, types[i].alias) == 0) {
            *type = types[i].type;
            return VINDEX_OK;
        }
    return vindex__fail(VINDEX_INVALID,
                        "type '%s' is unknown: give float, float16, bfloat16, int8, uint8 or bit",
                        text ? text : "");
}

const char *vindex_type_name(vindex_type type)
{
    return (unsigned)type <= VINDEX_BIT ? types[type].name : "unknown";
}

vindex_status vindex_metric_parse(const char *text, vindex_metric *metric)
{
    for (size_t i = 0; text && metric && i < sizeof metrics / sizeof *metrics; i++)
        if (strcasecmp(text, metrics[i]) == 0) {
            *metric = (vindex_metric)i;
            return VINDEX_OK;
        }
    return vindex__fail(VINDEX_INVALID, "metric '%s' is unknown: give l2, cosine, ip or hamming",
                        text ? text : "");
}

const char *vindex_metric_name(vindex_metric metric)
{
    return (unsigned)metric <= VINDEX_HAMMING ? metrics[metric] : "unknown";
}

size_t vindex_row_bytes(vindex_type type, uint32_t dim)
{
    return vkern_row_bytes((enum vkern_type)type, dim);
}

const char *vindex_isa(void)
{
    return vkern_get()->level_name;
}

vindex_status vindex__options_read(const void *given, void *mine, size_t mine_size, const char *what)
{
    uint32_t size;
    if (!given) return VINDEX_OK;
    memcpy(&size, given, sizeof size);
    if (size < 8 || size > 4096)
        return vindex__fail(VINDEX_INVALID, "%s has struct_size %u: start from its _INIT macro", what,
                            size);
    for (size_t i = mine_size; i < size; i++)
        if (((const unsigned char *)given)[i])
            return vindex__fail(VINDEX_UNSUPPORTED,
                                "%s sets a field this library (%s) does not know", what, VINDEX_VERSION);
    memcpy(mine, given, size < mine_size ? size : mine_size);
    return VINDEX_OK;
}

vindex_status vindex__check_shape(uint32_t dim, uint32_t type, uint32_t metric)
{
    if (dim == 0 || dim > VINDEX_DIM_MAX)
        return vindex__fail(VINDEX_INVALID, "dim %u is outside 1..%u", dim, VINDEX_DIM_MAX);
    if (type > VINDEX_BIT)
        return vindex__fail(VINDEX_INVALID, "type %u is unknown: see vindex_type", type);
    if (metric > VINDEX_HAMMING)
        return vindex__fail(VINDEX_INVALID, "metric %u is unknown: see vindex_metric", metric);
    if (type == VINDEX_BIT && metric != VINDEX_HAMMING)
        return vindex__fail(VINDEX_INVALID, "type BIT has metric hamming, %s was given",
                            vindex_metric_name((vindex_metric)metric));
    if (type != VINDEX_BIT && metric == VINDEX_HAMMING)
        return vindex__fail(VINDEX_INVALID, "metric hamming needs type BIT, %s was given",
                            vindex_type_name((vindex_type)type));
    return VINDEX_OK;
}

vindex_status vindex__config_from(const vindex_create_options *given, struct config *config)
{
    vindex_create_options o = {0};
    if (!given) return vindex__fail(VINDEX_INVALID, "options are NULL: dim must be set");
    vindex_status st = vindex__options_read(given, &o, sizeof o, "vindex_create_options");
    if (st == VINDEX_OK) st = vindex__check_shape(o.dim, o.type, o.metric);
    if (st != VINDEX_OK) return st;
    if (o.flags)
        return vindex__fail(VINDEX_UNSUPPORTED, "create flags 0x%x are unknown: give 0", o.flags);
    if (o.layout > VINDEX_LAYOUT_FLAT)
        return vindex__fail(VINDEX_INVALID, "layout %u is unknown: see vindex_layout", o.layout);
    if (o.recall != 0 && !(o.recall > 0 && o.recall <= 1))
        return vindex__fail(VINDEX_INVALID, "recall %g is outside (0, 1]", (double)o.recall);
    if (o.seal_rows > SEGMENT_ROWS_MAX)
        return vindex__fail(VINDEX_INVALID, "seal_rows %u is outside 1..%u", o.seal_rows,
                            SEGMENT_ROWS_MAX);
    if (o.seal_bytes > SEGMENT_BYTES_MAX)
        return vindex__fail(VINDEX_INVALID, "seal_bytes %llu is outside 1..%u",
                            (unsigned long long)o.seal_bytes, SEGMENT_BYTES_MAX);
    *config = (struct config){
        .format = FORMAT_VERSION,
        .dim = o.dim,
        .type = o.type,
        .metric = o.metric,
        .layout = o.layout,
        .recall = o.recall != 0 ? o.recall : 0.99f,
        .seal_rows = o.seal_rows ? o.seal_rows : 4096, /* one commit of the tail stays below ~10 ms */
        .seal_bytes = o.seal_bytes ? o.seal_bytes : 8u << 20,
    };
    return VINDEX_OK;
}
