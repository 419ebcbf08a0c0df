/*
 * text.c - the programs as StableHLO text: templates whose {X} are replaced by numbers and types.
 *
 * Only old, plain operations: text has no promise of compatibility, what it says has. The forms are
 * those of StableHLO's and JAX's own printers. The first line is a comment that says what the program
 * means; compilers skip it, the tests' plugin executes it and checks the rest against it.
 *
 *     scores  s = q . row + bias            f32, [Q, N]
 *     bins    row n of W L: bin n mod L; the best of each bin, then the K best of those
 *     sort    the K best of all N
 *
 * The order of values is (value descending, row ascending) where the program decides it. -infinity and
 * INT32_MAX are the reducer's identity: a real row wins against them, so rows are always in range.
 */
#include "kernels/pjrt/internal.h"

#include <stdio.h>
#include <string.h>

/* {Q} queries {N} rows {D} dim {K} k {L} bins {W} rows of a bin {E} element type {T} query tile's
   type {C} its contracted dimension {P} precision {R} recall {O} override. */

static const char comment[] = "// vindex {kind} type={E} terms={t} q={Q} n={N} d={D} k={K} "
                              "bins={L} recall={R} override={O}\n"
                              "module @vindex_{kind} {\n";

static const char head[] = "  func.func public @main(%q: {T}, %db: tensor<{N}x{D}x{E}>,"
                           " %bias: tensor<{N}xf32>)\n"
                           "      -> {result} {\n";

static const char product[] =
    "    %s = stablehlo.dot_general %q, %db, contracting_dims = [1] x [1]{P}\n"
    "         : ({T}, tensor<{N}x{D}x{E}>) -> tensor<{Q}x{N}xf32>\n";

/* The parts of a query are multiplied alone and their products added. */
static const char product_of_terms[] =
    "    %s3 = stablehlo.dot_general %q, %db, contracting_dims = [2] x [1]{P}\n"
    "         : ({T}, tensor<{N}x{D}x{E}>) -> tensor<{t}x{Q}x{N}xf32>\n"
    "    %zero = stablehlo.constant dense<0.000000e+00> : tensor<f32>\n"
    "    %s = stablehlo.reduce(%s3 init: %zero) applies stablehlo.add across dimensions = [0]\n"
    "         : (tensor<{t}x{Q}x{N}xf32>, tensor<f32>) -> tensor<{Q}x{N}xf32>\n";

static const char add_bias[] = "    %b = stablehlo.broadcast_in_dim %bias, dims = [1]"
                               " : (tensor<{N}xf32>) -> tensor<{Q}x{N}xf32>\n"
                               "    %t = stablehlo.add %s, %b : tensor<{Q}x{N}xf32>\n";

static const char return_scores[] = "    return %t : tensor<{Q}x{N}xf32>\n"
                                    "  }\n"
                                    "}\n";

/* Whether (%a, %i) comes before (%c, %j). */
#define BEFORE                                                                                     \
    "        %gt = stablehlo.compare GT, %a, %c : (tensor<f32>, tensor<f32>) -> tensor<i1>\n"      \
    "        %eq = stablehlo.compare EQ, %a, %c : (tensor<f32>, tensor<f32>) -> tensor<i1>\n"      \
    "        %lt = stablehlo.compare LT, %i, %j, SIGNED"                                           \
    " : (tensor<i32>, tensor<i32>) -> tensor<i1>\n"                                                \
    "        %e2 = stablehlo.and %eq, %lt : tensor<i1>\n"                                          \
    "        %p = stablehlo.or %gt, %e2 : tensor<i1>\n"

static const char reduce_bins[] =
    "    %t3 = stablehlo.reshape %t : (tensor<{Q}x{N}xf32>) -> tensor<{Q}x{W}x{L}xf32>\n"
    "    %w3 = stablehlo.iota dim = 1 : tensor<{Q}x{W}x{L}xi32>\n"
    "    %v0 = stablehlo.constant dense<0xFF800000> : tensor<f32>\n"
    "    %x0 = stablehlo.constant dense<2147483647> : tensor<i32>\n"
    "    %m:2 = stablehlo.reduce(%t3 init: %v0), (%w3 init: %x0) across dimensions = [1]\n"
    "         : (tensor<{Q}x{W}x{L}xf32>, tensor<{Q}x{W}x{L}xi32>, tensor<f32>, tensor<i32>)\n"
    "         -> (tensor<{Q}x{L}xf32>, tensor<{Q}x{L}xi32>)\n"
    "      reducer(%a: tensor<f32>, %c: tensor<f32>) (%i: tensor<i32>, %j: tensor<i32>) {\n" BEFORE
    "        %rv = stablehlo.select %p, %a, %c : tensor<i1>, tensor<f32>\n"
    "        %rx = stablehlo.select %p, %i, %j : tensor<i1>, tensor<i32>\n"
    "        stablehlo.return %rv, %rx : tensor<f32>, tensor<i32>\n"
    "      }\n"
    "    %lc = stablehlo.constant dense<{L}> : tensor<{Q}x{L}xi32>\n"
    "    %wl = stablehlo.multiply %m#1, %lc : tensor<{Q}x{L}xi32>\n"
    "    %ln = stablehlo.iota dim = 1 : tensor<{Q}x{L}xi32>\n"
    "    %row = stablehlo.add %wl, %ln : tensor<{Q}x{L}xi32>\n";

