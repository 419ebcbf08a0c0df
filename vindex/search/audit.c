/*
 * audit.c - audits (calibrate.h): queries answered exactly, and for each of their answers how
 * many rows the c4 scan would have had to rerank to find it.
 *
 * An answer's rank is the number of rows before it by (c4 score, position) among all that match,
 * the order in which a rough stream keeps the best k'. Ranks of all answers come from one scan:
 * answers are put in that order, each row is counted in the gap between answers it falls into,
 * and the gaps are summed. Answers in parts that a c4 plan scans exactly (no plane c4, or few
 * rows left in) need no effort.
 */
#include "search/call.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/status.h"

#define AT_ONCE 128     /* queries answered together: a panel serves them, their hits stay small */
#define STEP_ROWS 1024u /* scores of a step stay in L1 */
#define FILTER_WORDS                                                                               \
    256u /* 16,384 bits: 1 in 16 ids of other rows is looked up at the greatest depth */

/* An answer, or the row that asks. */
struct target {
    int64_t id;
    uint64_t position;
    float score;
    uint32_t answer; /* its number, or EXCLUDED */
    uint64_t n_before;
};
#define EXCLUDED UINT32_MAX

/* One worker's memory, for one query at a time. */
struct auditor {
    struct pace pace;
    struct target
        *targets; /* [most]: all by distance or id, then those in c4 parts by (score, position) */
    size_t n_targets;
    bool is_by_id;
    uint64_t *filter; /* of the targets' ids */
    int64_t *found;
    uint16_t *below;
    float *scores, *kept, *dense, *projection;
    int8_t *weights;
    float weight_scale;
};

struct job {
    struct call *call;
    size_t first, k, depth;
    uint32_t kind;
    const int64_t *exclude; /* of query `first` on, or NULL */
    vindex_hit *hits;       /* [AT_ONCE, k] */
    struct auditor *auditors;
};

/* ---- where the answers lie ------------------------------------------------------------------- */

static int by_id(const void *a, const void *b)
{
    int64_t x = ((const struct target *)a)->id, y = ((const struct target *)b)->id;
    return (x > y) - (x < y);
}

static int by_score(const void *a, const void *b)
{
    const struct target *x = a, *y = b;
    if (x->score != y->score) return x->score < y->score ? -1 : 1;
    return (x->position > y->position) - (x->position < y->position);
}

static uint32_t hash(int64_t id)
{
    return (uint32_t)((uint64_t)id * UINT64_C(0x9e3779b97f4a7c15) >> 50);
}

static struct target *named(const struct auditor *auditor, int64_t id)
{
    const struct target key = {.id = id};
    return bsearch(&key, auditor->targets, auditor->n_targets, sizeof key, by_id);
}

static void set_position(struct target *target, const struct part *part, const uint64_t *mask,
                         uint32_t slot)
{
    if (target && (!mask || bitmap_get(mask, slot))) target->position = part->base + slot;
}

static void find_in_ascending(struct auditor *auditor, const struct part *part,
                              const uint64_t *mask)
{
    for (size_t i = 0; i < auditor->n_targets; i++) {
        struct target *target = &auditor->targets[i];
        if (target->id < part->min_id || target->id > part->max_id) continue;
        uint32_t slot = vindex__part_lower(part, target->id);
        if (slot < part->n && part_id(part, slot) == target->id)
            set_position(target, part, mask, slot);
    }
}

static void find_in_part(struct auditor *auditor, const struct part *part, const uint64_t *mask)
{
    if (part->ids_ascend) {
        find_in_ascending(auditor, part, mask);
        return;
    }
    if (!auditor->is_by_id)
        qsort(auditor->targets, auditor->n_targets, sizeof *auditor->targets, by_id);
    auditor->is_by_id = true;
    for (uint32_t slot = 0; slot < part->n; slot++) {
        int64_t id = part_id(part, slot);
        if (bitmap_get(auditor->filter, hash(id)))
            set_position(named(auditor, id), part, mask, slot);
    }
}

