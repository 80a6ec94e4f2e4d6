#include "BllarseProducts.h"

#include <stdatomic.h>

// MARK: - Levels

#define DECLARE(level, REAL, T)                                                                   \
  void bllarse_products_pack_##level##_##T(                                                       \
      ptrdiff_t, ptrdiff_t, const REAL *, ptrdiff_t, REAL *);                                     \
  void bllarse_products_forward_##level##_##T(                                                    \
      ptrdiff_t, ptrdiff_t, ptrdiff_t, const REAL *, ptrdiff_t, const REAL *, REAL *, ptrdiff_t); \
  void bllarse_products_backward_##level##_##T(                                                   \
      ptrdiff_t, ptrdiff_t, ptrdiff_t, const REAL *, ptrdiff_t, const REAL *, ptrdiff_t,          \
      double *, ptrdiff_t, const void *, ptrdiff_t);
#define LEVEL(level)          \
  DECLARE(level, float, f32)  \
  DECLARE(level, double, f64) \
  static const BllarseProductsTable level##_table = { \
      bllarse_products_pack_##level##_f32,     bllarse_products_forward_##level##_f32, \
      bllarse_products_backward_##level##_f32, bllarse_products_pack_##level##_f64, \
      bllarse_products_forward_##level##_f64,  bllarse_products_backward_##level##_f64};

LEVEL(baseline)
#if defined(__x86_64__)
LEVEL(v3)
LEVEL(v4)
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

int bllarse_products_prefer_blas(ptrdiff_t classes, ptrdiff_t features) {
  (void)classes;
  (void)features;
  return 0;
}
