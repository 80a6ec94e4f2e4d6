// The products for x86-64-v3: AVX2 and FMA.

#if defined(__x86_64__)

#include <stddef.h>

#define LEVEL v3
#define PRODUCTS_REGISTERS 16
#include "products_tiles.h"

#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#pragma clang fp contract(fast)
#define REAL float
#define SUFFIX f32
#define LANES 8
#include "products_kernel.h"

#define REAL double
#define SUFFIX f64
#define LANES 4
#include "products_kernel.h"
#pragma clang attribute pop

#endif
