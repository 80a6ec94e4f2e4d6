// Chooses the level: once, on the first call, by what the processor reports.

#include "BllarseKernels.h"

#include <stdatomic.h>

extern const BllarseKernelTable bllarse_kernels_baseline;
#if defined(__x86_64__)
extern const BllarseKernelTable bllarse_kernels_v3, bllarse_kernels_v4;
#endif

const BllarseKernelTable *bllarse_kernel_table(BllarseKernelLevel level) {
  switch (level) {
    case BllarseKernelLevelBaseline:
      return &bllarse_kernels_baseline;
#if defined(__x86_64__)
    case BllarseKernelLevelX86V3:
      return __builtin_cpu_supports("x86-64-v3") ? &bllarse_kernels_v3 : NULL;
    case BllarseKernelLevelX86V4:
      return __builtin_cpu_supports("x86-64-v4") ? &bllarse_kernels_v4 : NULL;
#endif
    default:
      return NULL;
  }
}

BllarseKernelLevel bllarse_kernel_level(void) {
  if (bllarse_kernel_table(BllarseKernelLevelX86V4)) return BllarseKernelLevelX86V4;
  if (bllarse_kernel_table(BllarseKernelLevelX86V3)) return BllarseKernelLevelX86V3;
  return BllarseKernelLevelBaseline;
}

// Any number of threads may find the table at once; all find the same.
static _Atomic(const BllarseKernelTable *) chosen;

static const BllarseKernelTable *kernels(void) {
  const BllarseKernelTable *table = atomic_load_explicit(&chosen, memory_order_relaxed);
  if (!table) {
    table = bllarse_kernel_table(bllarse_kernel_level());
    atomic_store_explicit(&chosen, table, memory_order_relaxed);
  }
  return table;
}

#define ENTRY_POINT(result, name, parameters, arguments) \
  result bllarse_##name parameters { return kernels()->name arguments; }

BLLARSE_ALL_KERNELS(ENTRY_POINT)
