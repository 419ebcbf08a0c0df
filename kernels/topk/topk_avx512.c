/*
 * topk_avx512.c - selection kernels, 16-, 32- and 64-bit lanes of 512 bits.
 *
 * Maxima of f32, f64 and integers run on the values themselves: max_ps(x, most) returns its second
 * operand where x is NaN, which is how NaN is passed over. 16-bit floats have no such instruction here
 * and run on keys. Survivors are compressed in a register and stored whole (filter_avx512.c says why).
 */
#include "kernels/init.h"
#include "kernels/topk/sort.h"
#include "kernels/topk/topk.h"

#if VKERN_X86
#include <immintrin.h>
#include <string.h>

typedef __m512i vector;

VKERN_INLINE __m512i load(enum vkern_topk_type type, const void *x, size_t i)
{
    return _mm512_loadu_si512((const unsigned char *)x + i * vkern_topk_size(type));
}

/* ---- keys -------------------------------------------------------------------------------------- */

VKERN_INLINE __m512i key_f16(enum vkern_topk_type type, bool is_min, bool nan_is_best, __m512i x)
{
    const __m512i magnitude = _mm512_and_si512(x, _mm512_set1_epi16(0x7fff));
    const __mmask32 sign = _mm512_movepi16_mask(x), negative = is_min ? ~sign : sign;
    const __mmask32 is_nan =
        _mm512_cmpgt_epi16_mask(magnitude, _mm512_set1_epi16((short)vkern_topk_infinity(type)));
    const __m512i key =
        _mm512_mask_sub_epi16(magnitude, negative, _mm512_setzero_si512(), magnitude);

    return _mm512_mask_mov_epi16(key, is_nan,
                                 _mm512_set1_epi16((short)vkern_topk_nan_key(type, nan_is_best)));
}

VKERN_INLINE __m512i key_f32(bool is_min, bool nan_is_best, __m512i x)
{
    const enum vkern_topk_type type = VKERN_TOPK_F32;
    const __m512i magnitude = _mm512_and_si512(x, _mm512_set1_epi32(INT32_MAX));
    const __mmask16 sign = _mm512_movepi32_mask(x), negative = (__mmask16)(is_min ? ~sign : sign);
    const __mmask16 is_nan =
        _mm512_cmpgt_epi32_mask(magnitude, _mm512_set1_epi32((int)vkern_topk_infinity(type)));
    const __m512i key =
        _mm512_mask_sub_epi32(magnitude, negative, _mm512_setzero_si512(), magnitude);

    return _mm512_mask_mov_epi32(key, is_nan,
                                 _mm512_set1_epi32((int)vkern_topk_nan_key(type, nan_is_best)));
}

VKERN_INLINE __m512i key_f64(bool is_min, bool nan_is_best, __m512i x)
{
    const enum vkern_topk_type type = VKERN_TOPK_F64;
    const __m512i magnitude = _mm512_and_si512(x, _mm512_set1_epi64(INT64_MAX));
    const __mmask8 sign = _mm512_movepi64_mask(x), negative = (__mmask8)(is_min ? ~sign : sign);
    const __mmask8 is_nan =
        _mm512_cmpgt_epi64_mask(magnitude, _mm512_set1_epi64(vkern_topk_infinity(type)));
    const __m512i key =
        _mm512_mask_sub_epi64(magnitude, negative, _mm512_setzero_si512(), magnitude);

    return _mm512_mask_mov_epi64(key, is_nan,
                                 _mm512_set1_epi64(vkern_topk_nan_key(type, nan_is_best)));
}

/* One vector's keys, in lanes of the type's own width. */
VKERN_INLINE __m512i key_of(enum vkern_topk_type type, bool is_min, bool nan_is_best, __m512i x)
{
    switch (type) {
    case VKERN_TOPK_F16:
    case VKERN_TOPK_BF16: return key_f16(type, is_min, nan_is_best, x);
    case VKERN_TOPK_F32: return key_f32(is_min, nan_is_best, x);
    case VKERN_TOPK_F64: return key_f64(is_min, nan_is_best, x);
    default: return is_min ? _mm512_xor_si512(x, _mm512_set1_epi32(-1)) : x;
    }
}

