// The products for x86-64-v4: AVX-512.

#if defined(__x86_64__)

#include <stddef.h>

#define LEVEL v4
#define PRODUCTS_REGISTERS 32
#include "products_tiles.h"

#pragma clang attribute push( \
    __attribute__((target("avx2,fma,avx512f,avx512vl,avx512dq,avx512bw"))), apply_to = function)
#pragma clang fp contract(fast)
#define REAL float
#define SUFFIX f32
#define LANES 16
#include "products_kernel.h"

#define REAL double
#define SUFFIX f64
#define LANES 8
#include "products_kernel.h"
#pragma clang attribute pop

#endif
