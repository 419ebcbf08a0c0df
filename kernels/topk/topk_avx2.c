/*
 * topk_avx2.c - selection kernels, 16-, 32- and 64-bit lanes of 256 bits.
 *
 * As topk_avx512.c; without masks, ends of rows go element by element, survivors are taken from a
 * comparison's bits one at a time, and a partition compresses halves of four 32-bit lanes by a table.
 */
#include "kernels/init.h"
#include "kernels/topk/sort.h"
#include "kernels/topk/topk.h"

#if VKERN_X86
#include <immintrin.h>
#include <string.h>

typedef __m256i vector;

VKERN_INLINE __m256i load(enum vkern_topk_type type, const void *x, size_t i)
{
    return _mm256_loadu_si256(
        (const __m256i *)((const unsigned char *)x + i * vkern_topk_size(type)));
}

/* ---- keys -------------------------------------------------------------------------------------- */

/* The sign operation negates where its second operand is negative, and gives 0 where that is 0: then the
 * magnitude is 0 too, or, with the sign bit turned for a minimum, has nothing to be negated. */
VKERN_INLINE __m256i key_f16(enum vkern_topk_type type, bool is_min, bool nan_is_best, __m256i x)
{
    const __m256i magnitude = _mm256_and_si256(x, _mm256_set1_epi16(0x7fff));
    const __m256i is_nan =
        _mm256_cmpgt_epi16(magnitude, _mm256_set1_epi16((short)vkern_topk_infinity(type)));
    const __m256i sign = is_min ? _mm256_xor_si256(x, _mm256_set1_epi16(INT16_MIN)) : x;

    return _mm256_blendv_epi8(_mm256_sign_epi16(magnitude, sign),
                              _mm256_set1_epi16((short)vkern_topk_nan_key(type, nan_is_best)),
                              is_nan);
}

VKERN_INLINE __m256i key_f32(bool is_min, bool nan_is_best, __m256i x)
{
    const enum vkern_topk_type type = VKERN_TOPK_F32;
    const __m256i magnitude = _mm256_and_si256(x, _mm256_set1_epi32(INT32_MAX));
    const __m256i is_nan =
        _mm256_cmpgt_epi32(magnitude, _mm256_set1_epi32((int)vkern_topk_infinity(type)));
    const __m256i sign = is_min ? _mm256_xor_si256(x, _mm256_set1_epi32(INT32_MIN)) : x;

    return _mm256_blendv_epi8(_mm256_sign_epi32(magnitude, sign),
                              _mm256_set1_epi32((int)vkern_topk_nan_key(type, nan_is_best)),
                              is_nan);
}

VKERN_INLINE __m256i key_f64(bool is_min, bool nan_is_best, __m256i x)
{
    const enum vkern_topk_type type = VKERN_TOPK_F64;
    const __m256i magnitude = _mm256_and_si256(x, _mm256_set1_epi64x(INT64_MAX));
    const __m256i is_nan =
        _mm256_cmpgt_epi64(magnitude, _mm256_set1_epi64x(vkern_topk_infinity(type)));
    const __m256i sign = is_min ? _mm256_xor_si256(x, _mm256_set1_epi64x(INT64_MIN)) : x;
    const __m256i is_negative = _mm256_cmpgt_epi64(_mm256_setzero_si256(), sign);
    const __m256i key = _mm256_sub_epi64(_mm256_xor_si256(magnitude, is_negative), is_negative);

    return _mm256_blendv_epi8(key, _mm256_set1_epi64x(vkern_topk_nan_key(type, nan_is_best)),
                              is_nan);
}

/* One vector's keys, in lanes of the type's own width. */
VKERN_INLINE __m256i key_of(enum vkern_topk_type type, bool is_min, bool nan_is_best, __m256i x)
{
    switch (type) {
    case VKERN_TOPK_F16:
    case VKERN_TOPK_BF16: return key_f16(type, is_min, nan_is_best, x);
    case VKERN_TOPK_F32: return key_f32(is_min, nan_is_best, x);
    case VKERN_TOPK_F64: return key_f64(is_min, nan_is_best, x);
    default: return is_min ? _mm256_xor_si256(x, _mm256_set1_epi32(-1)) : x;
    }
}