/* The low and high sixteen of 32 16-bit keys. */
VKERN_INLINE __m512i widen(__m512i keys, bool high)
{
    return _mm512_cvtepi16_epi32(high ? _mm512_extracti64x4_epi64(keys, 1)
                                      : _mm512_castsi512_si256(keys));
}

VKERN_INLINE void store_keys(enum vkern_topk_type type, void *keys, size_t i, __m512i key)
{
    const size_t width = vkern_topk_is_wide(type) ? 8 : 4;
    unsigned char *to = (unsigned char *)keys + i * width;

    if (vkern_topk_size(type) == 2) {
        _mm512_storeu_si512(to, widen(key, false));
        _mm512_storeu_si512(to + 64, widen(key, true));
    } else {
        _mm512_storeu_si512(to, key);
    }
}

/* ---- maxima ------------------------------------------------------------------------------------ */

/* Where a maximum starts: no element is worse, NaN aside. */
VKERN_INLINE __m512i start(enum vkern_topk_type type, bool is_min)
{
    const int64_t worst = vkern_topk_worst(type);
    const int64_t value =
        vkern_topk_size(type) == 2 ? worst : (int64_t)vkern_topk_bits(type, is_min, worst);

    switch (vkern_topk_size(type)) {
    case 2: return _mm512_set1_epi16((short)value);
    case 4: return _mm512_set1_epi32((int)value);
    default: return _mm512_set1_epi64(value);
    }
}

VKERN_INLINE __m512i better_f32(bool is_min, __m512 x, __m512 most)
{
    return _mm512_castps_si512(is_min ? _mm512_min_ps(x, most) : _mm512_max_ps(x, most));
}

VKERN_INLINE __m512i better_f64(bool is_min, __m512d x, __m512d most)
{
    return _mm512_castpd_si512(is_min ? _mm512_min_pd(x, most) : _mm512_max_pd(x, most));
}

/* The better of x and most, lane by lane; most is not NaN. */
VKERN_INLINE __m512i better(enum vkern_topk_type type, bool is_min, __m512i x, __m512i most)
{
    switch (type) {
    case VKERN_TOPK_F32:
        return better_f32(is_min, _mm512_castsi512_ps(x), _mm512_castsi512_ps(most));
    case VKERN_TOPK_F64:
        return better_f64(is_min, _mm512_castsi512_pd(x), _mm512_castsi512_pd(most));
    case VKERN_TOPK_I32: return is_min ? _mm512_min_epi32(x, most) : _mm512_max_epi32(x, most);
    case VKERN_TOPK_I64: return is_min ? _mm512_min_epi64(x, most) : _mm512_max_epi64(x, most);
    default: return _mm512_max_epi16(key_f16(type, is_min, false, x), most);
    }
}

/* The same for two maxima. */
VKERN_INLINE __m512i better_of_two(enum vkern_topk_type type, bool is_min, __m512i a, __m512i b)
{
    return vkern_topk_size(type) == 2 ? _mm512_max_epi16(a, b) : better(type, is_min, a, b);
}

/* What `better` gathered, as keys. */
VKERN_INLINE __m512i key_of_best(enum vkern_topk_type type, bool is_min, __m512i most)
{
    return vkern_topk_size(type) == 2 ? most : key_of(type, is_min, false, most);
}

VKERN_INLINE int64_t reduce(enum vkern_topk_type type, __m512i keys)
{
    switch (vkern_topk_size(type)) {
    case 2: return _mm512_reduce_max_epi32(_mm512_max_epi32(widen(keys, false), widen(keys, true)));
    case 4: return _mm512_reduce_max_epi32(keys);
    default: return _mm512_reduce_max_epi64(keys);
    }
}

/* ---- NaN --------------------------------------------------------------------------------------- */

