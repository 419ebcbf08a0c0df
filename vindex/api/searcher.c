/*
 * searcher.c - the read side's public face: argument checks, queries in the form kernels want, fetching and
 * scanning rows, brute force over plain arrays.
 */
#include <math.h>

#include "api/api.h"
#include "base/mem.h"
#include "base/status.h"
#include "storage/snapshot.h"

struct vindex_searcher {
    vindex *index;
    struct session session;
    struct search *search;
    bool is_busy; /* a call is under way: its callbacks may not use this searcher */
    void *queries; /* converted or made dense */
    size_t queries_bytes;
    vindex_report report;
};

vindex_status vindex_searcher_open(vindex *index, vindex_searcher **out)
{
    if (!index || !out) return vindex__fail(VINDEX_INVALID, "vindex_searcher_open: an argument is NULL");
    *out = NULL;
    vindex_status st = vindex__store_check_fork(index->store);
    if (st != VINDEX_OK) return st;
    vindex_searcher *searcher = vindex__calloc(1, sizeof *searcher);
    if (!searcher) return vindex__nomem();
    searcher->index = index;
    st = vindex__session_open(index->store, false, &searcher->session);
    if (st == VINDEX_OK) st = vindex__search_new(&searcher->search);
    if (st != VINDEX_OK) {
        if (searcher->session.catalog) vindex__session_close(index->store, &searcher->session);
        vindex__free(searcher);
        return st;
    }
    atomic_fetch_add(&index->n_handles, 1);
    *out = searcher;
    return VINDEX_OK;
}

void vindex_searcher_close(vindex_searcher *searcher)
{
    if (!searcher) return;
    if (searcher->is_busy) {
        vindex__log("vindex_searcher_close: called from a callback of this searcher; it stays open");
        return;
    }
    vindex *index = searcher->index;
    vindex__search_free(searcher->search);
    vindex__free_aligned(searcher->queries);
    vindex__session_close(index->store, &searcher->session);
    vindex__free(searcher);
    atomic_fetch_sub(&index->n_handles, 1);
}

/*
 * The snapshot for one call. A callback of the call that used the same searcher would end the view under it.
 */
static vindex_status check_idle(const vindex_searcher *searcher)
{
    if (!searcher->is_busy) return VINDEX_OK;
    return vindex__fail(VINDEX_MISUSE, "a callback uses the searcher that called it: open another one");
}

static vindex_status begin(vindex_searcher *searcher, const struct snapshot **snapshot)
{
    *snapshot = NULL;
    vindex_status st = check_idle(searcher);
    if (st != VINDEX_OK) return st;
    st = vindex__snapshot_acquire(searcher->index->store, &searcher->session, snapshot);
    searcher->is_busy = st == VINDEX_OK;
    return st;
}

static void end(vindex_searcher *searcher, const struct snapshot *snapshot)
{
    if (!snapshot) return;
    vindex__snapshot_release(searcher->index->store, &searcher->session, snapshot);
    searcher->is_busy = false;
}

/* The same for a search by plan: the audits are those of its commit, or of a newer one. */
static vindex_status begin_planned(vindex_searcher *searcher, const struct snapshot **snapshot)
{
    vindex *index = searcher->index;
    vindex_status st = begin(searcher, snapshot);
    if (st != VINDEX_OK || !(*snapshot)->model || !vindex__audits_behind(index, *snapshot)) return st;
    end(searcher, *snapshot);
    *snapshot = NULL;
    st = vindex__audits_sync(index, &searcher->session);
    return st == VINDEX_OK ? begin(searcher, snapshot) : st;
}

/* ---- requests --------------------------------------------------------------------------------- */