/* The rows of the hits, and of the one that asks; returns the number of answers. */
static size_t take_targets(struct auditor *auditor, const struct job *job, size_t q)
{
    const vindex_hit *hits = job->hits + q * job->k;
    const int64_t *self = job->exclude ? &job->exclude[q] : NULL;
    size_t n_answers = 0, n = 0;

    memset(auditor->filter, 0, 8 * FILTER_WORDS);
    for (size_t i = 0; i < job->k && hits[i].id != VINDEX_ID_NONE; i++) {
        if ((self && hits[i].id == *self) || n_answers == job->depth) continue;
        auditor->targets[n++] = (struct target){
            .id = hits[i].id, .position = UINT64_MAX, .answer = (uint32_t)n_answers++};
    }
    if (self)
        auditor->targets[n++] =
            (struct target){.id = *self, .position = UINT64_MAX, .answer = EXCLUDED};
    for (size_t i = 0; i < n; i++)
        bitmap_set(auditor->filter, hash(auditor->targets[i].id));
    auditor->n_targets = n;
    auditor->is_by_id = false;
    return n_answers;
}

/* ---- their ranks ----------------------------------------------------------------------------- */

static void score_target(const struct call *call, struct auditor *auditor, struct target *target)
{
    const struct part *part = vindex__snapshot_find(call->snapshot, target->position);
    uint32_t slot = (uint32_t)(target->position - part->base);
    const void *group;

    vindex__next_groups(part->codes->c4, NULL, VKERN_GROUP, slot + 1, &slot, &group);
    call->kern->codes->c4_scan(auditor->weights, auditor->weight_scale, group, 1, call->model.m,
                               auditor->scores, 0, NULL);
    target->score = auditor->scores[slot % VKERN_GROUP];
}

/* Leave the targets that c4 would have to find, in its order. A score that is no number is never
   among the best. */
static void order_targets(const struct call *call, struct auditor *auditor, uint8_t *effort)
{
    size_t n = 0;
    for (size_t i = 0; i < auditor->n_targets; i++) {
        struct target target = auditor->targets[i];
        if (target.position == UINT64_MAX) continue;
        score_target(call, auditor, &target);
        if (target.score == target.score)
            auditor->targets[n++] = target;
        else if (target.answer != EXCLUDED)
            effort[target.answer] = EFFORT_NONE;
    }
    auditor->n_targets = n;
    qsort(auditor->targets, n, sizeof *auditor->targets, by_score);
}

/* A row is before the first target that is neither itself nor before it. */
static void count_row(struct auditor *auditor, float score, uint64_t position)
{
    const struct target row = {.score = score, .position = position};
    size_t low = 0, high = auditor->n_targets;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (by_score(&auditor->targets[middle], &row) <= 0)
            low = middle + 1;
        else
            high = middle;
    }
    if (low < auditor->n_targets) auditor->targets[low].n_before++;
}

/* false: the call is to end. */
static bool count_in_part(struct call *call, struct auditor *auditor, const struct part *part,
                          const uint64_t *mask)
{
    float most = auditor->targets[auditor->n_targets - 1].score;
    size_t m = call->model.m;
    const void *groups;
    uint32_t slot = 0, n;

    for (; (n = vindex__next_groups(part->codes->c4, mask, STEP_ROWS, part->n, &slot, &groups)) > 0;
         slot += n) {
        const struct group_run run = {part, mask, slot, n, slot % VKERN_GROUP};
        if (vindex__pace_tick(&auditor->pace, &call->stop, 0.1 * n * (double)m)) return false;
        call->kern->codes->c4_scan(auditor->weights, auditor->weight_scale, groups,
                                   vkern_groups(run.before + n), m, auditor->scores, most,
                                   auditor->below);
        size_t n_found = vindex__take_below(auditor->below, auditor->scores, &run, auditor->found,
                                            auditor->kept);
        for (size_t i = 0; i < n_found; i++)
            if (auditor->kept[i] == auditor->kept[i]) /* a number */
                count_row(auditor, auditor->kept[i], (uint64_t)auditor->found[i]);
    }
    return true;
}