/* The low and high eight of sixteen 16-bit keys. */
VKERN_INLINE __m256i widen(__m256i keys, bool high)
{
    return _mm256_cvtepi16_epi32(high ? _mm256_extracti128_si256(keys, 1)
                                      : _mm256_castsi256_si128(keys));
}

VKERN_INLINE void store_keys(enum vkern_topk_type type, void *keys, size_t i, __m256i key)
{
    __m256i *to = (__m256i *)((unsigned char *)keys + i * (vkern_topk_is_wide(type) ? 8 : 4));

    if (vkern_topk_size(type) == 2) {
        _mm256_storeu_si256(to, widen(key, false));
        _mm256_storeu_si256(to + 1, widen(key, true));
    } else {
        _mm256_storeu_si256(to, key);
    }
}

/* ---- maxima ------------------------------------------------------------------------------------ */

/* Where a maximum starts: no element is worse, NaN aside. */
VKERN_INLINE __m256i start(enum vkern_topk_type type, bool is_min)
{
    const int64_t worst = vkern_topk_worst(type);
    const int64_t value =
        vkern_topk_size(type) == 2 ? worst : (int64_t)vkern_topk_bits(type, is_min, worst);

    switch (vkern_topk_size(type)) {
    case 2: return _mm256_set1_epi16((short)value);
    case 4: return _mm256_set1_epi32((int)value);
    default: return _mm256_set1_epi64x(value);
    }
}

VKERN_INLINE __m256i better_f32(bool is_min, __m256 x, __m256 most)
{
    return _mm256_castps_si256(is_min ? _mm256_min_ps(x, most) : _mm256_max_ps(x, most));
}

VKERN_INLINE __m256i better_f64(bool is_min, __m256d x, __m256d most)
{
    return _mm256_castpd_si256(is_min ? _mm256_min_pd(x, most) : _mm256_max_pd(x, most));
}

VKERN_INLINE __m256i better_i64(bool is_min, __m256i x, __m256i most)
{
    return _mm256_blendv_epi8(most, x,
                              is_min ? _mm256_cmpgt_epi64(most, x) : _mm256_cmpgt_epi64(x, most));
}

/* The better of x and most, lane by lane; most is not NaN. */
VKERN_INLINE __m256i better(enum vkern_topk_type type, bool is_min, __m256i x, __m256i most)
{
    switch (type) {
    case VKERN_TOPK_F32:
        return better_f32(is_min, _mm256_castsi256_ps(x), _mm256_castsi256_ps(most));
    case VKERN_TOPK_F64:
        return better_f64(is_min, _mm256_castsi256_pd(x), _mm256_castsi256_pd(most));
    case VKERN_TOPK_I32: return is_min ? _mm256_min_epi32(x, most) : _mm256_max_epi32(x, most);
    case VKERN_TOPK_I64: return better_i64(is_min, x, most);
    default: return _mm256_max_epi16(key_f16(type, is_min, false, x), most);
    }
}

/* The same for two maxima. */
VKERN_INLINE __m256i better_of_two(enum vkern_topk_type type, bool is_min, __m256i a, __m256i b)
{
    return vkern_topk_size(type) == 2 ? _mm256_max_epi16(a, b) : better(type, is_min, a, b);
}

/* What `better` gathered, as keys. */
VKERN_INLINE __m256i key_of_best(enum vkern_topk_type type, bool is_min, __m256i most)
{
    return vkern_topk_size(type) == 2 ? most : key_of(type, is_min, false, most);
}

VKERN_INLINE int64_t reduce(enum vkern_topk_type type, __m256i keys)
{
    int64_t lanes[8], most = INT64_MIN;
    int32_t narrow[16];

    store_keys(type, vkern_topk_is_wide(type) ? (void *)lanes : (void *)narrow, 0, keys);
    for (size_t j = 0; j < sizeof keys / vkern_topk_size(type); j++) {
        const int64_t key = vkern_topk_is_wide(type) ? lanes[j] : narrow[j];
        if (key > most) most = key;
    }
    return most;
}