VKERN_INLINE bool is_any_nan(enum vkern_topk_type type, __m512i x)
{
    switch (type) {
    case VKERN_TOPK_F32: {
        const __m512 v = _mm512_castsi512_ps(x);
        return _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q) != 0;
    }
    case VKERN_TOPK_F64: {
        const __m512d v = _mm512_castsi512_pd(x);
        return _mm512_cmp_pd_mask(v, v, _CMP_UNORD_Q) != 0;
    }
    default: {
        const __m512i magnitude = _mm512_and_si512(x, _mm512_set1_epi16(0x7fff));
        return _mm512_cmpgt_epi16_mask(magnitude,
                                       _mm512_set1_epi16((short)vkern_topk_infinity(type))) != 0;
    }
    }
}

/* ---- survivors --------------------------------------------------------------------------------- */

/* Which lanes reach the limit: a key for 16-bit types, else a value. */
VKERN_INLINE uint32_t reaches(enum vkern_topk_type type, bool is_min, __m512i x, __m512i limit)
{
    switch (type) {
    case VKERN_TOPK_F32: {
        const __m512 v = _mm512_castsi512_ps(x), t = _mm512_castsi512_ps(limit);
        return is_min ? _mm512_cmp_ps_mask(v, t, _CMP_LE_OQ) : _mm512_cmp_ps_mask(v, t, _CMP_GE_OQ);
    }
    case VKERN_TOPK_F64: {
        const __m512d v = _mm512_castsi512_pd(x), t = _mm512_castsi512_pd(limit);
        return is_min ? _mm512_cmp_pd_mask(v, t, _CMP_LE_OQ) : _mm512_cmp_pd_mask(v, t, _CMP_GE_OQ);
    }
    case VKERN_TOPK_I32:
        return is_min ? _mm512_cmple_epi32_mask(x, limit) : _mm512_cmpge_epi32_mask(x, limit);
    case VKERN_TOPK_I64:
        return is_min ? _mm512_cmple_epi64_mask(x, limit) : _mm512_cmpge_epi64_mask(x, limit);
    default: return _mm512_cmpge_epi16_mask(key_f16(type, is_min, false, x), limit);
    }
}

VKERN_INLINE __m512i limit_of(enum vkern_topk_type type, bool is_min, int64_t least)
{
    const int64_t bits = (int64_t)vkern_topk_bits(type, is_min, least);

    switch (vkern_topk_size(type)) {
    case 2: return _mm512_set1_epi16((short)least);
    case 4: return _mm512_set1_epi32((int)bits);
    default: return _mm512_set1_epi64(bits);
    }
}

/* A bit for each element of the parcel at i that reaches the limit. */
VKERN_INLINE uint64_t parcel_bits(enum vkern_topk_type type, bool is_min, const void *x, size_t i,
                                  __m512i limit)
{
    const size_t step = 64 / vkern_topk_size(type);
    uint64_t bits = 0;

    if (step == 16) { /* pairs as masks, the halves as words: the ports share the work */
        const __mmask16 a = (__mmask16)reaches(type, is_min, load(type, x, i), limit);
        const __mmask16 b = (__mmask16)reaches(type, is_min, load(type, x, i + 16), limit);
        const __mmask16 c = (__mmask16)reaches(type, is_min, load(type, x, i + 32), limit);
        const __mmask16 d = (__mmask16)reaches(type, is_min, load(type, x, i + 48), limit);
        return _cvtmask32_u32(_mm512_kunpackw(b, a)) |
               (uint64_t)_cvtmask32_u32(_mm512_kunpackw(d, c)) << 32;
    }
#pragma GCC unroll 8
    for (size_t j = 0; j < VKERN_TOPK_PARCEL; j += step)
        bits |= (uint64_t)reaches(type, is_min, load(type, x, i + j), limit) << j;
    return bits;
}

/* The set bits' numbers, by compressing them. */
VKERN_INLINE size_t append_many(uint64_t bits, uint32_t position, uint32_t *to)
{
    const __m512i iota = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    size_t n = 0;

    for (unsigned j = 0; j < 64; j += 16) {
        const __mmask16 part = (__mmask16)(bits >> j);
        const __m512i numbers = _mm512_add_epi32(_mm512_set1_epi32((int)(position + j)), iota);
        _mm512_storeu_si512(to + n, _mm512_maskz_compress_epi32(part, numbers));
        n += (size_t)__builtin_popcount(part);
    }
    return n;
}

