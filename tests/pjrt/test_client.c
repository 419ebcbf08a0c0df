/*
 * test_client.c - kernels/pjrt against the test plugin: what is refused at load, that every kind of program
 * computes what it says, how variants replace each other, and that no fault leaks or is lost.
 */
#include "common/cmocka.h"

#include <math.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/random.h"
#include "helper_plugin.h"
#include "kernels/pjrt/pjrt.h"
#include "vindex_topk.h"

enum { Q = 8, N = 512, D = 20, K = 10 };

static float queries[Q * D], rows[N * D], bias[N];

static void fill(uint64_t seed)
{
    struct rng rng;
    vindex__rng_init(&rng, seed);
    for (size_t i = 0; i < Q * D; i++)
        queries[i] = (float)(vindex__rng_unit(&rng) - 0.5);
    for (size_t i = 0; i < N * D; i++)
        rows[i] = (float)vindex__rng_below(&rng, 5) - 2; /* ties */
    for (size_t i = 0; i < N; i++)
        bias[i] = i % 7 == 3 ? -INFINITY : (float)(i % 3);
}

static double exact(size_t q, size_t n)
{
    double sum = bias[n];
    for (size_t i = 0; i < D; i++)
        sum += (double)queries[q * D + i] * (double)rows[n * D + i];
    return sum;
}

/* ---- loading ------------------------------------------------------------------------------- */

static void wrong_plugins_are_refused(void **state)
{
    static const struct {
        const char *variant, *message;
    } cases[] = {
        {"major", "1.104"},
        {"minor", "0.40"},
        {"short", "616"},
        {"null_slot", "lacks PJRT_LoadedExecutable_Execute"},
        {"null_api", "returned nothing"},
        {"no_symbol", "no GetPjrtApi"},
        {"not_there", "can not be loaded"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct vkern_pjrt *client = (struct vkern_pjrt *)&client;
        struct vkern_pjrt_error error = {0, ""};
        assert_false(vkern_pjrt_open(plugin_path(cases[i].variant), &client, &error));
        assert_null(client);
        if (!strstr(error.text, cases[i].message))
            fail_msg("%s: \"%s\"", cases[i].variant, error.text);
    }
}

static void no_plugin_is_named(void **state)
{
    struct vkern_pjrt *client;
    struct vkern_pjrt_error error;
    (void)state;
    unsetenv("VINDEX_PJRT_PLUGIN");
    unsetenv("TPU_LIBRARY_PATH");
    assert_false(vkern_pjrt_open(NULL, &client, &error));
    assert_non_null(strstr(error.text, "VINDEX_PJRT_PLUGIN"));
    /* libtpu would hang on a machine without a TPU */
    assert_false(vkern_pjrt_open("/nowhere/libtpu.so", &client, &error));
    assert_non_null(strstr(error.text, "no TPU"));
    setenv("VINDEX_PJRT_PLUGIN", plugin_path("good"), 1);
    plugin_tell("");
    assert_true(vkern_pjrt_open("", &client, &error));
    vkern_pjrt_close(client);
    unsetenv("VINDEX_PJRT_PLUGIN");
    plugin_check_empty("good");
}

static void faults_of_opening(void **state)
{
    static const struct {
        const char *words, *message;
    } cases[] = {
        {"fault=Client_Create:0:14", "UNAVAILABLE"},
        {"fault=Client_Create:0:10", "ABORTED"},
        {"devices=0", "no device"},
        {"fault=Client_PlatformName", "INTERNAL"},
        {"fault=Client_PlatformVersion", "INTERNAL"},
        {"fault=Client_AddressableDevices", "INTERNAL"},
        {"fault=Device_GetDescription", "INTERNAL"},
        {"fault=DeviceDescription_Kind", "INTERNAL"},
        {"fault=DeviceDescription_Id", "INTERNAL"},
    };
    struct vkern_pjrt *client;
    struct vkern_pjrt_error error;
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        plugin_tell(cases[i].words);
        assert_false(vkern_pjrt_open(plugin_path("good"), &client, &error));
        if (!strstr(error.text, cases[i].message))
            fail_msg("%s: \"%s\"", cases[i].words, error.text);
        plugin_check_empty("good");
    }
    /* Initialized once; a variant that was not loaded yet shows its error and can be tried again. */
    plugin_tell("fault=Plugin_Initialize");
    assert_false(vkern_pjrt_open(plugin_path("holes"), &client, &error));
    assert_non_null(strstr(error.text, "Plugin_Initialize"));
    plugin_tell("");
    assert_true(vkern_pjrt_open(plugin_path("holes"), &client, &error));
    vkern_pjrt_close(client);
    plugin_check_empty("holes");
}

