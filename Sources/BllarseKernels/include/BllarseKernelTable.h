// One table of the kernels for each instruction-set level, so that tests and benchmarks reach the
// levels that the processor would not pick. BllarseKernels.h documents the functions.

#ifndef BLLARSE_KERNEL_TABLE_H
#define BLLARSE_KERNEL_TABLE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

// X(result, name, parameters, arguments) for every kernel over REAL with the type suffix T.
#define BLLARSE_MAP_KERNELS(X, REAL, T)                                                           \
  X(void, exp_##T, (ptrdiff_t n, const REAL *x, REAL *y), (n, x, y))                              \
  X(void, log_##T, (ptrdiff_t n, const REAL *x, REAL *y), (n, x, y))                              \
  X(void, log1p_##T, (ptrdiff_t n, const REAL *x, REAL *y), (n, x, y))                            \
  X(void, softplus_##T, (ptrdiff_t n, const REAL *x, REAL *y), (n, x, y))                         \
  X(void, sigmoid_##T, (ptrdiff_t n, const REAL *x, REAL *y), (n, x, y))                          \
  X(void, normal_cdf_##T, (ptrdiff_t n, const REAL *x, REAL *y), (n, x, y))                       \
  X(void, log_normal_cdf_##T, (ptrdiff_t n, const REAL *x, REAL *y), (n, x, y))                   \
  X(void, log_normal_cdf_both_##T, (ptrdiff_t n, const REAL *x, REAL *lower, REAL *upper),        \
    (n, x, lower, upper))                                                                         \
  X(void, inverse_mills_ratio_##T, (ptrdiff_t n, const REAL *x, REAL *y), (n, x, y))              \
  X(void, probit_curvature_##T, (ptrdiff_t n, const REAL *x, REAL *y), (n, x, y))                 \
  X(void, gelu_##T, (ptrdiff_t n, const REAL *x, REAL *y), (n, x, y))                             \
  X(void, approximate_normal_cdf_##T, (ptrdiff_t n, const REAL *x, REAL *y), (n, x, y))           \
  X(void, log_approximate_normal_cdf_both_##T,                                                    \
    (ptrdiff_t n, const REAL *x, REAL *lower, REAL *upper), (n, x, lower, upper))

#define BLLARSE_ROW_KERNELS(X, REAL, T)                                                           \
  X(void, log_sum_exp_rows_##T,                                                                   \
    (ptrdiff_t rows, ptrdiff_t columns, const REAL *x, ptrdiff_t x_stride, REAL *y),              \
    (rows, columns, x, x_stride, y))                                                              \
  X(void, softmax_rows_##T,                                                                       \
    (ptrdiff_t rows, ptrdiff_t columns, const REAL *x, ptrdiff_t x_stride, REAL *p,               \
     ptrdiff_t p_stride),                                                                         \
    (rows, columns, x, x_stride, p, p_stride))                                                    \
  X(void, log_softmax_rows_##T,                                                                   \
    (ptrdiff_t rows, ptrdiff_t columns, const REAL *x, ptrdiff_t x_stride, REAL *y,               \
     ptrdiff_t y_stride),                                                                         \
    (rows, columns, x, x_stride, y, y_stride))                                                    \
  X(double, softmax_residual_##T,                                                                 \
    (ptrdiff_t rows, ptrdiff_t columns, const REAL *x, ptrdiff_t x_stride, const int32_t *labels, \
     REAL *residual, ptrdiff_t residual_stride),                                                  \
    (rows, columns, x, x_stride, labels, residual, residual_stride))                              \
  X(double, softmax_advance_##T,                                                                  \
    (ptrdiff_t rows, ptrdiff_t columns, REAL *logits, ptrdiff_t logits_stride,                    \
     const REAL *direction, ptrdiff_t direction_stride, REAL step, const int32_t *labels,         \
     REAL *residual, ptrdiff_t residual_stride),                                                  \
    (rows, columns, logits, logits_stride, direction, direction_stride, step, labels, residual,   \
     residual_stride))                                                                            \
  X(void, softmax_line_##T,                                                                       \
    (ptrdiff_t rows, ptrdiff_t columns, const REAL *logits, ptrdiff_t logits_stride,              \
     const REAL *direction, ptrdiff_t direction_stride, REAL step, const int32_t *labels,         \
     double *slope, double *second),                                                              \
    (rows, columns, logits, logits_stride, direction, direction_stride, step, labels, slope,      \
     second))                                                                                     \
  X(void, layer_norm_rows_##T,                                                                    \
    (ptrdiff_t rows, ptrdiff_t columns, const REAL *x, ptrdiff_t x_stride, double epsilon,        \
     const REAL *gain, const REAL *bias, REAL *y, ptrdiff_t y_stride, int append_one),            \
    (rows, columns, x, x_stride, epsilon, gain, bias, y, y_stride, append_one))

#define BLLARSE_PROBIT_KERNELS(X, REAL, T)                                                        \
  X(double, probit_residual_##T,                                                                  \
    (ptrdiff_t rows, ptrdiff_t classes, const REAL *logits, ptrdiff_t logits_stride,              \
     const int32_t *labels, REAL *residual, ptrdiff_t residual_stride, REAL *latent_mean,         \
     ptrdiff_t latent_mean_stride, REAL *curvature, ptrdiff_t curvature_stride,                   \
     double *class_sums, int want_sum),                                                           \
    (rows, classes, logits, logits_stride, labels, residual, residual_stride, latent_mean,        \
     latent_mean_stride, curvature, curvature_stride, class_sums, want_sum))                      \
  X(double, probit_advance_##T,                                                                   \
    (ptrdiff_t rows, ptrdiff_t classes, REAL *logits, ptrdiff_t logits_stride,                    \
     const REAL *direction, ptrdiff_t direction_stride, const REAL *step, const int32_t *labels,  \
     REAL *residual, ptrdiff_t residual_stride, double *class_sums, int want_sum),                \
    (rows, classes, logits, logits_stride, direction, direction_stride, step, labels, residual,   \
     residual_stride, class_sums, want_sum))                                                      \
  X(void, probit_line_##T,                                                                        \
    (ptrdiff_t rows, ptrdiff_t classes, const REAL *logits, ptrdiff_t logits_stride,              \
     const REAL *direction, ptrdiff_t direction_stride, const REAL *step, const int32_t *labels,  \
     double *value, double *slope, double *second),                                               \
    (rows, classes, logits, logits_stride, direction, direction_stride, step, labels, value,      \
     slope, second))

#define BLLARSE_SUM_KERNELS(X, REAL, T)                                                           \
  X(double, sum_##T, (ptrdiff_t n, const REAL *x), (n, x))                                        \
  X(double, dot_##T, (ptrdiff_t n, const REAL *x, const REAL *y), (n, x, y))                      \
  X(double, squared_distance_##T, (ptrdiff_t n, const REAL *x, const REAL *y), (n, x, y))         \
  X(void, accumulate_##T, (ptrdiff_t n, double alpha, const REAL *x, double *sums),               \
    (n, alpha, x, sums))                                                                          \
  X(void, column_sums_##T,                                                                        \
    (ptrdiff_t rows, ptrdiff_t columns, const REAL *x, ptrdiff_t x_stride, double *sums),         \
    (rows, columns, x, x_stride, sums))                                                           \
  X(void, column_dots_##T,                                                                        \
    (ptrdiff_t rows, ptrdiff_t columns, const REAL *x, ptrdiff_t x_stride, const REAL *y,         \
     ptrdiff_t y_stride, double *sums),                                                           \
    (rows, columns, x, x_stride, y, y_stride, sums))                                              \
  X(void, column_axpy_##T,                                                                        \
    (ptrdiff_t rows, ptrdiff_t columns, const REAL *alpha, const REAL *x, ptrdiff_t x_stride,     \
     REAL *y, ptrdiff_t y_stride),                                                                \
    (rows, columns, alpha, x, x_stride, y, y_stride))

// Kernels that mix types and exist once.
#define BLLARSE_MIXED_KERNELS(X)                                                                  \
  X(void, float_from_half, (ptrdiff_t n, const uint16_t *x, float *y), (n, x, y))                 \
  X(void, half_from_float, (ptrdiff_t n, const float *x, uint16_t *y), (n, x, y))                 \
  X(void, layer_norm_rows_f16_f32,                                                                \
    (ptrdiff_t rows, ptrdiff_t columns, const uint16_t *x, ptrdiff_t x_stride, double epsilon,    \
     const float *gain, const float *bias, float *y, ptrdiff_t y_stride, int append_one),         \
    (rows, columns, x, x_stride, epsilon, gain, bias, y, y_stride, append_one))                   \
  X(void, layer_norm_rows_f32_f64,                                                                \
    (ptrdiff_t rows, ptrdiff_t columns, const float *x, ptrdiff_t x_stride, double epsilon,       \
     const double *gain, const double *bias, double *y, ptrdiff_t y_stride, int append_one),      \
    (rows, columns, x, x_stride, epsilon, gain, bias, y, y_stride, append_one))

#define BLLARSE_ALL_KERNELS(X)        \
  BLLARSE_MAP_KERNELS(X, float, f32)     \
  BLLARSE_MAP_KERNELS(X, double, f64)    \
  BLLARSE_ROW_KERNELS(X, float, f32)     \
  BLLARSE_ROW_KERNELS(X, double, f64)    \
  BLLARSE_PROBIT_KERNELS(X, float, f32)  \
  BLLARSE_PROBIT_KERNELS(X, double, f64) \
  BLLARSE_SUM_KERNELS(X, float, f32)     \
  BLLARSE_SUM_KERNELS(X, double, f64)    \
  BLLARSE_MIXED_KERNELS(X)

#define BLLARSE_TABLE_ENTRY(result, name, parameters, arguments) result(*name) parameters;
typedef struct {
  BLLARSE_ALL_KERNELS(BLLARSE_TABLE_ENTRY)
} BllarseKernelTable;
#undef BLLARSE_TABLE_ENTRY

typedef enum {
  BllarseKernelLevelBaseline = 0,
  BllarseKernelLevelX86V3 = 1,
  BllarseKernelLevelX86V4 = 2,
} BllarseKernelLevel;

/// The kernels compiled for `level`, or NULL where the build or this processor has no such level.
const BllarseKernelTable *bllarse_kernel_table(BllarseKernelLevel level);

/// The level that the functions of BllarseKernels.h use on this processor.
BllarseKernelLevel bllarse_kernel_level(void);

#ifdef __cplusplus
}
#endif

#endif
