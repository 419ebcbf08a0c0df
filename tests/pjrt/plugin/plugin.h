/*
 * plugin.h - what the test plugin exports beside GetPjrtApi, and the environment it obeys.
 *
 * VINDEX_PJRT_TEST, read at each call: words of the form key=value, separated by spaces.
 *     fault=NAME[:NTH][:CODE]  calls of NAME (the NTH since the last reset; all without) fail with
 *                              CODE (13, INTERNAL). Names: those of the functions (Client_Create,
 *                              Execute, ...), and what happens later or otherwise:
 *                              Execute.async  the complete event fails     ToHostBuffer.async
 *                              Execute.nan    values are not numbers       Buffer.async (ReadyEvent)
 *                              Execute.rows   rows beyond the chunk        Execute.wrong (a score)
 *                              Compile.outputs  one result too many
 *     kinds=NAME,...  the only kinds that compile        platform=NAME   devices=N
 *     hbm=BYTES       of each device; hbm_late=1 tells it only with the ready event
 *     delay_ms=N      of each execution                  portable=0      launches on a device fail
 */
#ifndef TESTS_PJRT_PLUGIN_H
#define TESTS_PJRT_PLUGIN_H

#include <stdint.h>

struct pjrt_test_counts {
    long errors, events, buffers, executables, clients; /* that live */
    long compiled, executed, uploads, pinned;           /* since the last reset */
    uint64_t uploaded_bytes, device_bytes;
};

typedef void pjrt_test_counts_fn(struct pjrt_test_counts *counts); /* "pjrt_test_counts" */
typedef void pjrt_test_reset_fn(void);                             /* "pjrt_test_reset" */

#endif