static void one_client_a_plugin(void **state)
{
    struct vkern_pjrt *one, *two;
    struct vkern_pjrt_error error;
    (void)state;
    plugin_tell("devices=3 platform=cuda");
    assert_true(vkern_pjrt_open(plugin_path("good"), &one, &error));
    assert_true(vkern_pjrt_open(plugin_path("good"), &two, &error));
    assert_ptr_equal(one, two);
    assert_int_equal(vkern_pjrt_n_devices(one), 3);
    assert_string_equal(vkern_pjrt_platform(one), "cuda");
    assert_string_equal(vkern_pjrt_version(one), "the test plugin");
    assert_string_equal(vkern_pjrt_device_kind(one, 2), "Test device 2");
    assert_int_equal(vkern_pjrt_minor(one), 104);
    vkern_pjrt_close(two);
    assert_int_equal(plugin_counts("good").clients, 1);
    vkern_pjrt_close(one);
    plugin_check_empty("good");
}

/* ---- programs ------------------------------------------------------------------------------ */

struct device_data {
    struct vkern_pjrt_buffer *arguments[3];
};

static uint16_t to_bf16(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, 4);
    return (uint16_t)((bits + 0x7FFF + (bits >> 16 & 1)) >> 16);
}

static float from_bf16(uint16_t half)
{
    uint32_t bits = (uint32_t)half << 16;
    float value;
    memcpy(&value, &bits, 4);
    return value;
}

static void upload(struct vkern_pjrt *client, size_t device, enum vkern_pjrt_type type,
                   uint32_t terms, struct device_data *data)
{
    struct vkern_pjrt_error error;
    static uint16_t q16[3 * Q * D], r16[N * D];
    for (size_t i = 0; i < Q * D; i++) {
        float rest = queries[i];
        for (size_t t = 0; t < terms; t++) {
            q16[t * Q * D + i] = to_bf16(rest);
            rest -= from_bf16(q16[t * Q * D + i]);
        }
    }
    for (size_t i = 0; i < N * D; i++)
        r16[i] = to_bf16(rows[i]);
    bool is_f32 = type == VKERN_PJRT_F32;
    const void *q_data = is_f32 ? (const void *)queries : q16;
    const void *r_data = is_f32 ? (const void *)rows : r16;
    int64_t q3[] = {terms, Q, D}, r2[] = {N, D}, b1[] = {N};
    assert_true(vkern_pjrt_buffer_new(client, device, type, terms > 1 ? q3 : q3 + 1,
                                      terms > 1 ? 3 : 2, q_data, &data->arguments[0], &error));
    assert_true(
        vkern_pjrt_buffer_new(client, device, type, r2, 2, r_data, &data->arguments[1], &error));
    assert_true(vkern_pjrt_buffer_new(client, device, VKERN_PJRT_F32, b1, 1, bias,
                                      &data->arguments[2], &error));
}

static void free_data(struct device_data *data)
{
    for (size_t i = 0; i < 3; i++)
        vkern_pjrt_buffer_free(data->arguments[i]);
}

/* What a program gives: the K best, in order, each with its score; exactly those of all rows unless the
   kind has bins. */
