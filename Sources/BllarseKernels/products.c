#include "BllarseProducts.h"

#include <stdatomic.h>

// MARK: - Levels

// The kernels of a level are named bllarse_products_<level>_<name> and are declared nowhere else.
#define TABLE(level)                                                                              \
  BLLARSE_PRODUCTS(DECLARE_##level, float, f32)                                                   \
  BLLARSE_PRODUCTS(DECLARE_##level, double, f64)                                                  \
  static const BllarseProductsTable level##_table = {                                             \
      BLLARSE_PRODUCTS(ENTRY_##level, float, f32) BLLARSE_PRODUCTS(ENTRY_##level, double, f64)};

#define DECLARE_baseline(result, name, parameters, arguments) \
  result bllarse_products_baseline_##name parameters;
#define ENTRY_baseline(result, name, parameters, arguments) \
  .name = bllarse_products_baseline_##name,
TABLE(baseline)

#if defined(__x86_64__)
#define DECLARE_v3(result, name, parameters, arguments) \
  result bllarse_products_v3_##name parameters;
#define ENTRY_v3(result, name, parameters, arguments) .name = bllarse_products_v3_##name,
TABLE(v3)

#define DECLARE_v4(result, name, parameters, arguments) \
  result bllarse_products_v4_##name parameters;
#define ENTRY_v4(result, name, parameters, arguments) .name = bllarse_products_v4_##name,
TABLE(v4)
#endif

const BllarseProductsTable *bllarse_products_table(int level) {
  if (level == 0) return &baseline_table;
#if defined(__x86_64__)
  __builtin_cpu_init();
  int v3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  if (level == 1 && v3) return &v3_table;
  if (level == 2 && v3 && __builtin_cpu_supports("avx512f") &&
      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512bw")) {
    return &v4_table;
  }
#endif
  return NULL;
}

int bllarse_products_level(void) {
  int level = 2;
  while (bllarse_products_table(level) == NULL) level--;
  return level;
}

// MARK: - Dispatch

// Threads that come here together find the same table, so that whoever stores last changes nothing.
static _Atomic(const BllarseProductsTable *) chosen;

static const BllarseProductsTable *table(void) {
  const BllarseProductsTable *result = atomic_load_explicit(&chosen, memory_order_relaxed);
  if (result == NULL) {
    result = bllarse_products_table(bllarse_products_level());
    atomic_store_explicit(&chosen, result, memory_order_relaxed);
  }
  return result;
}

#define DISPATCH(result, name, parameters, arguments) \
  result bllarse_products_##name parameters { table()->name arguments; }
BLLARSE_PRODUCTS(DISPATCH, float, f32)
BLLARSE_PRODUCTS(DISPATCH, double, f64)

// MARK: - The choice

// Forward and backward together on blocks of 128 rows, one Zen 4 core, GFLOP/s, these kernels and
// OpenBLAS 0.3.21 held to the same instructions:
//     classes x features   10 x 512   100 x 512   1000 x 512   1000 x 1024   1000 x 2048
//     AVX-512              111   66   110    99   109   104    107    94     101    92
//     AVX2                 101   55   109   103   101   110     97   109
//     SSE2                  37   25    35    33
// With 16 registers the gradient's tiles are too small once G has outgrown the second-level cache.
int bllarse_products_prefer_blas(ptrdiff_t classes, ptrdiff_t features) {
  return bllarse_products_level() == 1 && classes * features >= 262144;
}
