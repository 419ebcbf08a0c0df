/*
 * meaning.h - programs as the test plugin understands them: the comment says what is meant, the text is
 * checked against it, plain loops execute it.
 */
#ifndef TESTS_PJRT_MEANING_H
#define TESTS_PJRT_MEANING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct meaning {
    char kind[16], type[8];
    unsigned terms, q, n, d, k, bins;
    float recall;
    long long override_rows;
};

/** false: `why` says what is wrong with the text. */
bool meaning_read(const char *text, size_t size, struct meaning *meaning, char *why,
                  size_t why_size);

/** Arguments in order; values and rows as the program returns them (rows NULL where it has none). */
void meaning_run(const struct meaning *meaning, const void *const *arguments, void *values,
                 int32_t *rows);

#endif