static void check_answers(const struct vkern_pjrt_spec *spec, const float *values,
                          const int32_t *found, double tolerance)
{
    for (size_t q = 0; q < Q; q++) {
        size_t n_right = 0;
        for (size_t i = 0; i < K; i++) {
            float value = values[q * K + i];
            int32_t row = found[q * K + i];
            assert_in_range(row, 0, N - 1);
            assert_true(fabs((double)value - exact(q, (size_t)row)) <= tolerance);
            assert_true(i == 0 || value <= values[q * K + i - 1]);
            size_t n_better = 0;
            for (size_t n = 0; n < N; n++)
                n_better += exact(q, n) > exact(q, (size_t)row) + 2 * tolerance;
            n_right += n_better < K;
        }
        bool bins = spec->kind == VKERN_PJRT_BINS || spec->kind == VKERN_PJRT_BINS_TOPK ||
                    spec->kind == VKERN_PJRT_APPROX;
        assert_true(n_right == K || (bins && n_right >= K / 2));
    }
}

static void run_kind(struct vkern_pjrt *client, size_t device, enum vkern_pjrt_kind kind,
                     enum vkern_pjrt_type type, uint32_t terms)
{
    struct vkern_pjrt_spec spec = {kind, type, terms, Q, N, D, K, 128, 0.95F, -1};
    struct vkern_pjrt_program *program;
    struct vkern_pjrt_error error;
    struct vkern_pjrt_run *run;
    struct device_data data = {{NULL}};
    static float values[Q * N];
    static int32_t found[Q * K];
    bool scores = kind == VKERN_PJRT_SCORES;

    upload(client, device, type, terms, &data);
    if (!vkern_pjrt_program_get(client, &spec, &program, &error)) fail_msg("%s", error.text);
    if (!vkern_pjrt_run_start(program, device, data.arguments, 3, &run, &error))
        fail_msg("%s", error.text);
    free_data(&data); /* while it runs */
    void *outputs[] = {values, found};
    size_t sizes[] = {scores ? sizeof values : Q * K * sizeof *values, sizeof found};
    if (!vkern_pjrt_run_read(run, NULL, outputs, sizes, scores ? 1 : 2, &error))
        fail_msg("%s", error.text);
    double tolerance = type == VKERN_PJRT_F32 || terms == 3 ? 1e-4 : 0.05;
    if (!scores) check_answers(&spec, values, found, tolerance);
    for (size_t i = 0; scores && i < (size_t)Q * N; i++)
        assert_true((double)values[i] == exact(i / N, i % N) ||
                    fabs((double)values[i] - exact(i / N, i % N)) <= tolerance);
}

static void every_kind_computes_what_it_says(void **state)
{
    static const char *const variants[] = {"good", "strict", "newer", "holes", "gpu"};
    (void)state;
    fill(test_seed());
    for (size_t v = 0; v < sizeof variants / sizeof *variants; v++) {
        struct vkern_pjrt *client;
        struct vkern_pjrt_error error;
        plugin_tell(v == 4 ? "platform=cuda" : "platform=tpu devices=2");
        if (!vkern_pjrt_open(plugin_path(variants[v]), &client, &error))
            fail_msg("%s: %s", variants[v], error.text);
        for (int kind = VKERN_PJRT_SCORES; kind < VKERN_PJRT_APPEND; kind++) {
            if (kind == VKERN_PJRT_APPROX && v == 4) continue;
            run_kind(client, 0, kind, VKERN_PJRT_F32, 1);
            run_kind(client, v == 4 ? 0 : 1, kind, VKERN_PJRT_BF16, 1);
            run_kind(client, 0, kind, VKERN_PJRT_BF16, 3);
        }
        /* each program was compiled once, portable */
        assert_int_equal(plugin_counts(variants[v]).compiled, v == 4 ? 15 : 18);
        assert_int_equal(plugin_counts(variants[v]).pinned, 0);
        vkern_pjrt_close(client);
        plugin_check_empty(variants[v]);
    }
}