/* ---- NaN --------------------------------------------------------------------------------------- */

VKERN_INLINE bool is_any_nan(enum vkern_topk_type type, __m256i x)
{
    switch (type) {
    case VKERN_TOPK_F32: {
        const __m256 v = _mm256_castsi256_ps(x);
        return _mm256_movemask_ps(_mm256_cmp_ps(v, v, _CMP_UNORD_Q)) != 0;
    }
    case VKERN_TOPK_F64: {
        const __m256d v = _mm256_castsi256_pd(x);
        return _mm256_movemask_pd(_mm256_cmp_pd(v, v, _CMP_UNORD_Q)) != 0;
    }
    default: {
        const __m256i magnitude = _mm256_and_si256(x, _mm256_set1_epi16(0x7fff));
        return _mm256_movemask_epi8(_mm256_cmpgt_epi16(
                   magnitude, _mm256_set1_epi16((short)vkern_topk_infinity(type)))) != 0;
    }
    }
}

/* ---- survivors --------------------------------------------------------------------------------- */

/* A bit for each lane that reaches the limit: a key for 16-bit types, else a value. */
VKERN_INLINE uint32_t reaches(enum vkern_topk_type type, bool is_min, __m256i x, __m256i limit)
{
    switch (type) {
    case VKERN_TOPK_F32: {
        const __m256 v = _mm256_castsi256_ps(x), t = _mm256_castsi256_ps(limit);
        return (uint32_t)_mm256_movemask_ps(is_min ? _mm256_cmp_ps(v, t, _CMP_LE_OQ)
                                                   : _mm256_cmp_ps(v, t, _CMP_GE_OQ));
    }
    case VKERN_TOPK_F64: {
        const __m256d v = _mm256_castsi256_pd(x), t = _mm256_castsi256_pd(limit);
        return (uint32_t)_mm256_movemask_pd(is_min ? _mm256_cmp_pd(v, t, _CMP_LE_OQ)
                                                   : _mm256_cmp_pd(v, t, _CMP_GE_OQ));
    }
    case VKERN_TOPK_I32: {
        const __m256i worse = is_min ? _mm256_cmpgt_epi32(x, limit) : _mm256_cmpgt_epi32(limit, x);
        return ~(uint32_t)_mm256_movemask_ps(_mm256_castsi256_ps(worse)) & 0xff;
    }
    case VKERN_TOPK_I64: {
        const __m256i worse = is_min ? _mm256_cmpgt_epi64(x, limit) : _mm256_cmpgt_epi64(limit, x);
        return ~(uint32_t)_mm256_movemask_pd(_mm256_castsi256_pd(worse)) & 0xf;
    }
    default: {
        const __m256i worse = _mm256_cmpgt_epi16(limit, key_f16(type, is_min, false, x));
        const __m128i bytes =
            _mm_packs_epi16(_mm256_castsi256_si128(worse), _mm256_extracti128_si256(worse, 1));
        return ~(uint32_t)_mm_movemask_epi8(bytes) & 0xffff;
    }
    }
}

VKERN_INLINE __m256i limit_of(enum vkern_topk_type type, bool is_min, int64_t least)
{
    const int64_t bits = (int64_t)vkern_topk_bits(type, is_min, least);

    switch (vkern_topk_size(type)) {
    case 2: return _mm256_set1_epi16((short)least);
    case 4: return _mm256_set1_epi32((int)bits);
    default: return _mm256_set1_epi64x(bits);
    }
}

/* A bit for each of 32 16-bit elements: the halves of both vectors are packed in turns, then put in order. */
VKERN_INLINE uint32_t reach_f16(enum vkern_topk_type type, bool is_min, const void *x, size_t i,
                                __m256i limit)
{
    const __m256i a = _mm256_cmpgt_epi16(limit, key_f16(type, is_min, false, load(type, x, i)));
    const __m256i b =
        _mm256_cmpgt_epi16(limit, key_f16(type, is_min, false, load(type, x, i + 16)));
    const __m256i bytes = _mm256_permute4x64_epi64(_mm256_packs_epi16(a, b), 0xd8);

    return ~(uint32_t)_mm256_movemask_epi8(bytes);
}