/* Efforts of the answers; those not among the targets need none. */
static void write_efforts(const struct auditor *auditor, uint8_t *effort)
{
    uint64_t rank = 0;
    for (size_t i = 0; i < auditor->n_targets; i++) {
        const struct target *target = &auditor->targets[i];
        rank += target->n_before;
        if (target->answer == EXCLUDED)
            rank--; /* it is before all targets to come, and does not count */
        else
            effort[target->answer] = (uint8_t)vindex__effort_of(rank + 1);
    }
}

/* ---- a query ------------------------------------------------------------------------------- */

static bool rank_answers(struct call *call, struct auditor *auditor, uint8_t *effort)
{
    struct part_view view;
    for (int pass = 0; pass < 2; pass++) {
        for (size_t i = 0; i < call->n_parts; i++) {
            vindex__call_part(call, i, &view);
            struct part_mask mask = vindex__call_mask(call, i, view.part);
            if (!vindex__is_rough(view.part, mask)) continue;
            if (pass == 0)
                find_in_part(auditor, view.part, mask.words);
            else if (!count_in_part(call, auditor, view.part, mask.words))
                return false;
        }
        if (pass == 0) order_targets(call, auditor, effort);
        if (auditor->n_targets == 0) return true;
    }
    write_efforts(auditor, effort);
    return true;
}

static const float *prepare_query(const struct call *call, struct auditor *auditor, size_t q)
{
    const char *bytes = (const char *)call->request->queries + q * call->query_bytes;
    const float *dense = (const float *)(const void *)bytes;
    if (call->type > VINDEX_BFLOAT16) {
        call->kern->to_f32[call->type](bytes, call->dim, auditor->dense);
        dense = auditor->dense;
    }
    vkern_c4_query_make(call->kern, &call->model, dense, auditor->projection, auditor->weights,
                        &auditor->weight_scale);
    return dense;
}

/* A task: the audit of one query whose answer is known. */
static void audit_query(void *context, size_t q, uint32_t number)
{
    struct job *job = context;
    struct call *call = job->call;
    struct auditor *auditor = &job->auditors[number];
    struct audit audit = {.kind = job->kind,
                          .n_rows = call->n_live,
                          .next_seq = call->snapshot->state.next_seq,
                          .model = call->snapshot->model->nonce};
    const float *query = prepare_query(call, auditor, job->first + q);

    audit.depth = (uint32_t)take_targets(auditor, job, q);
    if (!rank_answers(call, auditor, audit.effort)) return;
    vindex_status st = vindex__calibration_add(call->request->calibration, &audit,
                                               job->kind == AUDIT_ROW ? NULL : query);
    if (st != VINDEX_OK) vindex__stop_set(&call->stop, st);
}

/* ---- many ---------------------------------------------------------------------------------- */