static void devices_without_portable_executables(void **state)
{
    struct vkern_pjrt *client;
    struct vkern_pjrt_error error;
    (void)state;
    fill(test_seed());
    plugin_tell("devices=3 portable=0");
    assert_true(vkern_pjrt_open(plugin_path("good"), &client, &error));
    for (size_t device = 0; device < 3; device++)
        run_kind(client, device, VKERN_PJRT_SORT, VKERN_PJRT_F32, 1);
    assert_int_equal(plugin_counts("good").pinned, 3);
    vkern_pjrt_close(client);
    plugin_check_empty("good");
}

static void append_keeps_the_old_rows(void **state)
{
    struct vkern_pjrt_spec spec = {VKERN_PJRT_APPEND, VKERN_PJRT_F32, 1, 16, N, D, 0, 0, 0, 0};
    struct vkern_pjrt_buffer *arguments[3], *grown;
    struct vkern_pjrt_program *program;
    struct vkern_pjrt_error error;
    struct vkern_pjrt_run *run;
    struct vkern_pjrt *client;
    static float zeros[N * D], values[Q * N];
    int64_t dims[] = {N, D}, new_dims[] = {16, D}, none[] = {N};
    int32_t at = 40;
    (void)state;
    fill(1);
    plugin_tell("");
    assert_true(vkern_pjrt_open(plugin_path("good"), &client, &error));
    assert_true(
        vkern_pjrt_buffer_new(client, 0, VKERN_PJRT_F32, dims, 2, zeros, &arguments[0], &error));
    assert_true(
        vkern_pjrt_buffer_new(client, 0, VKERN_PJRT_F32, new_dims, 2, rows, &arguments[1], &error));
    assert_true(
        vkern_pjrt_buffer_new(client, 0, VKERN_PJRT_I32, none, 0, &at, &arguments[2], &error));
    assert_true(vkern_pjrt_program_get(client, &spec, &program, &error));
    assert_true(vkern_pjrt_run_start(program, 0, arguments, 3, &run, &error));
    assert_true(vkern_pjrt_run_keep(run, &grown, &error));
    for (size_t i = 0; i < 3; i++)
        vkern_pjrt_buffer_free(arguments[i]);

    /* Scores tell where the rows lie now. */
    struct device_data data;
    upload(client, 0, VKERN_PJRT_F32, 1, &data);
    vkern_pjrt_buffer_free(data.arguments[1]);
    data.arguments[1] = grown;
    spec = (struct vkern_pjrt_spec){VKERN_PJRT_SCORES, VKERN_PJRT_F32, 1, Q, N, D, 0, 0, 0, 0};
    assert_true(vkern_pjrt_program_get(client, &spec, &program, &error));
    assert_true(vkern_pjrt_run_start(program, 0, data.arguments, 3, &run, &error));
    assert_true(
        vkern_pjrt_run_read(run, NULL, (void *[]){values}, (size_t[]){sizeof values}, 1, &error));
    for (size_t n = 0; n < N; n++) {
        double expected = n >= 40 && n < 56 ? exact(0, n - 40) - (double)bias[n - 40] : 0;
        if (isinf(bias[n]) || (n >= 40 && n < 56 && isinf(bias[n - 40]))) continue;
        assert_true(fabs((double)values[n] - (double)bias[n] - expected) < 1e-4);
    }
    free_data(&data);
    vkern_pjrt_close(client);
    plugin_check_empty("good");
}