/* A bit for each element of the parcel at i that reaches the limit. */
VKERN_INLINE uint64_t parcel_bits(enum vkern_topk_type type, bool is_min, const void *x, size_t i,
                                  __m256i limit)
{
    const size_t step = 32 / vkern_topk_size(type);
    uint64_t bits = 0;

    if (step == 16)
        return reach_f16(type, is_min, x, i, limit) |
               (uint64_t)reach_f16(type, is_min, x, i + 32, limit) << 32;
#pragma GCC unroll 16
    for (size_t j = 0; j < VKERN_TOPK_PARCEL; j += step)
        bits |= (uint64_t)reaches(type, is_min, load(type, x, i + j), limit) << j;
    return bits;
}

VKERN_INLINE size_t append_bits(uint64_t bits, uint32_t position, uint32_t *to);

/* The set bits' numbers of eight parcels. */
VKERN_INLINE size_t append_eight(const uint64_t *bits, const uint32_t *parcels, uint32_t base,
                                 uint32_t *to)
{
    size_t n = 0;

    for (size_t i = 0; i < 8; i++)
        n += append_bits(bits[i], base + parcels[i] * VKERN_TOPK_PARCEL, to + n);
    return n;
}

VKERN_INLINE size_t append_many(uint64_t bits, uint32_t position, uint32_t *to)
{
    const uint32_t *first = to;

    for (; bits; bits &= bits - 1)
        *to++ = position + (uint32_t)__builtin_ctzll(bits);
    return (size_t)(to - first);
}

/* The words that are not 0 to the front, their numbers beside them. */
VKERN_INLINE size_t list_nonzero(uint64_t *words, size_t n, uint32_t *to)
{
    size_t count = 0;

    for (size_t i = 0; i < n; i++) {
        const uint64_t word = words[i];
        to[count] = (uint32_t)i;
        words[count] = word;
        count += word != 0;
    }
    return count;
}

#include "kernels/topk/loops.h"

/* ---- partition --------------------------------------------------------------------------------- */

/* The set lanes of four to the front, as indices of 32-bit lanes. */
static const int32_t front_of_4[16][4] = {{0, 0, 0, 0}, {0, 0, 0, 0}, {1, 0, 0, 0}, {0, 1, 0, 0},
                                          {2, 0, 0, 0}, {0, 2, 0, 0}, {1, 2, 0, 0}, {0, 1, 2, 0},
                                          {3, 0, 0, 0}, {0, 3, 0, 0}, {1, 3, 0, 0}, {0, 1, 3, 0},
                                          {2, 3, 0, 0}, {0, 2, 3, 0}, {1, 2, 3, 0}, {0, 1, 2, 3}};

VKERN_INLINE unsigned bits_of_4(__m128i live)
{
    return (unsigned)_mm_movemask_ps(_mm_castsi128_ps(live));
}

VKERN_INLINE unsigned bits_of_4_wide(__m256i live)
{
    return (unsigned)_mm256_movemask_pd(_mm256_castsi256_pd(live));
}

VKERN_INLINE size_t append_4(void *to, __m128i v, unsigned bits)
{
    const __m128i order = _mm_loadu_si128((const __m128i *)front_of_4[bits]);

    _mm_storeu_si128(to, _mm_castps_si128(_mm_permutevar_ps(_mm_castsi128_ps(v), order)));
    return (size_t)__builtin_popcount(bits);
}

VKERN_INLINE size_t append_4_wide(void *to, __m256i v, unsigned bits)
{
    /* A 64-bit lane is a pair of 32-bit ones. */
    const __m256i lanes = _mm256_cvtepu32_epi64(_mm_loadu_si128((const __m128i *)front_of_4[bits]));
    const __m256i low = _mm256_slli_epi64(lanes, 1);
    const __m256i order =
        _mm256_or_si256(low, _mm256_slli_epi64(_mm256_add_epi64(low, _mm256_set1_epi64x(1)), 32));

    _mm256_storeu_si256(to, _mm256_permutevar8x32_epi32(v, order));
    return (size_t)__builtin_popcount(bits);
}