/* The lowest set bits' numbers, negative where there is none; the bits are cleared. A power of two's number
 * is its exponent as a double. */
VKERN_INLINE __m512i take_lowest(__m512i *bits)
{
    const __m512i lowest =
        _mm512_and_si512(*bits, _mm512_sub_epi64(_mm512_setzero_si512(), *bits));

    *bits = _mm512_xor_si512(*bits, lowest);
    return _mm512_sub_epi64(
        _mm512_srli_epi64(_mm512_castpd_si512(_mm512_cvtepu64_pd(lowest)), 52),
        _mm512_set1_epi64(1023));
}

/* The two numbers of a lane side by side. */
VKERN_INLINE __m512i pair_of(__m512i low, __m512i high)
{
    return _mm512_mask_mov_epi32(low, 0xaaaa, _mm512_slli_epi64(high, 32));
}

/* Four numbers of each of four parcels, those that are not negative. */
VKERN_INLINE size_t append_quads(__m512i numbers, __m512i starts, uint32_t *to)
{
    const __mmask16 live = (__mmask16)~_mm512_movepi32_mask(numbers);

    _mm512_storeu_si512(to, _mm512_maskz_compress_epi32(live, _mm512_add_epi32(numbers, starts)));
    return (size_t)__builtin_popcount(live);
}

/* The set bits' numbers of eight parcels: four of each at once, more are rare. */
VKERN_INLINE size_t append_eight(const uint64_t *bits, const uint32_t *parcels, uint32_t base,
                                 uint32_t *to)
{
    const __m512i first = _mm512_setr_epi64(0, 8, 1, 9, 2, 10, 3, 11);
    const __m512i last = _mm512_setr_epi64(4, 12, 5, 13, 6, 14, 7, 15);
    const __m256i numbers = _mm256_loadu_si256((const __m256i *)parcels);
    const __m256i starts =
        _mm256_add_epi32(_mm256_slli_epi32(numbers, 6), _mm256_set1_epi32((int)base));
    const __m512i wide = _mm512_cvtepu32_epi64(starts), start = pair_of(wide, wide);
    __m512i left = _mm512_loadu_si512(bits), a, b, c, d;
    size_t n = 0;

    a = take_lowest(&left), b = take_lowest(&left), c = take_lowest(&left), d = take_lowest(&left);
    if (_mm512_test_epi64_mask(left, left)) {
        for (size_t i = 0; i < 8; i++)
            n += append_many(bits[i], base + parcels[i] * VKERN_TOPK_PARCEL, to + n);
        return n;
    }
    a = pair_of(a, b), c = pair_of(c, d);
    n = append_quads(_mm512_permutex2var_epi64(a, first, c),
                     _mm512_permutex2var_epi64(start, first, start), to);
    return n + append_quads(_mm512_permutex2var_epi64(a, last, c),
                            _mm512_permutex2var_epi64(start, last, start), to + n);
}

/* The words that are not 0 to the front, their numbers beside them. */
VKERN_INLINE size_t list_nonzero(uint64_t *words, size_t n, uint32_t *to)
{
    const __m512i iota = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    size_t count = 0, i = 0;

    for (; i + 16 <= n; i += 16) {
        const __m512i a = _mm512_loadu_si512(words + i), b = _mm512_loadu_si512(words + i + 8);
        const __mmask16 live =
            _mm512_kunpackb(_mm512_test_epi64_mask(b, b), _mm512_test_epi64_mask(a, a));
        const __m512i numbers = _mm512_add_epi32(_mm512_set1_epi32((int)i), iota);
        const size_t n_first = (size_t)__builtin_popcount(live & 0xff);
        _mm512_storeu_si512(to + count, _mm512_maskz_compress_epi32(live, numbers));
        _mm512_storeu_si512(words + count, _mm512_maskz_compress_epi64((__mmask8)live, a));
        _mm512_storeu_si512(words + count + n_first,
                            _mm512_maskz_compress_epi64((__mmask8)(live >> 8), b));
        count += (size_t)__builtin_popcount(live);
    }
    for (; i < n; i++) {
        const uint64_t word = words[i];
        to[count] = (uint32_t)i;
        words[count] = word;
        count += word != 0;
    }
    return count;
}