static void variants_replace_each_other(void **state)
{
    static const struct {
        const char *words;
        bool exact;
        enum vkern_pjrt_kind kind;
        bool found;
    } cases[] = {
        {"platform=tpu", false, VKERN_PJRT_APPROX, true},
        {"platform=tpu", true, VKERN_PJRT_TOPK, true},
        {"platform=cuda", false, VKERN_PJRT_BINS_TOPK, true},
        {"platform=cuda kinds=bins,sort", false, VKERN_PJRT_BINS, true},
        {"platform=cuda kinds=sort", false, VKERN_PJRT_SORT, true},
        {"platform=tpu kinds=sort,scores", false, VKERN_PJRT_SORT, true},
        {"platform=cuda kinds=sort", true, VKERN_PJRT_SORT, true},
        {"platform=cuda kinds=scores", true, VKERN_PJRT_SORT, false},
        {"platform=cuda fault=Client_Compile:1:3", false, VKERN_PJRT_BINS_TOPK, true},
        {"platform=cuda fault=Client_Compile:0:3", false, VKERN_PJRT_SORT, false},
        {"platform=cuda fault=Client_Compile:0:8", false, VKERN_PJRT_BINS_TOPK, false},
        {"platform=cuda fault=Compile.outputs", false, VKERN_PJRT_SORT, false},
        {"platform=cuda fault=LoadedExecutable_GetExecutable", false, VKERN_PJRT_SORT, false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct vkern_pjrt_spec spec = {
            VKERN_PJRT_SCORES, VKERN_PJRT_F32, 1, Q, N, D, K, 128, 0.95F, -1};
        struct vkern_pjrt_program *program;
        struct vkern_pjrt_error error;
        struct vkern_pjrt *client;
        plugin_tell(cases[i].words);
        assert_true(vkern_pjrt_open(plugin_path("good"), &client, &error));
        for (int again = 0; again < 2; again++) {
            bool found = vkern_pjrt_program_choose(client, &spec, cases[i].exact, &program, &error);
            if (found != cases[i].found || (found && spec.kind != cases[i].kind))
                fail_msg("%s: %d, kind %s, %s", cases[i].words, found,
                         vkern_pjrt_kind_name(spec.kind), error.text);
        }
        /* What failed is not tried twice, what compiled is kept; out of memory is no reason. */
        assert_true(plugin_counts("good").compiled <= 10);
        vkern_pjrt_close(client);
        plugin_check_empty("good");
    }
}

/* ---- faults of a run ----------------------------------------------------------------------- */

static bool stop_at_once(void *context)
{
    (void)context;
    return true;
}

/* One whole run; false with the error of the step that failed. */
static bool run_once(struct vkern_pjrt *client, const struct vkern_pjrt_wait *wait,
                     struct vkern_pjrt_error *error)
{
    struct vkern_pjrt_spec spec = {VKERN_PJRT_SORT, VKERN_PJRT_F32, 1, Q, N, D, K, 0, 0, 0};
    struct vkern_pjrt_buffer *arguments[3] = {NULL};
    struct vkern_pjrt_program *program;
    struct vkern_pjrt_run *run;
    static float values[Q * K];
    static int32_t found[Q * K];
    int64_t q[] = {Q, D}, r[] = {N, D}, b[] = {N};
    bool done =
        vkern_pjrt_buffer_new(client, 0, VKERN_PJRT_F32, q, 2, queries, &arguments[0], error) &&
        vkern_pjrt_buffer_new(client, 0, VKERN_PJRT_F32, r, 2, rows, &arguments[1], error) &&
        vkern_pjrt_buffer_new(client, 0, VKERN_PJRT_F32, b, 1, bias, &arguments[2], error) &&
        vkern_pjrt_program_get(client, &spec, &program, error) &&
        vkern_pjrt_run_start(program, 0, arguments, 3, &run, error) &&
        vkern_pjrt_run_read(run, wait, (void *[]){values, found},
                            (size_t[]){sizeof values, sizeof found}, 2, error);
    for (size_t i = 0; i < 3; i++)
        vkern_pjrt_buffer_free(arguments[i]);
    if (done) check_answers(&spec, values, found, 1e-4);
    return done;
}

static void faults_of_a_run(void **state)
{
    static const struct {
        const char *words;
        int code;
    } cases[] = {
        {"fault=BufferFromHostBuffer:1:8", 8},
        {"fault=BufferFromHostBuffer:3:8", 8},
        {"fault=Buffer.async:2:8", 8},
        {"hbm=20000", 8},
        {"hbm=20000 hbm_late=1", 8},
        {"fault=Buffer_ReadyEvent:2", 13},
        {"fault=Event_Await:1", 13},
        {"fault=Event_Await:4", 13},
        {"fault=Client_Compile", 13},
        {"fault=Execute:1", 13},
        {"fault=Execute:0:14", 14},
        {"fault=Execute.async", 13},
        {"fault=ToHostBuffer:1", 13},
        {"fault=ToHostBuffer:2", 13},
        {"fault=ToHostBuffer:3", 13},
        {"fault=ToHostBuffer:4", 13},
        {"fault=ToHostBuffer.async:2", 13},
        {"fault=ToHostBuffer.async:4", 13},
        {"fault=Executable_NumOutputs", 13},
    };
    struct vkern_pjrt_error error;
    struct vkern_pjrt *client;
    (void)state;
    fill(test_seed());
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        plugin_tell(cases[i].words);
        assert_true(vkern_pjrt_open(plugin_path("good"), &client, &error));
        memset(&error, 0, sizeof error);
        if (run_once(client, NULL, &error)) fail_msg("%s: no error", cases[i].words);
        if (error.code != cases[i].code || strlen(error.text) < 10)
            fail_msg("%s: code %d, \"%s\"", cases[i].words, error.code, error.text);
        plugin_tell(""); /* the device is well again */
        if (!run_once(client, NULL, &error)) fail_msg("%s: %s", cases[i].words, error.text);
        vkern_pjrt_close(client);
        plugin_check_empty("good");
    }
}