VKERN_INLINE size_t split_step(bool is_wide)
{
    (void)is_wide;
    return 4;
}

/* split_step keys: those above the pivot to `above`, those below it to `below`; counts grow. */
VKERN_INLINE void split(bool is_wide, const void *keys, int64_t pivot, void *above, size_t *n_above,
                        void *below, size_t *n_below)
{
    if (is_wide) {
        const __m256i v = _mm256_loadu_si256(keys), middle = _mm256_set1_epi64x(pivot);
        *n_above += append_4_wide(above, v, bits_of_4_wide(_mm256_cmpgt_epi64(v, middle)));
        *n_below += append_4_wide(below, v, bits_of_4_wide(_mm256_cmpgt_epi64(middle, v)));
    } else {
        const __m128i v = _mm_loadu_si128(keys), middle = _mm_set1_epi32((int)pivot);
        *n_above += append_4(above, v, bits_of_4(_mm_cmpgt_epi32(v, middle)));
        *n_below += append_4(below, v, bits_of_4(_mm_cmpgt_epi32(middle, v)));
    }
}

/* Of split_step keys those of at least `least`, and their positions; returns how many. */
VKERN_INLINE size_t keep_some(bool is_wide, const void *keys, const uint32_t *positions,
                              int64_t least, void *keys_to, uint32_t *positions_to)
{
    const __m128i at = _mm_loadu_si128((const __m128i *)positions);

    if (is_wide) {
        const __m256i v = _mm256_loadu_si256(keys);
        const unsigned worse = bits_of_4_wide(_mm256_cmpgt_epi64(_mm256_set1_epi64x(least), v));
        append_4(positions_to, at, worse ^ 15);
        return append_4_wide(keys_to, v, worse ^ 15);
    } else {
        const __m128i v = _mm_loadu_si128(keys);
        const unsigned worse = bits_of_4(_mm_cmpgt_epi32(_mm_set1_epi32((int)least), v));
        append_4(positions_to, at, worse ^ 15);
        return append_4(keys_to, v, worse ^ 15);
    }
}

/* ---- sinking insertion ------------------------------------------------------------------------- */

typedef __m256i lanes; /* all bits of those that are set */