static vindex_status check_filter(const vindex_filter *filter)
{
    if (!filter) return VINDEX_OK;
    if (filter->kind > VINDEX_FILTER_CALLBACK)
        return vindex__fail(VINDEX_INVALID, "filter kind %u is unknown: see vindex_filter_kind",
                            filter->kind);
    if (filter->flags & ~VINDEX_FILTER_NOT)
        return vindex__fail(VINDEX_UNSUPPORTED, "filter flags 0x%x are unknown", filter->flags);
    if (filter->kind == VINDEX_FILTER_IDS && filter->n && !filter->ids)
        return vindex__fail(VINDEX_INVALID, "the filter names %llu ids, its array is NULL",
                            (unsigned long long)filter->n);
    if (filter->kind == VINDEX_FILTER_BITMAP && filter->n && !filter->bitmap)
        return vindex__fail(VINDEX_INVALID, "the filter has %llu bits, its bitmap is NULL",
                            (unsigned long long)filter->n);
    if (filter->kind == VINDEX_FILTER_CALLBACK && !filter->callback)
        return vindex__fail(VINDEX_INVALID, "the filter's callback is NULL");
    for (uint64_t i = 1; filter->kind == VINDEX_FILTER_IDS && i < filter->n; i++)
        if (filter->ids[i - 1] >= filter->ids[i])
            return vindex__fail(VINDEX_INVALID,
                                "the filter's ids must ascend strictly: %lld stands before %lld",
                                (long long)filter->ids[i - 1], (long long)filter->ids[i]);
    return VINDEX_OK;
}

static vindex_status read_options(const vindex_search_options *given, float default_recall, size_t k,
                                  struct search_request *request, const char **device)
{
    vindex_search_options o = {0};
    vindex_status st = vindex__options_read(given, &o, sizeof o, "vindex_search_options");
    if (st == VINDEX_OK) st = check_filter(o.filter);
    if (st != VINDEX_OK) return st;
    if (o.flags & ~(VINDEX_SEARCH_NO_AUDIT | VINDEX_SEARCH_STRICT))
        return vindex__fail(VINDEX_UNSUPPORTED, "search flags 0x%x are unknown", o.flags);
    if (o.recall != 0 && !(o.recall > 0 && o.recall <= 1))
        return vindex__fail(VINDEX_INVALID, "recall %g is outside (0, 1]", (double)o.recall);
    if (o.n_threads > 1024)
        return vindex__fail(VINDEX_INVALID, "n_threads %u is outside 0..1024", o.n_threads);
    if (o.timeout_ns < 0)
        return vindex__fail(VINDEX_INVALID, "timeout_ns %lld is negative", (long long)o.timeout_ns);
    if (k == 0) return vindex__fail(VINDEX_INVALID, "k is 0: ask for at least one row");
    if (k > SIZE_MAX / (4 * sizeof(vindex_hit)))
        return vindex__fail(VINDEX_INVALID, "k %zu exceeds the address space", k);
    int64_t now = vindex__now_ns();
    *device = o.device;
    *request = (struct search_request){
        .k = k,
        .recall = o.recall != 0 ? o.recall : default_recall,
        .flags = o.flags,
        .n_threads = o.n_threads ? o.n_threads : 1,
        .filter = o.filter && o.filter->kind != VINDEX_FILTER_NONE ? o.filter : NULL,
        .deadline_ns = !o.timeout_ns ? 0 : o.timeout_ns > INT64_MAX - now ? INT64_MAX
                                                                          : now + o.timeout_ns,
        .cancel = o.cancel,
        .cancel_context = o.cancel_context,
    };
    return VINDEX_OK;
}

/* Scratch that only grows: warm queries allocate nothing. */
static vindex_status reserve(void **buffer, size_t *have, size_t need)
{
    if (need <= *have) return VINDEX_OK;
    void *grown = vindex__alloc_aligned(need, 1);
    if (!grown) return vindex__nomem();
    vindex__free_aligned(*buffer);
    *buffer = grown;
    *have = need;
    return VINDEX_OK;
}

