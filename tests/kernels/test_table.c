/*
 * test_table.c - the table itself: no slot is missing, levels nest, VINDEX_ISA and VINDEX_BLAS are
 * obeyed. The process-wide table is filled once, so each setting is tried in a child process.
 */
#include <pthread.h>
#include <sys/wait.h>

#include "kernel_test.h"
#include "kernels/codes.h"

static void no_slot_is_missing(void **state)
{
    struct levels levels = all_levels();

    (void)state;
    for (size_t l = 0; l < levels.n; l++) {
        const vkern_table *t = &levels.table[l];
        for (int type = 0; type < VKERN_N_TYPES; type++) {
            const bool scored = type != VKERN_BIT;
            assert_int_equal(t->l2sq[type] != NULL, scored);
            assert_int_equal(t->ndot[type] != NULL, scored);
            assert_int_equal(t->exact_dot[type] != NULL, scored);
            assert_int_equal(t->to_f32[type] != NULL, scored);
            assert_int_equal(t->from_f32[type] != NULL, scored);
            assert_non_null(t->exact_l2sq[type]);
            assert_non_null(t->sumsq[type]);
            assert_non_null(t->finite[type]);
        }
        assert_non_null(t->hamming);
        assert_non_null(t->survivors);
        assert_non_null(t->divide);
        assert_non_null(t->sum);
        assert_non_null(t->tile);
        assert_non_null(t->codes);
        assert_non_null(t->codes->c4_scan);
        assert_non_null(t->codes->c8_scan);
        assert_non_null(t->codes->c8_pack);
        assert_non_null(t->codes->tile8);
    }
}

/* A lowered level has no bit its name does not stand for, whatever the processor. */
static void levels_nest(void **state)
{
    const uint64_t all = ~UINT64_C(0);
    const uint64_t ref = vkern_cpu_at_level(all, VKERN_LEVEL_REF);
    const uint64_t avx2 = vkern_cpu_at_level(all, VKERN_LEVEL_AVX2);
    const uint64_t avx512 = vkern_cpu_at_level(all, VKERN_LEVEL_AVX512);

    (void)state;
    assert_true(ref == 0);
    assert_true(avx2 == (VKERN_CPU_AVX2 | VKERN_CPU_SSE42));
    assert_true((avx512 & avx2) == avx2 && (avx512 & VKERN_CPU_AVX512_VNNI) &&
                !(avx512 & VKERN_CPU_AMX));
    assert_true(vkern_cpu_at_level(all, VKERN_LEVEL_AMX) == all);
    assert_true(vkern_cpu_at_level(0, VKERN_LEVEL_AMX) == 0);
}

/* AVX-512 without AVX2 is no level: the table must not call what the system would not save. */
static void a_level_needs_the_one_below(void **state)
{
    vkern_table t;

    (void)state;
    vkern_table_init(&t, VKERN_CPU_AVX512 | VKERN_CPU_AVX512_VNNI);
    assert_int_equal(t.level, VKERN_LEVEL_REF);
    vkern_table_init(&t, VKERN_CPU_SSE42);
    assert_string_equal(t.level_name, "ref");
    if (vkern_cpu() & VKERN_CPU_AVX512) {
        vkern_table_init(&t, vkern_cpu_at_level(vkern_cpu(), VKERN_LEVEL_AVX2));
        assert_string_equal(t.level_name, "avx2");
    }
}

/* What the kernel of the operating system lists for the processor, word by word. */
static bool listed(const char *flag)
{
    FILE *file = fopen("/proc/cpuinfo", "r");
    char line[8192], *word;
    bool found = false;

    if (file == NULL) return false;
    while (!found && fgets(line, sizeof line, file) != NULL) {
        if (strncmp(line, "flags", 5) != 0) continue;
        for (word = strtok(line, " \t\n:"); word != NULL && !found; word = strtok(NULL, " \t\n:"))
            found = strcmp(word, flag) == 0;
        break;
    }
    fclose(file);
    return found;
}

static void detection_agrees_with_the_system(void **state)
{
    const uint64_t cpu = vkern_cpu();

    (void)state;
    if (!listed("fpu")) skip(); /* not x86, or no /proc */
    assert_int_equal((cpu & VKERN_CPU_SSE42) != 0, listed("sse4_2"));
    assert_int_equal((cpu & VKERN_CPU_AVX2) != 0,
                     listed("avx2") && listed("fma") && listed("f16c"));
    assert_int_equal((cpu & VKERN_CPU_AVX512) != 0, listed("avx512f") && listed("avx512bw") &&
                                                        listed("avx512dq") && listed("avx512vl"));
    assert_int_equal((cpu & VKERN_CPU_AVX512_VNNI) != 0, listed("avx512_vnni"));
    assert_int_equal((cpu & VKERN_CPU_AVX512_POPCNT) != 0, listed("avx512_vpopcntdq"));
    assert_int_equal((cpu & VKERN_CPU_AMX) != 0,
                     listed("amx_tile") && listed("amx_bf16") && listed("amx_int8"));
}

