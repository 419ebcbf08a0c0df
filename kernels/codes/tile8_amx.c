/*
 * tile8_amx.c - many queries x many c8 groups on AMX tiles (the body: tile8_amx.h), and the
 * permission Linux wants asked for before a process touches them.
 */
#include "kernels/init.h"

#if VKERN_X86
#include <immintrin.h>

#define TILE_CONFIGURE(config) _tile_loadconfig(config)
#define TILE_RELEASE() _tile_release()
/* gcc 12's _tile_loadd does not say that it reads memory: what was written before stays before. */
#define TILE_LOAD(t, base, stride)                                                                 \
    do {                                                                                           \
        __asm__ volatile("" ::: "memory");                                                         \
        _tile_loadd(t, base, stride);                                                              \
    } while (0)
#define TILE_STORE(t, base, stride) _tile_stored(t, base, stride)
#define TILE_ZERO(t) _tile_zero(t)
#define TILE_DOT(c, a, b) _tile_dpbsud(c, a, b)
#include "kernels/codes/tile8_amx.h"

#ifdef __linux__
#include <pthread.h>
#include <sys/syscall.h>
#include <unistd.h>

/* arch/x86/include/uapi/asm/prctl.h: ask for the use of a state component, here TILEDATA. It holds
 * for all threads of the process. */
enum { REQUEST_PERMISSION = 0x1023, TILE_DATA = 18 };

static bool permitted;

static void ask(void)
{
    permitted = syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0;
}

static bool begin(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;

    pthread_once(&once, ask);
    return permitted;
}
#else
static bool begin(void)
{
    return false;
}
#endif

const struct vkern_tile8 vkern_tile8_amx = {"amx", pack_bytes, pack, multiply, begin};
#else
typedef int vkern_tile8_amx_is_not_built;
#endif