static vindex_status lay_out(struct job *job, size_t n)
{
    const struct call *call = job->call;
    struct region *region = &call->search->audit_memory;
    uint32_t n_workers = call->request->n_threads > 1 ? vindex__pool_size(call->search->pool) : 1;
    size_t m = call->model.m, dim = call->dim;

    for (int pass = 0; pass < 2; pass++) {
        struct arena arena = {pass ? region->memory : NULL, 0, false};
        job->hits = vindex__arena_take(&arena, n * job->k, sizeof *job->hits);
        job->auditors = vindex__arena_take(&arena, n_workers, sizeof *job->auditors);
        for (uint32_t i = 0; i < n_workers; i++) {
            struct auditor unused, *auditor = arena.base ? &job->auditors[i] : &unused;
            memset(auditor, 0, sizeof *auditor);
            vindex__pace_init(&auditor->pace, &call->stop);
            auditor->targets = vindex__arena_take(&arena, job->depth + 1, sizeof *auditor->targets);
            auditor->filter = vindex__arena_take(&arena, FILTER_WORDS, 8);
            auditor->found = vindex__arena_take(&arena, STEP_ROWS, sizeof *auditor->found);
            auditor->kept = vindex__arena_take(&arena, STEP_ROWS, sizeof *auditor->kept);
            auditor->below =
                vindex__arena_take(&arena, STEP_ROWS / VKERN_GROUP, sizeof *auditor->below);
            auditor->scores = vindex__arena_take(&arena, STEP_ROWS + 16, 4);
            auditor->dense = vindex__arena_take(&arena, dim, 4);
            auditor->projection = vindex__arena_take(&arena, dim + m, 4);
            auditor->weights = vindex__arena_take(&arena, m, 1);
        }
        if (arena.overflow) return vindex__nomem();
        vindex_status st = pass ? VINDEX_OK : vindex__region_need(region, arena.used);
        if (st != VINDEX_OK) return st;
    }
    return VINDEX_OK;
}

/* Exact answers of n <= AT_ONCE queries from job->first on, and their audits. */
static vindex_status audit_some(struct job *job, size_t n)
{
    struct call *call = job->call;
    vindex_status st = lay_out(job, n);
    if (st != VINDEX_OK) return st;
    st = vindex__call_window(call, &(struct window){job->first, n, job->k, 0, job->hits});
    if (st != VINDEX_OK) return st;
    vindex__pool_run(call->request->n_threads > 1 ? call->search->pool : NULL, audit_query, job, n);
    return vindex__stop_status(&call->stop);
}

static struct job begin(struct call *call, size_t first, uint32_t kind, const int64_t *exclude)
{
    size_t k = call->request->k;
    struct job job = {.call = call, .first = first, .kind = kind, .exclude = exclude};
    job.depth = k < 100 ? 100 : k < AUDIT_DEPTH_MAX ? k : AUDIT_DEPTH_MAX;
    job.k = (k > job.depth ? k : job.depth) + (exclude != NULL);
    return job;
}

/* Answers of the call, from those of the job. */
static void copy_hits(const struct job *job, size_t n)
{
    size_t k = job->call->request->k;
    for (size_t q = 0; q < n; q++)
        memcpy(job->call->hits + (job->first + q) * k, job->hits + q * job->k,
               k * sizeof *job->hits);
}

vindex_status vindex__audit_queries(struct call *call, size_t first, size_t n, bool is_answered)
{
    struct job job = begin(call, first, AUDIT_LIVE, NULL);
    vindex_status st = VINDEX_OK;
    for (; n > 0; job.first += AT_ONCE) {
        size_t some = n < AT_ONCE ? n : AT_ONCE;
        st = audit_some(&job, some);
        if (st == VINDEX_NOMEM) break;
        if (st == VINDEX_OK || !is_answered) copy_hits(&job, some);
        n -= some;
    }
    return st;
}

vindex_status vindex__search_audit(struct search *search, const struct snapshot *snapshot,
                                   const struct search_request *request, uint32_t kind,
                                   const int64_t *exclude)
{
    struct call call;
    assert(request->calibration && !request->filter);
    vindex__call_open(&call, search, snapshot, request, NULL);
    vindex__effort_exact(&call, NULL);
    call.n_match = call.n_live;
    if (call.n_c4 == 0 || call.n_match == 0) return VINDEX_OK;

    vindex_status st = vindex__search_pool(search, request->n_threads);
    struct job job = begin(&call, 0, kind, exclude);
    for (size_t n = request->n_queries; n > 0 && st == VINDEX_OK; job.first += AT_ONCE) {
        size_t some = n < AT_ONCE ? n : AT_ONCE;
        job.exclude = exclude ? exclude + job.first : NULL;
        st = audit_some(&job, some);
        n -= some;
    }
    return st;
}