VKERN_INLINE lanes first_lanes(bool is_wide, size_t n)
{
    const __m256i count = is_wide ? _mm256_set1_epi64x((int64_t)n) : _mm256_set1_epi32((int)n);

    return is_wide ? _mm256_cmpgt_epi64(count, _mm256_setr_epi64x(0, 1, 2, 3))
                   : _mm256_cmpgt_epi32(count, _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

VKERN_INLINE bool is_none(lanes a)
{
    return _mm256_testz_si256(a, a);
}

VKERN_INLINE lanes both(lanes a, lanes b)
{
    return _mm256_and_si256(a, b);
}

VKERN_INLINE lanes either(lanes a, lanes b)
{
    return _mm256_or_si256(a, b);
}

VKERN_INLINE lanes without(lanes a, lanes b)
{
    return _mm256_andnot_si256(b, a);
}

VKERN_INLINE lanes greater(bool is_wide, __m256i a, __m256i b)
{
    return is_wide ? _mm256_cmpgt_epi64(a, b) : _mm256_cmpgt_epi32(a, b);
}

VKERN_INLINE lanes equal(bool is_wide, __m256i a, __m256i b)
{
    return is_wide ? _mm256_cmpeq_epi64(a, b) : _mm256_cmpeq_epi32(a, b);
}

VKERN_INLINE __m256i repeat(bool is_wide, int32_t x)
{
    return is_wide ? _mm256_set1_epi64x(x) : _mm256_set1_epi32(x);
}

/* b where the lane is set, else a. */
VKERN_INLINE __m256i choose(bool is_wide, lanes set, __m256i a, __m256i b)
{
    (void)is_wide;
    return _mm256_blendv_epi8(a, b, set);
}

/* The first n keys of a vector, others unspecified; nothing beyond is read. */
VKERN_INLINE __m256i load_part(bool is_wide, const void *keys, size_t n)
{
    const __m256i part = first_lanes(is_wide, n);

    return is_wide ? _mm256_maskload_epi64(keys, part) : _mm256_maskload_epi32(keys, part);
}

/* Tile numbers beside keys: 64-bit lanes hold them sign-extended, so UINT32_MAX is -1 in both. */
VKERN_INLINE __m256i load_tiles(bool is_wide, const uint32_t *tiles)
{
    return is_wide ? _mm256_cvtepi32_epi64(_mm_loadu_si128((const __m128i *)tiles))
                   : _mm256_loadu_si256((const __m256i *)tiles);
}

VKERN_INLINE void store_tiles(bool is_wide, uint32_t *tiles, __m256i v)
{
    const __m256i even = _mm256_setr_epi32(0, 2, 4, 6, 0, 2, 4, 6);

    if (is_wide)
        _mm_storeu_si128((__m128i *)tiles,
                         _mm256_castsi256_si128(_mm256_permutevar8x32_epi32(v, even)));
    else
        _mm256_storeu_si256((__m256i *)tiles, v);
}

#include "kernels/topk/lists.h"

/* ---- sorting ----------------------------------------------------------------------------------- */

VKERN_INLINE __m256i load_words(const uint32_t *words)
{
    return _mm256_loadu_si256((const __m256i *)words);
}

VKERN_INLINE void store_words(uint32_t *words, __m256i v)
{
    _mm256_storeu_si256((__m256i *)words, v);
}

VKERN_INLINE __m256i smaller(__m256i a, __m256i b)
{
    return _mm256_min_epu32(a, b);
}

VKERN_INLINE __m256i larger(__m256i a, __m256i b)
{
    return _mm256_max_epu32(a, b);
}

VKERN_INLINE __m256i partners(__m256i v, size_t x)
{
    const __m256i iota = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);

    return _mm256_permutevar8x32_epi32(v, _mm256_xor_si256(iota, _mm256_set1_epi32((int)x)));
}

VKERN_INLINE __m256i reversed(__m256i v)
{
    return partners(v, 7);
}

/* Words below the limit to `front`, others to `back`; counts grow. */
VKERN_INLINE void split_words(const uint32_t *words, uint32_t limit, uint32_t *front,
                              size_t *n_front, uint32_t *back, size_t *n_back)
{
    const __m256i v = load_words(words), most = _mm256_set1_epi32((int)(limit - 1)); /* limit > 0 */
    const __m256i is_below = _mm256_cmpeq_epi32(_mm256_min_epu32(v, most), v);
    const unsigned below = (unsigned)_mm256_movemask_ps(_mm256_castsi256_ps(is_below));
    const __m128i first = _mm256_castsi256_si128(v), second = _mm256_extracti128_si256(v, 1);
    const size_t n_below = append_4(front, first, below & 15);

    *n_front += n_below + append_4(front + n_below, second, below >> 4);
    append_4(back, first, ~below & 15);
    append_4(back + 4 - n_below, second, ~below >> 4 & 15);
    *n_back += 8 - (size_t)__builtin_popcount(below);
}

VKERN_INLINE __m256i exchange(__m256i v, size_t x)
{
    const __m256i other = partners(v, x);
    const __m256i low = _mm256_min_epu32(v, other), high = _mm256_max_epu32(v, other);

    if (x >= 4) return _mm256_blend_epi32(low, high, 0xf0);
    return x >= 2 ? _mm256_blend_epi32(low, high, 0xcc) : _mm256_blend_epi32(low, high, 0xaa);
}

#include "kernels/topk/network.h"
#include "kernels/topk/slots.h"

void vkern_topk_init_avx2(vkern_topk_table *table)
{
    table->level = VKERN_LEVEL_AVX2;
    table->level_name = "avx2";
    VKERN_TOPK_FILL_ALL(table);
}
#else
typedef int vkern_topk_avx2_is_not_built;
#endif