/* Sort {S} columns of %{V} and %{X}, keep {K}. */
static const char sort[] =
    "    %o:2 = \"stablehlo.sort\"({V}, {X}) <{dimension = 1 : i64, is_stable = false}> ({\n"
    "      ^bb0(%a: tensor<f32>, %c: tensor<f32>, %i: tensor<i32>, %j: tensor<i32>):\n" BEFORE
    "        stablehlo.return %p : tensor<i1>\n"
    "    }) : (tensor<{Q}x{S}xf32>, tensor<{Q}x{S}xi32>)"
    " -> (tensor<{Q}x{S}xf32>, tensor<{Q}x{S}xi32>)\n"
    "    %ov = stablehlo.slice %o#0 [0:{Q}, 0:{K}] : (tensor<{Q}x{S}xf32>) -> tensor<{Q}x{K}xf32>\n"
    "    %ox = stablehlo.slice %o#1 [0:{Q}, 0:{K}] : (tensor<{Q}x{S}xi32>) -> tensor<{Q}x{K}xi32>\n"
    "    return %ov, %ox : tensor<{Q}x{K}xf32>, tensor<{Q}x{K}xi32>\n"
    "  }\n"
    "}\n";

static const char all_rows[] = "    %x = stablehlo.iota dim = 1 : tensor<{Q}x{N}xi32>\n";

/* chlo.top_k gives positions among the winners: their rows are gathered. */
static const char top_k_of_bins[] =
    "    %z:2 = chlo.top_k(%m#0, k = {K}) : tensor<{Q}x{L}xf32>"
    " -> (tensor<{Q}x{K}xf32>, tensor<{Q}x{K}xi32>)\n"
    "    %g = stablehlo.reshape %z#1 : (tensor<{Q}x{K}xi32>) -> tensor<{Q}x{K}x1xi32>\n"
    "    %ox = \"stablehlo.gather\"(%row, %g) <{dimension_numbers = #stablehlo.gather<"
    "collapsed_slice_dims = [1],\n"
    "          operand_batching_dims = [0], start_indices_batching_dims = [0],"
    " start_index_map = [1], index_vector_dim = 2>,\n"
    "          indices_are_sorted = false, slice_sizes = array<i64: 1, 1>}>\n"
    "         : (tensor<{Q}x{L}xi32>, tensor<{Q}x{K}x1xi32>) -> tensor<{Q}x{K}xi32>\n"
    "    return %z#0, %ox : tensor<{Q}x{K}xf32>, tensor<{Q}x{K}xi32>\n"
    "  }\n"
    "}\n";

static const char top_k_of_all[] =
    "    %z:2 = chlo.top_k(%t, k = {K}) : tensor<{Q}x{N}xf32>"
    " -> (tensor<{Q}x{K}xf32>, tensor<{Q}x{K}xi32>)\n"
    "    return %z#0, %z#1 : tensor<{Q}x{K}xf32>, tensor<{Q}x{K}xi32>\n"
    "  }\n"
    "}\n";

/* As JAX lowers lax.approx_max_k for platform tpu; init row -1 wins ties at -infinity, so such rows
   mean nothing. */
static const char approx_comparator[] =
    "  func.func @gt(%a: tensor<f32>, %b: tensor<f32>, %i: tensor<i32>, %j: tensor<i32>)"
    " -> tensor<i1> {\n"
    "    %p = stablehlo.compare GT, %a, %b : (tensor<f32>, tensor<f32>) -> tensor<i1>\n"
    "    return %p : tensor<i1>\n"
    "  }\n";