/* Queries dense and in the kernels' type; the caller's own memory where it is so already. */
static vindex_status prepare_queries(const vindex_vectors *queries, uint32_t type, uint32_t dim,
                                     void **buffer, size_t *have, struct search_request *request)
{
    vindex_status st = vindex__vectors_check(queries, type, dim, VECTORS_QUERY);
    if (st != VINDEX_OK) return st;
    size_t row_bytes =
        vindex_row_bytes((vindex_type)vindex__vectors_type(type, VECTORS_QUERY), dim);
    size_t bytes = 0;
    request->n_queries = queries->n;
    request->queries = queries->data;
    if (vindex__vectors_are_native(queries, type, VECTORS_QUERY) &&
        vindex__vectors_stride(queries, dim) == row_bytes && (uintptr_t)queries->data % 4 == 0)
        return VINDEX_OK;
    if (!vindex__mul(queries->n, row_bytes, &bytes)) return vindex__nomem();
    st = reserve(buffer, have, bytes);
    if (st != VINDEX_OK) return st;
    vindex__vectors_convert(queries, 0, queries->n, type, dim, VECTORS_QUERY, *buffer);
    request->queries = *buffer;
    return VINDEX_OK;
}

/* ---- search ----------------------------------------------------------------------------------- */

vindex_status vindex_search(vindex_searcher *searcher, const vindex_vectors *queries, size_t k,
                            const vindex_search_options *options, vindex_hit *hits)
{
    struct search_request request;
    const struct snapshot *snapshot = NULL;
    const char *device = NULL;
    if (!searcher) return vindex__fail(VINDEX_INVALID, "vindex_search: the searcher is NULL");
    vindex *index = searcher->index;
    const struct config *config = &index->config;
    vindex_status st = vindex__store_check_fork(index->store);
    if (st == VINDEX_OK) st = check_idle(searcher);
    if (st == VINDEX_OK) st = read_options(options, config->recall, k, &request, &device);
    if (st == VINDEX_OK) st = vindex__index_device(index, device, &request.device);
    if (st == VINDEX_OK)
        st = prepare_queries(queries, config->type, config->dim, &searcher->queries,
                             &searcher->queries_bytes, &request);
    if (st != VINDEX_OK) return st;
    if (request.n_queries && !hits)
        return vindex__fail(VINDEX_INVALID, "vindex_search: hits is NULL");
    request.calibration = index->calibration;
    st = request.recall < 1 ? begin_planned(searcher, &snapshot) : begin(searcher, &snapshot);
    if (st != VINDEX_OK) return st;
    st = vindex__search_run(searcher->search, snapshot, &request, hits, &searcher->report);
    searcher->report.epoch = snapshot->state.epoch;
    end(searcher, snapshot);
    return st;
}

vindex_status vindex_searcher_report(const vindex_searcher *searcher, vindex_report *report)
{
    if (!searcher || !report)
        return vindex__fail(VINDEX_INVALID, "vindex_searcher_report: an argument is NULL");
    uint32_t size = report->struct_size;
    if (size < 8 || size > sizeof *report)
        return vindex__fail(VINDEX_INVALID,
                            "vindex_report has struct_size %u: use VINDEX_REPORT_INIT", size);
    memcpy(report, &searcher->report, size);
    report->struct_size = size;
    return VINDEX_OK;
}

vindex_status vindex_brute(const vindex_vectors *base, const vindex_vectors *queries, uint32_t dim,
                           vindex_metric metric, size_t k, const vindex_search_options *options,
                           vindex_hit *hits)
{
    struct search_request request;
    const char *device = NULL;
    struct search *search = NULL;
    vindex_report report = VINDEX_REPORT_INIT;
    void *converted = NULL;
    size_t converted_bytes = 0;
    if (!base || !queries) return vindex__fail(VINDEX_INVALID, "vindex_brute: an argument is NULL");
    vindex_status st = vindex__check_shape(dim, base->type, metric);
    if (st == VINDEX_OK) st = vindex__vectors_check_shape(base, base->type, dim);
    if (st == VINDEX_OK) st = read_options(options, 1.0f, k, &request, &device);
    if (st == VINDEX_OK && device && strcmp(device, "cpu") != 0)
        st = vindex__fail(VINDEX_UNSUPPORTED, "device '%s': plain arrays are searched on the cpu",
                          device);
    if (st == VINDEX_OK)
        st = prepare_queries(queries, base->type, dim, &converted, &converted_bytes, &request);
    if (st != VINDEX_OK) goto out;
    if (request.n_queries && !hits) {
        st = vindex__fail(VINDEX_INVALID, "vindex_brute: hits is NULL");
        goto out;
    }
    st = vindex__search_new(&search);
    if (st == VINDEX_OK)
        st = vindex__search_brute(search, base->type, metric, dim, base->data,
                                  vindex__vectors_stride(base, dim), base->n, &request, hits, &report);
out:
    vindex__search_free(search);
    vindex__free_aligned(converted);
    return st;
}

