/*
 * test_topk.c - the corpus of fuzz_topk.c through it, with any compiler and at every level, and 20,000 rows of
 * bytes drawn by chance (test_slow_topk.c: a million).
 */
#include "common/cmocka.h"

#include <dirent.h>
#include <string.h>

#include "fuzz/fuzz_topk.c"
#include "topk/helper_topk.c"

static void the_corpus_passes(void **state)
{
    const char *folder = VINDEX_SOURCE_DIR "/tests/fuzz/corpus_topk";
    DIR *dir = opendir(folder);
    struct dirent *entry;
    size_t n = 0;
    (void)state;

    assert_non_null(dir);
    while ((entry = readdir(dir))) {
        char path[1024];
        uint8_t bytes[4096];
        FILE *file;
        if (entry->d_name[0] == '.') continue;
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        file = fopen(path, "rb");
        assert_non_null(file);
        const size_t size = fread(bytes, 1, sizeof bytes, file);
        for (uint8_t level = 0; level < 3 && size > 2;
             level++) { /* the options' bits of the level */
            bytes[2] = (uint8_t)((bytes[2] & 3) | level << 2);
            const char *fault = find_fault(bytes, size);
            if (fault) fail_msg("%s, level %u: %s", entry->d_name, level, fault);
        }
        fclose(file);
        n++;
    }
    closedir(dir);
    assert_true(n >= 10);
}

static void rows_by_chance_pass(void **state)
{
    struct rng rng;
    (void)state;

    vindex__rng_init(&rng, test_seed());
    for (int row = 0; row < 20000; row++) {
        uint8_t bytes[300];
        const size_t size = 16 + vindex__rng_below(&rng, sizeof bytes - 16);
        for (size_t i = 0; i < size; i++)
            bytes[i] = (uint8_t)vindex__rng_next(&rng);
        if (row % 500) bytes[4] &= 1, bytes[6] = 0; /* mostly up to 512 elements */
        const char *fault = find_fault(bytes, size);
        if (fault) fail_msg("row %d: %s", row, fault);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_corpus_passes),
        cmocka_unit_test(rows_by_chance_pass),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