#include "kernels/topk/loops.h"

/* ---- partition --------------------------------------------------------------------------------- */

VKERN_INLINE size_t split_step(bool is_wide)
{
    return is_wide ? 8 : 16;
}

/* split_step keys: those above the pivot to `above`, those below it to `below`; counts grow. */
VKERN_INLINE void split(bool is_wide, const void *keys, int64_t pivot, void *above, size_t *n_above,
                        void *below, size_t *n_below)
{
    const __m512i v = _mm512_loadu_si512(keys);

    if (is_wide) {
        const __m512i middle = _mm512_set1_epi64(pivot);
        const __mmask8 over = _mm512_cmpgt_epi64_mask(v, middle);
        const __mmask8 under = _mm512_cmplt_epi64_mask(v, middle);
        _mm512_storeu_si512(above, _mm512_maskz_compress_epi64(over, v));
        _mm512_storeu_si512(below, _mm512_maskz_compress_epi64(under, v));
        *n_above += (size_t)__builtin_popcount(over);
        *n_below += (size_t)__builtin_popcount(under);
    } else {
        const __m512i middle = _mm512_set1_epi32((int)pivot);
        const __mmask16 over = _mm512_cmpgt_epi32_mask(v, middle);
        const __mmask16 under = _mm512_cmplt_epi32_mask(v, middle);
        _mm512_storeu_si512(above, _mm512_maskz_compress_epi32(over, v));
        _mm512_storeu_si512(below, _mm512_maskz_compress_epi32(under, v));
        *n_above += (size_t)__builtin_popcount(over);
        *n_below += (size_t)__builtin_popcount(under);
    }
}

/* Of split_step keys those of at least `least`, and their positions; returns how many. */
VKERN_INLINE size_t keep_some(bool is_wide, const void *keys, const uint32_t *positions,
                              int64_t least, void *keys_to, uint32_t *positions_to)
{
    const __m512i v = _mm512_loadu_si512(keys);

    if (is_wide) {
        const __m256i at = _mm256_loadu_si256((const __m256i *)positions);
        const __mmask8 live = _mm512_cmpge_epi64_mask(v, _mm512_set1_epi64(least));
        _mm512_storeu_si512(keys_to, _mm512_maskz_compress_epi64(live, v));
        _mm256_storeu_si256((__m256i *)positions_to, _mm256_maskz_compress_epi32(live, at));
        return (size_t)__builtin_popcount(live);
    } else {
        const __m512i at = _mm512_loadu_si512(positions);
        const __mmask16 live = _mm512_cmpge_epi32_mask(v, _mm512_set1_epi32((int)least));
        _mm512_storeu_si512(keys_to, _mm512_maskz_compress_epi32(live, v));
        _mm512_storeu_si512(positions_to, _mm512_maskz_compress_epi32(live, at));
        return (size_t)__builtin_popcount(live);
    }
}

/* ---- sinking insertion ------------------------------------------------------------------------- */

typedef __mmask16 lanes;

VKERN_INLINE lanes first_lanes(bool is_wide, size_t n)
{
    (void)is_wide;
    return (lanes)((1u << n) - 1);
}

VKERN_INLINE bool is_none(lanes a)
{
    return a == 0;
}

VKERN_INLINE lanes both(lanes a, lanes b)
{
    return a & b;
}

VKERN_INLINE lanes either(lanes a, lanes b)
{
    return a | b;
}

VKERN_INLINE lanes without(lanes a, lanes b)
{
    return (lanes)(a & ~b);
}

VKERN_INLINE lanes greater(bool is_wide, __m512i a, __m512i b)
{
    return is_wide ? _mm512_cmpgt_epi64_mask(a, b) : _mm512_cmpgt_epi32_mask(a, b);
}

VKERN_INLINE lanes equal(bool is_wide, __m512i a, __m512i b)
{
    return is_wide ? _mm512_cmpeq_epi64_mask(a, b) : _mm512_cmpeq_epi32_mask(a, b);
}