/* ---- rows ------------------------------------------------------------------------------------- */

vindex_status vindex_fetch(vindex_searcher *searcher, const int64_t *ids, size_t n, void *rows,
                           uint8_t *found)
{
    const struct snapshot *snapshot = NULL;
    if (!searcher || (n && (!ids || !rows)))
        return vindex__fail(VINDEX_INVALID, "vindex_fetch: an argument is NULL");
    vindex *index = searcher->index;
    size_t row_bytes = vindex__config_row_bytes(&index->config);
    vindex_status st = begin(searcher, &snapshot);
    for (uint32_t i = 0; st == VINDEX_OK && i < snapshot->n_parts; i++)
        st = vindex__part_touch_ids(snapshot, &snapshot->parts[i]);
    for (size_t i = 0; i < n && st == VINDEX_OK; i++) {
        struct row_place place = vindex__snapshot_locate(snapshot, ids[i]);
        char *to = (char *)rows + i * row_bytes;
        if (found) found[i] = place.part != NULL;
        if (place.part) {
            st = vindex__part_touch(snapshot, place.part);
            if (st == VINDEX_OK) memcpy(to, part_row(place.part, place.slot), row_bytes);
        } else if (found) {
            memset(to, 0, row_bytes);
        } else {
            st = vindex__fail(VINDEX_NOTFOUND, "id %lld has no row", (long long)ids[i]);
        }
    }
    end(searcher, snapshot);
    return st;
}

#define SCAN_ROWS 1024

/* Live rows of one part, dense, in chunks. *stop: the callback has had enough. */
static vindex_status scan_part(const struct part *part, size_t row_bytes, vindex_scan_fn *each,
                               void *context, int64_t *ids, char *rows, bool *stop)
{
    size_t n = 0;
    for (uint32_t slot = 0; slot < part->n && !*stop; slot++) {
        if (bitmap_get(part->live, slot)) {
            ids[n] = part_id(part, slot);
            memcpy(rows + n++ * row_bytes, part_row(part, slot), row_bytes);
        }
        if (n == SCAN_ROWS || (n && slot + 1 == part->n)) {
            *stop = each(context, ids, rows, n) != 0;
            n = 0;
        }
    }
    return VINDEX_OK;
}

vindex_status vindex_scan(vindex_searcher *searcher, vindex_scan_fn *each, void *context)
{
    const struct snapshot *snapshot = NULL;
    int64_t *ids = NULL;
    char *rows = NULL;
    bool stop = false;
    if (!searcher || !each) return vindex__fail(VINDEX_INVALID, "vindex_scan: an argument is NULL");
    vindex *index = searcher->index;
    size_t row_bytes = vindex__config_row_bytes(&index->config);
    vindex_status st = begin(searcher, &snapshot);
    if (st != VINDEX_OK) return st;
    ids = vindex__calloc(SCAN_ROWS, sizeof *ids);
    rows = vindex__alloc_aligned(SCAN_ROWS, row_bytes);
    if (!ids || !rows) st = vindex__nomem();
    for (uint32_t i = 0; i < snapshot->n_parts && st == VINDEX_OK && !stop; i++) {
        st = vindex__part_touch(snapshot, &snapshot->parts[i]);
        if (st == VINDEX_OK)
            st = scan_part(&snapshot->parts[i], row_bytes, each, context, ids, rows, &stop);
    }
    vindex__free(ids);
    vindex__free_aligned(rows);
    end(searcher, snapshot);
    return st;
}
