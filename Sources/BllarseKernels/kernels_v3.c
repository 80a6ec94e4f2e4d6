// Kernels for x86-64-v3 (AVX2, FMA, F16C).

#if defined(__x86_64__)

#include <immintrin.h>

#include "prologue.h"

#pragma clang attribute push(__attribute__((target("arch=x86-64-v3"))), apply_to = function)

#define LEVEL v3
#define HAVE_F16C 1
#define HAVE_FMA 1
#include "level.h"

#pragma clang attribute pop

#endif
