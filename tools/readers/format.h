/*
 * format.h - what a file format provides to reader.c; only the files of this folder include it.
 *
 * reader.c opens the bytes and chooses the format, the format's `open` fills `info`; from then on
 * `read` hands out rows. The writing half is optional.
 */
#ifndef TOOLS_READERS_FORMAT_H
#define TOOLS_READERS_FORMAT_H

#include "../output.h"
#include "input.h"
#include "reader.h"

/* The beginning of a file, from which a format is recognised. */
struct head {
    const uint8_t *bytes; /* at most INPUT_PEEK_BYTES of them */
    size_t n_bytes;
    bool has_size;
    uint64_t size_bytes; /* of the whole content, if has_size */
};

enum match {
    MATCH_NO,     /* taken only by name, to say what is wrong with it */
    MATCH_WEAK,   /* nothing speaks against it, little for it */
    MATCH_LIKELY, /* what it claims of itself agrees; a name that says otherwise still wins */
    MATCH_SURE    /* stronger than any name */
};

struct reader {
    const struct format *format;
    struct input *input;
    struct reader_info info;
    uint64_t n_done; /* rows handed out */
    void *state;     /* the format's own, freed by its close */
};

struct writer {
    const struct format *format;
    struct output *output;
    uint32_t type;
    uint32_t dim;
    bool with_ids;
    uint64_t n_done;
};

struct format {
    const char *name;
    const char *alias; /* another ending of names, or NULL */
    uint32_t type;     /* of formats that hold only one */
    enum match (*match)(const struct format *format, const struct head *head);
    vindex_status (*open)(struct reader *reader, struct fault *fault);
    /* Read up to n_most rows, *n_rows = 0 at the end. */
    vindex_status (*read)(struct reader *reader, size_t n_most, void *rows, int64_t *ids,
                          size_t *n_rows, struct fault *fault);
    void (*close)(struct reader *reader);

    /* The type the format holds for rows of the given one; false: it cannot hold them. */
    bool (*accepts)(const struct format *format, uint32_t given, uint32_t *held);
    vindex_status (*begin)(struct writer *writer, struct fault *fault);
    vindex_status (*write)(struct writer *writer, size_t n_rows, const void *rows,
                           const int64_t *ids, struct fault *fault);
    vindex_status (*finish)(struct writer *writer, struct fault *fault);
};

extern const struct format format_fvecs, format_bvecs, format_ivecs;
extern const struct format format_fbin, format_u8bin, format_i8bin, format_f16bin, format_ibin;
extern const struct format format_npy, format_idx, format_csv, format_jsonl;

/* ---- dense.c: a header, then n rows without a gap ----------------------------------------- */

/* Convert one row's values in place of a copy: from file bytes to the type of the reader. */
typedef void dense_decode(const void *stored, void *values, size_t n);

/** Begin after the header was consumed: info is filled, n_rows included. `decode` NULL: stored as
 *  is. Checks the file's size against the header's claim. */
vindex_status dense_open(struct reader *reader, size_t stored_value_bytes, dense_decode *decode,
                         struct fault *fault);
vindex_status dense_read(struct reader *reader, size_t n_most, void *rows, int64_t *ids,
                         size_t *n_rows, struct fault *fault);
void dense_close(struct reader *reader);
vindex_status dense_write(struct writer *writer, size_t n_rows, const void *rows,
                          const int64_t *ids, struct fault *fault);

/* ---- text.c: values as text ---------------------------------------------------------------- */

/** Numbers are held as floats, ids as whole numbers. */
bool text_accepts(const struct format *format, uint32_t given, uint32_t *held);
/** Value `at` of all that rows hold, behind the text `before`. */
vindex_status text_write_value(struct writer *writer, const void *rows, size_t at,
                               const char *before, struct fault *fault);

/* ---- bytes of files are little endian but for idx ----------------------------------------- */

static inline uint32_t little32(const uint8_t *bytes)
{
    return (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 |
           (uint32_t)bytes[3] << 24;
}

static inline void put_little32(uint8_t *bytes, uint32_t value)
{
    for (int i = 0; i < 4; i++)
        bytes[i] = (uint8_t)(value >> 8 * i);
}

static inline uint32_t big32(const uint8_t *bytes)
{
    return (uint32_t)bytes[3] | (uint32_t)bytes[2] << 8 | (uint32_t)bytes[1] << 16 |
           (uint32_t)bytes[0] << 24;
}

static inline void put_big32(uint8_t *bytes, uint32_t value)
{
    for (int i = 0; i < 4; i++)
        bytes[i] = (uint8_t)(value >> (24 - 8 * i));
}

/** The most values a row may claim: vectors by the library's limit, ids of large k more. */
static inline uint32_t most_values(uint32_t type)
{
    return rows_is_ids(type) ? 1u << 24 : VINDEX_DIM_MAX;
}

#endif