static void waits_can_be_ended(void **state)
{
    struct vkern_pjrt_wait wait = {stop_at_once, NULL};
    struct vkern_pjrt_error error;
    struct vkern_pjrt *client;
    (void)state;
    fill(1);
    plugin_tell("delay_ms=100");
    assert_true(vkern_pjrt_open(plugin_path("good"), &client, &error));
    assert_false(run_once(client, &wait, &error));
    assert_int_equal(error.code, VKERN_PJRT_STOPPED);
    wait.stop = NULL; /* late, but it comes */
    assert_true(run_once(client, &wait, &error));
    vkern_pjrt_close(client);
    plugin_check_empty("good");
}

static void a_forked_child_is_told(void **state)
{
    struct vkern_pjrt_error error;
    struct vkern_pjrt *client, *again;
    int status = 0;
    (void)state;
    fill(1);
    plugin_tell("");
    assert_true(vkern_pjrt_open(plugin_path("good"), &client, &error));
    pid_t child = fork();
    if (child == 0) {
        bool told = !run_once(client, NULL, &error) && strstr(error.text, "fork") != NULL &&
                    !vkern_pjrt_open(plugin_path("good"), &again, &error);
        vkern_pjrt_close(client);
        _exit(told ? 0 : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    vkern_pjrt_close(client);
    plugin_check_empty("good");
}

/* vindex_topk_xla_size plans for ApproxTopK as the guide's table, which is XLA's formula, says. */
static void sizes_of_approx_top_k(void **state)
{
    static const struct {
        int64_t n, k, override, size;
    } cases[] = {
        {1048576, 10, -1, 256},     {1048576, 100, -1, 2048},   {1048576, 1, -1, 128},
        {131072, 10, -1, 256},      {131072, 10, 1048576, 128}, {131072, 100, 1048576, 256},
        {262144, 10, 1048576, 128},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int64_t size = 0;
        assert_int_equal(vindex_topk_xla_size(cases[i].n, 2, cases[i].k, 0.95F, 0,
                                              cases[i].override, &size, NULL),
                         VINDEX_OK);
        assert_int_equal(size, cases[i].size);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wrong_plugins_are_refused),
        cmocka_unit_test(no_plugin_is_named),
        cmocka_unit_test(faults_of_opening),
        cmocka_unit_test(one_client_a_plugin),
        cmocka_unit_test(every_kind_computes_what_it_says),
        cmocka_unit_test(devices_without_portable_executables),
        cmocka_unit_test(append_keeps_the_old_rows),
        cmocka_unit_test(variants_replace_each_other),
        cmocka_unit_test(faults_of_a_run),
        cmocka_unit_test(waits_can_be_ended),
        cmocka_unit_test(a_forked_child_is_told),
        cmocka_unit_test(sizes_of_approx_top_k),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