static const char approx[] =
    "    %x = stablehlo.iota dim = 1 : tensor<{Q}x{N}xi32>\n"
    "    %v0 = stablehlo.constant dense<0xFF800000> : tensor<f32>\n"
    "    %x0 = stablehlo.constant dense<-1> : tensor<i32>\n"
    "    %r:2 = stablehlo.custom_call @ApproxTopK(%t, %x, %v0, %x0)"
    " {called_computations = [@gt],\n"
    "      mhlo.backend_config = {aggregate_to_topk = true, recall_target = {R} : f32,"
    " reduction_dim = 1 : i64,\n"
    "        reduction_input_size_override = {O} : i64, top_k = {K} : i64}}\n"
    "         : (tensor<{Q}x{N}xf32>, tensor<{Q}x{N}xi32>, tensor<f32>, tensor<i32>)"
    " -> (tensor<{Q}x{K}xf32>, tensor<{Q}x{K}xi32>)\n"
    "    return %r#0, %r#1 : tensor<{Q}x{K}xf32>, tensor<{Q}x{K}xi32>\n"
    "  }\n"
    "}\n";

/* The rows given are not consumed: searches that still read them are not disturbed. */
static const char append[] =
    "  func.func public @main(%db: tensor<{N}x{D}x{E}>, %new: tensor<{Q}x{D}x{E}>,"
    " %at: tensor<i32>)\n"
    "      -> tensor<{N}x{D}x{E}> {\n"
    "    %z = stablehlo.constant dense<0> : tensor<i32>\n"
    "    %r = stablehlo.dynamic_update_slice %db, %new, %at, %z\n"
    "         : (tensor<{N}x{D}x{E}>, tensor<{Q}x{D}x{E}>, tensor<i32>, tensor<i32>)"
    " -> tensor<{N}x{D}x{E}>\n"
    "    return %r : tensor<{N}x{D}x{E}>\n"
    "  }\n"
    "}\n";

/* ---- writing ------------------------------------------------------------------------------- */

struct writer {
    const struct vkern_pjrt_spec *spec;
    const char *values, *rows; /* what is sorted: {V} and {X}, {S} columns of them */
    uint32_t columns;
    char *text;
    size_t size, length;
};

static void put(struct writer *writer, const char *text, size_t n)
{
    for (size_t i = 0; i < n; i++, writer->length++)
        if (writer->length + 1 < writer->size) writer->text[writer->length] = text[i];
}

static const char *element(const struct vkern_pjrt_spec *spec)
{
    return spec->type == VKERN_PJRT_BF16 ? "bf16" : "f32";
}

static void print_word(const struct writer *writer, const char *name, size_t n, char *word,
                       size_t size)
{
    const struct vkern_pjrt_spec *spec = writer->spec;
    const char *precision = spec->type == VKERN_PJRT_F32 ? ", precision = [HIGHEST, HIGHEST]" : "";
    uint32_t number = 0;

    if (n == 6) { /* result */
        if (spec->kind == VKERN_PJRT_SCORES)
            snprintf(word, size, "tensor<%ux%uxf32>", spec->queries, spec->rows);
        else
            snprintf(word, size, "(tensor<%ux%uxf32>, tensor<%ux%uxi32>)", spec->queries, spec->k,
                     spec->queries, spec->k);
        return;
    }
    if (n == 4) { /* kind */
        snprintf(word, size, "%s", vkern_pjrt_kind_name(spec->kind));
        return;
    }
    switch (*name) {
    case 'E': snprintf(word, size, "%s", element(spec)); return;
    case 'P': snprintf(word, size, "%s", precision); return;
    /* with a point: "1 : f32" is no number of MLIR */
    case 'R': snprintf(word, size, "%.9e", (double)spec->recall); return;
    case 'O': snprintf(word, size, "%lld", (long long)spec->override_rows); return;
    case 'V': snprintf(word, size, "%s", writer->values); return;
    case 'X': snprintf(word, size, "%s", writer->rows); return;
    case 'T':
        if (spec->terms > 1)
            snprintf(word, size, "tensor<%ux%ux%ux%s>", spec->terms, spec->queries, spec->dim,
                     element(spec));
        else
            snprintf(word, size, "tensor<%ux%ux%s>", spec->queries, spec->dim, element(spec));
        return;
    case 'Q': number = spec->queries; break;
    case 'N': number = spec->rows; break;
    case 'D': number = spec->dim; break;
    case 'K': number = spec->k; break;
    case 'L': number = spec->bins; break;
    case 'W': number = spec->rows / spec->bins; break;
    case 'S': number = writer->columns; break;
    default: number = spec->terms; break; /* t */
    }
    snprintf(word, size, "%u", number);
}

