/*
 * rerank.c - exact scores: of what a stream let through, or of every row where no first pass helps.
 */
#include "search/call.h"

/* Rows whose addresses are known and asked for before the first of them is scored. */
#define AHEAD 16

struct candidates {
    const void *rows[AHEAD];
    int64_t ids[AHEAD];
    size_t n;
};

static void score_candidates(struct worker *worker, struct collector *collector,
                             struct candidates *candidates)
{
    const struct measure *measure = &worker->call->measure;
    float scores[AHEAD];
    for (size_t i = 0; i < candidates->n; i++)
        scores[i] = vindex__measure_score(measure, &collector->query, candidates->rows[i]);
    vindex__final_push(&collector->best, scores, candidates->ids, 0, candidates->n);
    worker->n_reranked += candidates->n;
    candidates->n = 0;
}

static inline void add_candidate(struct worker *worker, struct collector *collector,
                                 struct candidates *candidates, const void *row, int64_t id)
{
    vindex__fetch_row(worker->call, row);
    candidates->rows[candidates->n] = row;
    candidates->ids[candidates->n++] = id;
    if (candidates->n == AHEAD) score_candidates(worker, collector, candidates);
}

static double row_ns(const struct call *call)
{
    return 30 + call->dim / 2.0;
}

/* The worst of the k best known bounds all that may come. */
static void lower_threshold(struct worker *worker, struct collector *collector)
{
    float worst;
    if (!vindex__best_worst(&collector->best, &worst)) return;
    vindex__stream_lower(&collector->stream,
                         vindex__plan_upper(worker->call, &collector->query, worst));
}

/* Score entries exactly, as far as a call that is ending may. */
static void score_entries(struct worker *worker, struct collector *collector,
                          const struct topk_stream *entries)
{
    struct call *call = worker->call;
    struct candidates candidates = {.n = 0};

    for (size_t i = 0; i < entries->count; i++) {
        int64_t id;
        const void *row = vindex__call_row(call, (uint64_t)entries->memory.ids[i], &id);
        if (!vindex__may_finish(worker, &call->stop, row_ns(call))) break;
        add_candidate(worker, collector, &candidates, row, id);
    }
    score_candidates(worker, collector, &candidates);
}

void vindex__rerank_stream(struct worker *worker, struct collector *collector)
{
    struct topk_stream *stream = &collector->stream;

    if (stream->count > 0 && vindex__may_finish(worker, &worker->call->stop, 0)) {
        vindex__stream_compress(stream);
        score_entries(worker, collector, stream);
    }
    vindex__stream_clear(stream);
    lower_threshold(worker, collector);
}

void vindex__rerank_rough(struct worker *worker, struct collector *collector,
                          struct topk_stream *rough)
{
    const struct call *call = worker->call;

    /* Of a call that is ending k are worth it, not k'. */
    if (atomic_load_explicit(&call->stop.status, memory_order_relaxed) != VINDEX_OK &&
        call->plan.k < rough->k)
        rough->k = call->plan.k;
    vindex__final_trim(rough);
    score_entries(worker, collector, rough);
}

void vindex__rerank_slots(struct worker *worker, struct collector *collector,
                          const struct part *part, const uint64_t *mask, uint32_t slot,
                          uint32_t end)
{
    const struct call *call = worker->call;
    struct candidates candidates = {.n = 0};

    while (slot < end) {
        uint64_t word = mask ? mask[slot / 64] >> (slot % 64) : ~UINT64_C(0);
        uint32_t left = 64 - slot % 64, n = left < end - slot ? left : end - slot;
        if (n < 64) word &= (UINT64_C(1) << n) - 1;
        if (word && vindex__pace_tick(&worker->pace, &worker->call->stop,
                                      row_ns(call) * __builtin_popcountll(word)))
            break;
        for (; word; word &= word - 1) {
            uint32_t at = slot + (uint32_t)__builtin_ctzll(word);
            add_candidate(worker, collector, &candidates, part_row(part, at),
                          vindex__row_id(part, at));
        }
        slot += n;
    }
    score_candidates(worker, collector, &candidates);
    lower_threshold(worker, collector);
}
