// What every level needs before its target is set.

#ifndef BLLARSE_PROLOGUE_H
#define BLLARSE_PROLOGUE_H

#include <stddef.h>
#include <stdint.h>

#include "BllarseKernelTable.h"

#define INLINE static inline __attribute__((always_inline, unused))

#define JOIN_(a, b) a##_##b
#define JOIN(a, b) JOIN_(a, b)

// Function of this scalar type; kernel of this scalar type and level.
#define FN(name) JOIN(name, T)
#define KERNEL(name) JOIN(JOIN(bllarse_##name, T), LEVEL)

// The iterations are independent even when an output is the input itself, which the compiler would
// otherwise refuse to vectorise after a test for overlap.
#define PRAGMA_(text) _Pragma(#text)
#define PRAGMA(text) PRAGMA_(text)
#define INDEPENDENT PRAGMA(clang loop vectorize(assume_safety))
// The same for a body of many operations, in whole vectors.
#define INDEPENDENT_LONG \
  PRAGMA(clang loop vectorize(assume_safety) vectorize_width(VECTOR) interleave_count(1))

#endif
