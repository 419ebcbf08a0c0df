/*
 * random.c - the operating system's random bytes, and xoshiro256** (Blackman and Vigna, "Scrambled
 * linear pseudorandom number generators", 2018), seeded through splitmix64 as its authors advise.
 */
#include "base/random.h"

#include "base/status.h"

#include <errno.h>
#include <sys/random.h>

vindex_status vindex__nonce(void *bytes, size_t size)
{
    unsigned char *at = bytes;

    while (size > 0) {
        ssize_t n = getrandom(at, size, 0);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return vindex__fail_errno(errno, "cannot read", "random bytes");
        at += n;
        size -= (size_t)n;
    }
    return VINDEX_OK;
}

static uint64_t splitmix64(uint64_t *state)
{
    uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

void vindex__rng_init(struct rng *rng, uint64_t seed)
{
    for (int i = 0; i < 4; i++)
        rng->s[i] = splitmix64(&seed);
}

static uint64_t rotate_left(uint64_t x, int bits)
{
    return x << bits | x >> (64 - bits);
}

uint64_t vindex__rng_next(struct rng *rng)
{
    uint64_t *s = rng->s;
    uint64_t result = rotate_left(s[1] * 5, 7) * 9;
    uint64_t shifted = s[1] << 17;

    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= shifted;
    s[3] = rotate_left(s[3], 45);
    return result;
}

uint64_t vindex__rng_below(struct rng *rng, uint64_t n)
{
    uint64_t uneven = -n % n; /* 2^64 mod n: skipping as many makes the rest equally likely */
    uint64_t x;

    do
        x = vindex__rng_next(rng);
    while (x < uneven);
    return x % n;
}

double vindex__rng_unit(struct rng *rng)
{
    return (double)(vindex__rng_next(rng) >> 11) * 0x1p-53;
}