/* A name in braces is one letter, "kind" or "result"; every other brace is the program's. */
static size_t name_length(const char *at)
{
    size_t n = strcspn(at, "}");
    if (n == 1 && strchr("EPROVXTQNDKLWSt", *at) != NULL) return 1;
    return (n == 4 && memcmp(at, "kind", 4) == 0) || (n == 6 && memcmp(at, "result", 6) == 0) ? n
                                                                                              : 0;
}

static void write_template(struct writer *writer, const char *template)
{
    for (const char *at = template; *at != '\0'; at++) {
        size_t n = *at == '{' ? name_length(at + 1) : 0;
        if (n == 0) {
            put(writer, at, 1);
            continue;
        }
        char word[96];
        print_word(writer, at + 1, n, word, sizeof word);
        put(writer, word, strlen(word));
        at += n + 1;
    }
}

static void write_selection(struct writer *writer)
{
    const struct vkern_pjrt_spec *spec = writer->spec;
    switch (spec->kind) {
    case VKERN_PJRT_SCORES: write_template(writer, return_scores); break;
    case VKERN_PJRT_BINS:
        write_template(writer, reduce_bins);
        writer->values = "%m#0", writer->rows = "%row", writer->columns = spec->bins;
        write_template(writer, sort);
        break;
    case VKERN_PJRT_BINS_TOPK:
        write_template(writer, reduce_bins);
        write_template(writer, top_k_of_bins);
        break;
    case VKERN_PJRT_SORT:
        write_template(writer, all_rows);
        writer->values = "%t", writer->rows = "%x", writer->columns = spec->rows;
        write_template(writer, sort);
        break;
    case VKERN_PJRT_TOPK: write_template(writer, top_k_of_all); break;
    default: write_template(writer, approx); break;
    }
}

static bool has_bins(enum vkern_pjrt_kind kind)
{
    return kind == VKERN_PJRT_BINS || kind == VKERN_PJRT_BINS_TOPK;
}

static bool is_sound(const struct vkern_pjrt_spec *spec)
{
    bool selects = spec->kind != VKERN_PJRT_SCORES && spec->kind != VKERN_PJRT_APPEND;
    if ((unsigned)spec->kind >= VKERN_PJRT_N_KINDS || spec->queries == 0 || spec->rows == 0 ||
        spec->dim == 0 || spec->rows > INT32_MAX)
        return false;
    if (spec->type != VKERN_PJRT_F32 && spec->type != VKERN_PJRT_BF16) return false;
    if (spec->terms != 1 && (spec->terms != 3 || spec->type != VKERN_PJRT_BF16)) return false;
    if (selects && (spec->k == 0 || spec->k > spec->rows)) return false;
    if (has_bins(spec->kind) &&
        (spec->bins == 0 || spec->rows % spec->bins != 0 || spec->k > spec->bins))
        return false;
    if (spec->kind == VKERN_PJRT_APPROX && !(spec->recall > 0 && spec->recall <= 1)) return false;
    return spec->kind != VKERN_PJRT_APPEND || spec->queries <= spec->rows;
}

const char *vkern_pjrt_kind_name(enum vkern_pjrt_kind kind)
{
    static const char *const names[VKERN_PJRT_N_KINDS] = {"scores", "bins",   "bins_topk", "sort",
                                                          "topk",   "approx", "append"};
    return (unsigned)kind < VKERN_PJRT_N_KINDS ? names[kind] : "unknown";
}

size_t vkern_pjrt_text(const struct vkern_pjrt_spec *given, char *text, size_t size)
{
    struct vkern_pjrt_spec spec = *given;
    struct writer writer = {.spec = &spec, .text = text, .size = size};

    if (size > 0) text[0] = '\0';
    if (!is_sound(given)) return 0;
    /* What a kind does not use is the same for all, so that equal programs have equal texts. */
    if (!has_bins(spec.kind)) spec.bins = 1;
    if (spec.kind != VKERN_PJRT_APPROX) spec.recall = 1, spec.override_rows = -1;
    if (spec.kind == VKERN_PJRT_SCORES || spec.kind == VKERN_PJRT_APPEND) spec.k = 1;

    write_template(&writer, comment);
    if (spec.kind == VKERN_PJRT_APPEND) {
        write_template(&writer, append);
    } else {
        if (spec.kind == VKERN_PJRT_APPROX) write_template(&writer, approx_comparator);
        write_template(&writer, head);
        write_template(&writer, spec.terms > 1 ? product_of_terms : product);
        write_template(&writer, add_bias);
        write_selection(&writer);
    }
    if (size > 0) text[writer.length < size ? writer.length : size - 1] = '\0';
    return writer.length;
}
