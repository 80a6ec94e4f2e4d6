// Kernels for x86-64-v4 (AVX-512).

#if defined(__x86_64__)

#include <immintrin.h>

#include "prologue.h"

// The compiler would keep to 256-bit vectors; the long chains of these loops gain from 512.
#pragma clang attribute push( \
    __attribute__((target("arch=x86-64-v4"), min_vector_width(512))), apply_to = function)

#define LEVEL v4
#define HAVE_F16C 1
#define HAVE_FMA 1
#define WIDE_VECTORS 1
#include "level.h"

#pragma clang attribute pop

#endif
