// The products for processors without the wider vectors: SSE2 on x86-64, NEON elsewhere.

#include <stddef.h>

#define LEVEL baseline
#if defined(__aarch64__)
#define PRODUCTS_REGISTERS 32
#else
#define PRODUCTS_REGISTERS 16
#endif
#include "products_tiles.h"

#pragma clang fp contract(fast)
#define REAL float
#define SUFFIX f32
#define LANES 4
#include "products_kernel.h"

#define REAL double
#define SUFFIX f64
#define LANES 2
#include "products_kernel.h"
