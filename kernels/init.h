/*
 * init.h - who fills the kernel table. Private to kernels/.
 *
 * Each vkern_init_* overwrites the slots it has something better for and leaves the others alone,
 * so they are called from the plain to the fast (table.c).
 */
#ifndef VKERN_INIT_H
#define VKERN_INIT_H

#include "kernels/kernels.h"

#if defined(__x86_64__)
#define VKERN_X86 1
#elif defined(__aarch64__)
#define VKERN_ARM 1
#endif

/* Leaf functions whose arguments select the code at compile time (type, metric, rows at once). */
#define VKERN_INLINE static inline __attribute__((always_inline))

/** Every slot gets its meaning. */
void vkern_init_ref(vkern_table *table);

/** The plain kernels of ref/, a file each. */
void vkern_init_ref_score(vkern_table *table);
void vkern_init_ref_exact(vkern_table *table);
void vkern_init_ref_convert(vkern_table *table);
void vkern_init_ref_filter(vkern_table *table);
void vkern_init_ref_tile(vkern_table *table);

#if VKERN_X86
/** AVX2 over what is there, AVX-512 over AVX2. */
void vkern_init_x86(vkern_table *table, uint64_t cpu);
#elif VKERN_ARM
void vkern_init_arm(vkern_table *table, uint64_t cpu);
#endif

#endif