static void *get(void *context)
{
    (void)context;
    return (void *)(uintptr_t)vkern_get();
}

/* In a child: the level reached under VINDEX_ISA, from four threads at once; 99 when they disagree.
 * */
static int level_under(const char *isa)
{
    int status;
    const pid_t child = fork();

    if (child == 0) {
        pthread_t threads[4];
        void *seen[4];
        bool same = true;
        if (isa != NULL)
            setenv("VINDEX_ISA", isa, 1);
        else
            unsetenv("VINDEX_ISA");
        for (size_t i = 0; i < 4; i++)
            pthread_create(&threads[i], NULL, get, NULL);
        for (size_t i = 0; i < 4; i++)
            pthread_join(threads[i], &seen[i]);
        for (size_t i = 0; i < 4; i++)
            same &= seen[i] == (void *)(uintptr_t)vkern_get();
        _exit(same ? (int)vkern_get()->level : 99);
    }
    assert_true(child > 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void vindex_isa_lowers_the_level(void **state)
{
    vkern_table best;
    int avx2, avx512;

    (void)state;
    vkern_table_init(&best, vkern_cpu());
    avx2 = best.level < VKERN_LEVEL_AVX2 ? (int)best.level : VKERN_LEVEL_AVX2;
    avx512 = best.level < VKERN_LEVEL_AVX512 ? (int)best.level : VKERN_LEVEL_AVX512;
    assert_int_equal(level_under(NULL), best.level);
    assert_int_equal(level_under("ref"), VKERN_LEVEL_REF);
    assert_int_equal(level_under("avx2"), avx2);
    assert_int_equal(level_under("avx512"), avx512);
    assert_int_equal(level_under("amx"), best.level);
    assert_int_equal(level_under("no such level"), best.level);
}

static size_t n_tasks(void)
{
    FILE *file = fopen("/proc/self/status", "r");
    char line[256];
    size_t n = 0;

    while (file != NULL && fgets(line, sizeof line, file) != NULL)
        if (sscanf(line, "Threads: %zu", &n) == 1) break;
    if (file != NULL) fclose(file);
    return n;
}

static void *stay(void *unused)
{
    pause();
    return unused;
}

/* Threads now, the first of ours among them: with it a sanitizer starts one of its own, which stays. */
static size_t count_before(void)
{
    pthread_t first;
    return pthread_create(&first, NULL, stay, NULL) == 0 ? n_tasks() : 0;
}

/* Threads that were joined are counted for a moment longer. */
static bool has_more(size_t before)
{
    for (int i = 0; i < 1000 && n_tasks() > before; i++)
        usleep(1000);
    return n_tasks() > before;
}

/* In a child: bit 0, there is an engine; bit 1, the process has more threads than before. */
static int blas_under(const char *blas)
{
    int status;
    const pid_t child = fork();

    if (child == 0) {
        const size_t before = count_before();
        bool found;
        if (blas != NULL)
            setenv("VINDEX_BLAS", blas, 1);
        else
            unsetenv("VINDEX_BLAS");
        found = vkern_tile_blas() != NULL;
        _exit((int)found | has_more(before) << 1);
    }
    assert_true(child > 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void blas_starts_no_threads(void **state)
{
    (void)state;
    assert_int_equal(blas_under("none"), 0);
    assert_int_equal(blas_under("/no/such/library.so"), 0);
    assert_int_equal(blas_under("libm.so.6"), 0); /* a library, but no BLAS */
    assert_int_equal(blas_under(NULL) & 2, 0);
    /* The system's default flavour, threaded or not: taken only when it runs alone. */
    if (sysconf(_SC_NPROCESSORS_ONLN) > 1) {
        unsetenv("OPENBLAS_NUM_THREADS");
        assert_int_equal(blas_under("libopenblas.so.0") & 2, 0);
        setenv("OPENBLAS_NUM_THREADS", "1", 1);
        assert_int_equal(blas_under("libopenblas.so.0") & 2, 0);
        unsetenv("OPENBLAS_NUM_THREADS");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_slot_is_missing),
        cmocka_unit_test(levels_nest),
        cmocka_unit_test(a_level_needs_the_one_below),
        cmocka_unit_test(detection_agrees_with_the_system),
        cmocka_unit_test(vindex_isa_lowers_the_level),
        cmocka_unit_test(blas_starts_no_threads),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
