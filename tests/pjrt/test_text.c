/*
 * test_text.c - the texts of programs: each kind against a golden file, which was read line by line;
 * what makes no sense is refused; lengths are told right.
 */
#include "common/cmocka.h"

#include <string.h>

#include "kernels/pjrt/pjrt.h"
#include "plugin/meaning.h"

static const struct {
    const char *name;
    struct vkern_pjrt_spec spec;
} cases[] = {
    {"scores_f32", {VKERN_PJRT_SCORES, VKERN_PJRT_F32, 1, 8, 128, 20, 0, 0, 0, 0}},
    {"bins_f32", {VKERN_PJRT_BINS, VKERN_PJRT_F32, 1, 64, 131072, 128, 10, 256, 0, 0}},
    {"bins_bf16", {VKERN_PJRT_BINS, VKERN_PJRT_BF16, 1, 1, 1024, 7, 16, 128, 0, 0}},
    {"bins_topk_f32", {VKERN_PJRT_BINS_TOPK, VKERN_PJRT_F32, 1, 64, 131072, 128, 10, 256, 0, 0}},
    {"sort_bf16_terms", {VKERN_PJRT_SORT, VKERN_PJRT_BF16, 3, 8, 4096, 300, 32, 0, 0, 0}},
    {"topk_f32", {VKERN_PJRT_TOPK, VKERN_PJRT_F32, 1, 8, 4096, 300, 32, 0, 0, 0}},
    {"approx_bf16",
     {VKERN_PJRT_APPROX, VKERN_PJRT_BF16, 1, 64, 131072, 128, 10, 0, 0.95F, 1048576}},
    {"approx_exact", {VKERN_PJRT_APPROX, VKERN_PJRT_F32, 1, 1, 1024, 2, 3, 0, 1, -1}},
    {"append_f32", {VKERN_PJRT_APPEND, VKERN_PJRT_F32, 1, 1024, 131072, 128, 0, 0, 0, 0}},
};
enum { N_CASES = sizeof cases / sizeof *cases };

static void golden_texts(void **state)
{
    (void)state;
    for (size_t i = 0; i < N_CASES; i++) {
        char path[512], text[8192], golden[8192] = "";
        size_t length = vkern_pjrt_text(&cases[i].spec, text, sizeof text);
        assert_in_range(length, 1, sizeof text - 1);
        assert_int_equal(strlen(text), length);
        snprintf(path, sizeof path, "%s/tests/pjrt/golden/%s.mlir", VINDEX_SOURCE_DIR,
                 cases[i].name);
        FILE *file = fopen(path, "r");
        if (!file) fail_msg("%s is missing; the text is now:\n%s", path, text);
        size_t n = fread(golden, 1, sizeof golden - 1, file);
        fclose(file);
        golden[n] = '\0';
        assert_string_equal(text, golden);
    }
}

/* The check of the test plugin passes each text, and sees each number that is changed in it. */
static void texts_agree_with_their_comment(void **state)
{
    struct meaning meaning;
    char text[8192], why[400];
    (void)state;
    for (size_t i = 0; i < N_CASES; i++) {
        size_t length = vkern_pjrt_text(&cases[i].spec, text, sizeof text);
        if (!meaning_read(text, length, &meaning, why, sizeof why))
            fail_msg("%s: %s", cases[i].name, why);
        assert_int_equal(meaning.q, cases[i].spec.queries);
        assert_int_equal(meaning.n, cases[i].spec.rows);
        assert_int_equal(meaning.d, cases[i].spec.dim);

        char *at = strstr(text, "tensor<");
        memcpy(at, "tensor(", 7);
        assert_false(meaning_read(text, length, &meaning, why, sizeof why));
        vkern_pjrt_text(&cases[i].spec, text, sizeof text);
        at = strstr(text, " n=");
        at[3] = '9';
        assert_false(meaning_read(text, length, &meaning, why, sizeof why));
    }
}

static void lengths_and_cuts(void **state)
{
    char text[8192], cut[100];
    (void)state;
    for (size_t i = 0; i < N_CASES; i++) {
        size_t length = vkern_pjrt_text(&cases[i].spec, text, sizeof text);
        assert_int_equal(vkern_pjrt_text(&cases[i].spec, NULL, 0), length);
        assert_int_equal(vkern_pjrt_text(&cases[i].spec, cut, sizeof cut), length);
        assert_int_equal(strlen(cut), sizeof cut - 1);
        assert_memory_equal(cut, text, sizeof cut - 1);
    }
}

static void nonsense_has_no_text(void **state)
{
    static const struct vkern_pjrt_spec good = {
        VKERN_PJRT_BINS, VKERN_PJRT_F32, 1, 8, 1024, 4, 10, 128, 0, 0};
    struct vkern_pjrt_spec spec;
    (void)state;
    assert_int_not_equal(vkern_pjrt_text(&good, NULL, 0), 0);
#define REFUSED(change)                                                                            \
    spec = good, change;                                                                           \
    assert_int_equal(vkern_pjrt_text(&spec, NULL, 0), 0)
    REFUSED(spec.queries = 0);
    REFUSED(spec.rows = 0);
    REFUSED(spec.dim = 0);
    REFUSED(spec.k = 0);
    REFUSED(spec.bins = 0);
    REFUSED(spec.bins = 100);
    REFUSED(spec.k = 129);
    REFUSED(spec.rows = UINT32_C(1) << 31);
    REFUSED(spec.kind = VKERN_PJRT_N_KINDS);
    REFUSED(spec.type = VKERN_PJRT_I32);
    REFUSED(spec.terms = 2);
    REFUSED(spec.terms = 3);
    REFUSED((spec.kind = VKERN_PJRT_SORT, spec.k = 1025));
    REFUSED((spec.kind = VKERN_PJRT_APPROX, spec.recall = 0));
    REFUSED((spec.kind = VKERN_PJRT_APPEND, spec.queries = 2000));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_texts),
        cmocka_unit_test(texts_agree_with_their_comment),
        cmocka_unit_test(lengths_and_cuts),
        cmocka_unit_test(nonsense_has_no_text),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
