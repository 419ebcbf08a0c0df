/*
 * effort.c - targets below 1: whether codes are worth it here, what calibrate.c says the target
 * needs, and which queries to learn from.
 */
#include "search/call.h"

#include <math.h>

static double exact_ns(const struct call *call, size_t n_queries)
{
    uint64_t n_plain = call->n_positions - call->n_c8, n_p8 = call->n_p8;
    size_t k = call->request->k;
    if (vindex__plan_leads(call, n_queries, k)) {
        double let_through = (double)n_p8 * vindex__cost_expected(call, k);
        return vindex__cost_scan(call, ENGINE_P8, n_queries, n_p8) +
               let_through * (double)n_queries * vindex__cost_let_through(call, n_queries) +
               vindex__cost_scan(call, vindex__plan_plain(call, n_queries), n_queries,
                                 call->n_positions - n_p8);
    }
    return vindex__cost_scan(call, vindex__plan_coded(call, n_queries), n_queries, call->n_c8) +
           vindex__cost_scan(call, vindex__plan_plain(call, n_queries), n_queries, n_plain);
}

/* By c4 where it is, without the rerank. Parts without it count as if their rows were as often in
   c8. */
static double rough_ns(const struct call *call, size_t n_queries)
{
    double rest = (double)(call->n_positions - call->n_c4) / (double)call->n_positions;
    return vindex__cost_scan(call, ENGINE_C4, n_queries, call->n_c4) +
           rest * exact_ns(call, n_queries) + (double)n_queries * vindex__cost_project(call);
}

void vindex__effort_exact(struct call *call, const char *reason)
{
    call->effort = (struct effort){.plan = {.state = VINDEX_STATE_EXACT,
                                            .predicted = 1,
                                            .bound = 1,
                                            .measured = NAN,
                                            .reason = reason}};
}

void vindex__effort_plan(struct call *call, size_t n_queries)
{
    const struct search_request *request = call->request;
    struct effort *effort = &call->effort;
    const size_t n = n_queries;

    vindex__effort_exact(call, NULL);
    if (!request->calibration || !(request->recall < 1) || call->n_match == 0) return;
    enum engine forced = call->search->forced;
    if (call->n_c4 == 0 || (forced != ENGINE_EXACT && forced != ENGINE_C4)) {
        vindex__effort_exact(call, "no codes");
        return;
    }
    double exact = exact_ns(call, n), rough = rough_ns(call, n);
    double rows = (exact - rough) / ((double)n * vindex__cost_rerank(call));
    if (forced == ENGINE_C4) rows = (double)call->n_match;
    size_t k = request->k < call->n_match ? request->k : (size_t)call->n_match;
    if (!(rows >= (double)k)) {
        vindex__effort_exact(call, "as fast");
        return;
    }
    struct effort_ask ask = {.model = call->snapshot->model->nonce,
                             .k = k,
                             .target = (double)request->recall,
                             .selectivity = (double)call->n_match / (double)call->n_live,
                             .n_rows = call->n_live,
                             .snapshot = call->snapshot,
                             .effort_max = (uint64_t)rows,
                             .strict = (request->flags & VINDEX_SEARCH_STRICT) != 0,
                             .may_audit = !(request->flags & VINDEX_SEARCH_NO_AUDIT) &&
                                          !request->deadline_ns && !call->masks};
    vindex__calibration_plan(request->calibration, &ask, &effort->plan);
    effort->may_audit = ask.may_audit;
    effort->ratio = (exact_ns(call, 1) + rough_ns(call, 1)) * (double)n /
                    (rough + (double)effort->plan.k_prime * (double)n * vindex__cost_rerank(call));
}

bool vindex__effort_draw(const struct call *call)
{
    return call->effort.may_audit && call->effort.plan.k_prime > 0 &&
           vindex__calibration_draw(call->request->calibration, call->effort.ratio);
}