VKERN_INLINE __m512i repeat(bool is_wide, int32_t x)
{
    return is_wide ? _mm512_set1_epi64(x) : _mm512_set1_epi32(x);
}

/* b where the lane is set, else a. */
VKERN_INLINE __m512i choose(bool is_wide, lanes set, __m512i a, __m512i b)
{
    return is_wide ? _mm512_mask_mov_epi64(a, (__mmask8)set, b) : _mm512_mask_mov_epi32(a, set, b);
}

/* The first n keys of a vector, others unspecified; nothing beyond is read. */
VKERN_INLINE __m512i load_part(bool is_wide, const void *keys, size_t n)
{
    const lanes part = first_lanes(is_wide, n);

    return is_wide ? _mm512_maskz_loadu_epi64((__mmask8)part, keys)
                   : _mm512_maskz_loadu_epi32(part, keys);
}

/* Tile numbers beside keys: 64-bit lanes hold them sign-extended, so UINT32_MAX is -1 in both. */
VKERN_INLINE __m512i load_tiles(bool is_wide, const uint32_t *tiles)
{
    return is_wide ? _mm512_cvtepi32_epi64(_mm256_loadu_si256((const __m256i *)tiles))
                   : _mm512_loadu_si512(tiles);
}

VKERN_INLINE void store_tiles(bool is_wide, uint32_t *tiles, __m512i v)
{
    if (is_wide)
        _mm256_storeu_si256((__m256i *)tiles, _mm512_cvtepi64_epi32(v));
    else
        _mm512_storeu_si512(tiles, v);
}

#include "kernels/topk/lists.h"

/* ---- sorting ----------------------------------------------------------------------------------- */

VKERN_INLINE __m512i load_words(const uint32_t *words)
{
    return _mm512_loadu_si512(words);
}

VKERN_INLINE void store_words(uint32_t *words, __m512i v)
{
    _mm512_storeu_si512(words, v);
}

VKERN_INLINE __m512i smaller(__m512i a, __m512i b)
{
    return _mm512_min_epu32(a, b);
}

VKERN_INLINE __m512i larger(__m512i a, __m512i b)
{
    return _mm512_max_epu32(a, b);
}

VKERN_INLINE __m512i partners(__m512i v, size_t x)
{
    const __m512i iota = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);

    return _mm512_permutexvar_epi32(_mm512_xor_si512(iota, _mm512_set1_epi32((int)x)), v);
}

VKERN_INLINE __m512i reversed(__m512i v)
{
    return partners(v, 15);
}

/* Words below the limit to `front`, others to `back`; counts grow. */
VKERN_INLINE void split_words(const uint32_t *words, uint32_t limit, uint32_t *front,
                              size_t *n_front, uint32_t *back, size_t *n_back)
{
    const __m512i v = _mm512_loadu_si512(words);
    const __mmask16 is_below = _mm512_cmplt_epu32_mask(v, _mm512_set1_epi32((int)limit));
    const size_t n_below = (size_t)__builtin_popcount(is_below);

    _mm512_storeu_si512(front, _mm512_maskz_compress_epi32(is_below, v));
    _mm512_storeu_si512(back, _mm512_maskz_compress_epi32((__mmask16)~is_below, v));
    *n_front += n_below;
    *n_back += 16 - n_below;
}

VKERN_INLINE __m512i exchange(__m512i v, size_t x)
{
    const __mmask16 upper = x >= 8 ? 0xff00 : x >= 4 ? 0xf0f0 : x >= 2 ? 0xcccc : 0xaaaa;
    const __m512i other = partners(v, x);

    return _mm512_mask_max_epu32(_mm512_min_epu32(v, other), upper, v, other);
}

#include "kernels/topk/network.h"
#include "kernels/topk/slots.h"

void vkern_topk_init_avx512(vkern_topk_table *table)
{
    table->level = VKERN_LEVEL_AVX512;
    table->level_name = "avx512";
    VKERN_TOPK_FILL_ALL(table);
}
#else
typedef int vkern_topk_avx512_is_not_built;
#endif
