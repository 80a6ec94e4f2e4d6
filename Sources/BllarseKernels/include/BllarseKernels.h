// Vector kernels: what BllarseNumerics needs and no compiler makes out of a Swift loop.
//
// Every function exists for float (`_f32`) and double (`_f64`), is compiled for x86-64-v4
// (AVX-512), x86-64-v3 (AVX2, FMA) and the baseline (or the one level of another architecture),
// and picks the best level the processor has on its first call. BllarseKernelTable.h reaches one
// level at a time.
//
// Conventions
//   n, rows, columns, classes: counts, zero allowed. Arrays are row-major; a stride is the distance
//   between the starts of two rows in elements, at least the number of columns. No alignment is
//   asked for. An output may be the same array as an input (same start, same stride), or must not
//   overlap it. Sums are accumulated in double and ADDED to what the output holds, so that blocks
//   of rows can be accumulated one after the other. NULL outputs are skipped where it says so.
//
// Accuracy: relative error below 2e-6 (float) and 1e-13 (double), mostly 1 to 4 units in the last
// place, gradual underflow below the normal range; NaN in gives NaN, infinities give limits.

#ifndef BLLARSE_KERNELS_H
#define BLLARSE_KERNELS_H

#include <stddef.h>
#include <stdint.h>

#include "BllarseKernelTable.h"
#include "BllarsePlatform.h"
#include "BllarseProducts.h"

#ifdef __cplusplus
extern "C" {
#endif

// MARK: - Elementary functions of arrays: y[i] = f(x[i]), i < n

/// exp x.
void bllarse_exp_f32(ptrdiff_t n, const float *x, float *y);
void bllarse_exp_f64(ptrdiff_t n, const double *x, double *y);
/// Natural logarithm; -inf at 0, NaN below.
void bllarse_log_f32(ptrdiff_t n, const float *x, float *y);
void bllarse_log_f64(ptrdiff_t n, const double *x, double *y);
/// log(1 + x), exact in the relative sense near 0; -inf at -1, NaN below.
void bllarse_log1p_f32(ptrdiff_t n, const float *x, float *y);
void bllarse_log1p_f64(ptrdiff_t n, const double *x, double *y);
/// log(1 + exp x).
void bllarse_softplus_f32(ptrdiff_t n, const float *x, float *y);
void bllarse_softplus_f64(ptrdiff_t n, const double *x, double *y);
/// 1 / (1 + exp(-x)).
void bllarse_sigmoid_f32(ptrdiff_t n, const float *x, float *y);
void bllarse_sigmoid_f64(ptrdiff_t n, const double *x, double *y);

// MARK: - The normal distribution: phi its density, Phi its distribution function

/// Phi(x).
void bllarse_normal_cdf_f32(ptrdiff_t n, const float *x, float *y);
void bllarse_normal_cdf_f64(ptrdiff_t n, const double *x, double *y);
/// log Phi(x).
void bllarse_log_normal_cdf_f32(ptrdiff_t n, const float *x, float *y);
void bllarse_log_normal_cdf_f64(ptrdiff_t n, const double *x, double *y);
/// log Phi(x) into `lower` and log Phi(-x) = log(1 - Phi(x)) into `upper`.
void bllarse_log_normal_cdf_both_f32(ptrdiff_t n, const float *x, float *lower, float *upper);
void bllarse_log_normal_cdf_both_f64(ptrdiff_t n, const double *x, double *lower, double *upper);
/// Inverse Mills ratio r(x) = phi(x) / Phi(x).
void bllarse_inverse_mills_ratio_f32(ptrdiff_t n, const float *x, float *y);
void bllarse_inverse_mills_ratio_f64(ptrdiff_t n, const double *x, double *y);
/// h(x) = r(x) (r(x) + x) = -(log Phi)''(x), in (0, 1), without cancellation in the left tail.
void bllarse_probit_curvature_f32(ptrdiff_t n, const float *x, float *y);
void bllarse_probit_curvature_f64(ptrdiff_t n, const double *x, double *y);
/// GELU: x Phi(x).
void bllarse_gelu_f32(ptrdiff_t n, const float *x, float *y);
void bllarse_gelu_f64(ptrdiff_t n, const double *x, double *y);
/// The approximation sigmoid(2 sqrt(2/pi) (x + 0.044715 x^3)) of Phi.
void bllarse_approximate_normal_cdf_f32(ptrdiff_t n, const float *x, float *y);
void bllarse_approximate_normal_cdf_f64(ptrdiff_t n, const double *x, double *y);
/// Logarithms of that approximation at x (`lower`) and at -x (`upper`), its complement.
void bllarse_log_approximate_normal_cdf_both_f32(
    ptrdiff_t n, const float *x, float *lower, float *upper);
void bllarse_log_approximate_normal_cdf_both_f64(
    ptrdiff_t n, const double *x, double *lower, double *upper);

// MARK: - Rows

/// y[i] = log sum_k exp x[i, k]. An empty row gives -inf.
void bllarse_log_sum_exp_rows_f32(
    ptrdiff_t rows, ptrdiff_t columns, const float *x, ptrdiff_t x_stride, float *y);
void bllarse_log_sum_exp_rows_f64(
    ptrdiff_t rows, ptrdiff_t columns, const double *x, ptrdiff_t x_stride, double *y);
/// p[i, k] = exp x[i, k] / sum_j exp x[i, j].
void bllarse_softmax_rows_f32(
    ptrdiff_t rows, ptrdiff_t columns, const float *x, ptrdiff_t x_stride, float *p,
    ptrdiff_t p_stride);
void bllarse_softmax_rows_f64(
    ptrdiff_t rows, ptrdiff_t columns, const double *x, ptrdiff_t x_stride, double *p,
    ptrdiff_t p_stride);
/// y[i, k] = x[i, k] - log sum_j exp x[i, j].
void bllarse_log_softmax_rows_f32(
    ptrdiff_t rows, ptrdiff_t columns, const float *x, ptrdiff_t x_stride, float *y,
    ptrdiff_t y_stride);
void bllarse_log_softmax_rows_f64(
    ptrdiff_t rows, ptrdiff_t columns, const double *x, ptrdiff_t x_stride, double *y,
    ptrdiff_t y_stride);

// MARK: - The softmax likelihood: log p = x_y - log sum exp x

/// residual = Y - softmax(x), with Y = 1 at the label; returns the sum over rows of log p. The residual
/// of a label that leads its row keeps full relative accuracy.
double bllarse_softmax_residual_f32(
    ptrdiff_t rows, ptrdiff_t columns, const float *x, ptrdiff_t x_stride, const int32_t *labels,
    float *residual, ptrdiff_t residual_stride);
double bllarse_softmax_residual_f64(
    ptrdiff_t rows, ptrdiff_t columns, const double *x, ptrdiff_t x_stride, const int32_t *labels,
    double *residual, ptrdiff_t residual_stride);
/// logits += step * direction in place, then `softmax_residual` there.
double bllarse_softmax_advance_f32(
    ptrdiff_t rows, ptrdiff_t columns, float *logits, ptrdiff_t logits_stride,
    const float *direction, ptrdiff_t direction_stride, float step, const int32_t *labels,
    float *residual, ptrdiff_t residual_stride);
double bllarse_softmax_advance_f64(
    ptrdiff_t rows, ptrdiff_t columns, double *logits, ptrdiff_t logits_stride,
    const double *direction, ptrdiff_t direction_stride, double step, const int32_t *labels,
    double *residual, ptrdiff_t residual_stride);
/// Adds the first and second derivative with respect to `step` of the sum over rows of log p at
/// logits + step * direction.
void bllarse_softmax_line_f32(
    ptrdiff_t rows, ptrdiff_t columns, const float *logits, ptrdiff_t logits_stride,
    const float *direction, ptrdiff_t direction_stride, float step, const int32_t *labels,
    double *slope, double *second);
void bllarse_softmax_line_f64(
    ptrdiff_t rows, ptrdiff_t columns, const double *logits, ptrdiff_t logits_stride,
    const double *direction, ptrdiff_t direction_stride, double step, const int32_t *labels,
    double *slope, double *second);

/// Layer normalisation: y = (x - mean) / sqrt(variance + epsilon) * gain + bias for each row, with
/// the population variance, statistics in double, two passes. `gain` and `bias` (columns) may be
/// NULL. With `append_one` the row gets one more entry, 1, at y[i, columns].
void bllarse_layer_norm_rows_f32(
    ptrdiff_t rows, ptrdiff_t columns, const float *x, ptrdiff_t x_stride, double epsilon,
    const float *gain, const float *bias, float *y, ptrdiff_t y_stride, int append_one);
void bllarse_layer_norm_rows_f64(
    ptrdiff_t rows, ptrdiff_t columns, const double *x, ptrdiff_t x_stride, double epsilon,
    const double *gain, const double *bias, double *y, ptrdiff_t y_stride, int append_one);
/// The same from half precision. Output and input must not overlap.
void bllarse_layer_norm_rows_f16_f32(
    ptrdiff_t rows, ptrdiff_t columns, const uint16_t *x, ptrdiff_t x_stride, double epsilon,
    const float *gain, const float *bias, float *y, ptrdiff_t y_stride, int append_one);
/// The same from float to double. Output and input must not overlap.
void bllarse_layer_norm_rows_f32_f64(
    ptrdiff_t rows, ptrdiff_t columns, const float *x, ptrdiff_t x_stride, double epsilon,
    const double *gain, const double *bias, double *y, ptrdiff_t y_stride, int append_one);

// MARK: - Half precision (IEEE binary16 stored as uint16_t)

/// Exact widening.
void bllarse_float_from_half(ptrdiff_t n, const uint16_t *x, float *y);
/// Rounding to nearest, ties to even; overflow gives infinity.
void bllarse_half_from_float(ptrdiff_t n, const float *x, uint16_t *y);

// MARK: - Pointwise terms of the probit heads
//
// logits M is rows x classes, labels[i] is the class of row i. S = +1 where k == labels[i], else
// -1; a label outside 0..<classes (say -1) makes the whole row negative: with one column, label 0
// is the positive and any other the negative outcome. A = S * M, elementwise.

/// Residuals R = S r(A), latent means Z = M + R, curvatures H = h(A); any of them may be NULL.
/// R or Z may be the same array as `logits`. `class_sums` (classes) gets the columns' sums of
/// log Phi(A) added; when it is NULL and `want_sum` is 0 no logarithm is taken at all.
/// Returns the sum over rows and classes of log Phi(A) (0 when no logarithm is taken).
double bllarse_probit_residual_f32(
    ptrdiff_t rows, ptrdiff_t classes, const float *logits, ptrdiff_t logits_stride,
    const int32_t *labels, float *residual, ptrdiff_t residual_stride, float *latent_mean,
    ptrdiff_t latent_mean_stride, float *curvature, ptrdiff_t curvature_stride,
    double *class_sums, int want_sum);
double bllarse_probit_residual_f64(
    ptrdiff_t rows, ptrdiff_t classes, const double *logits, ptrdiff_t logits_stride,
    const int32_t *labels, double *residual, ptrdiff_t residual_stride, double *latent_mean,
    ptrdiff_t latent_mean_stride, double *curvature, ptrdiff_t curvature_stride,
    double *class_sums, int want_sum);

/// M += direction * diag(step), in place, then R = S r(S M) (may be NULL) and, as above, the sums
/// of log Phi. One pass for accepting a step.
double bllarse_probit_advance_f32(
    ptrdiff_t rows, ptrdiff_t classes, float *logits, ptrdiff_t logits_stride,
    const float *direction, ptrdiff_t direction_stride, const float *step, const int32_t *labels,
    float *residual, ptrdiff_t residual_stride, double *class_sums, int want_sum);
double bllarse_probit_advance_f64(
    ptrdiff_t rows, ptrdiff_t classes, double *logits, ptrdiff_t logits_stride,
    const double *direction, ptrdiff_t direction_stride, const double *step,
    const int32_t *labels, double *residual, ptrdiff_t residual_stride, double *class_sums,
    int want_sum);

/// The likelihood along a line, for each class: with A = S (M + step direction),
///     value[k] += sum_i log Phi(A),  slope[k] += sum_i S direction r(A),
///     second[k] -= sum_i direction^2 h(A)      (second derivatives, never positive).
/// `value` may be NULL: derivatives alone, without logarithms.
void bllarse_probit_line_f32(
    ptrdiff_t rows, ptrdiff_t classes, const float *logits, ptrdiff_t logits_stride,
    const float *direction, ptrdiff_t direction_stride, const float *step, const int32_t *labels,
    double *value, double *slope, double *second);
void bllarse_probit_line_f64(
    ptrdiff_t rows, ptrdiff_t classes, const double *logits, ptrdiff_t logits_stride,
    const double *direction, ptrdiff_t direction_stride, const double *step,
    const int32_t *labels, double *value, double *slope, double *second);

// MARK: - Sums in double

/// Sum of x.
double bllarse_sum_f32(ptrdiff_t n, const float *x);
double bllarse_sum_f64(ptrdiff_t n, const double *x);
/// Inner product.
double bllarse_dot_f32(ptrdiff_t n, const float *x, const float *y);
double bllarse_dot_f64(ptrdiff_t n, const double *x, const double *y);
/// Sum of (x - y)^2.
double bllarse_squared_distance_f32(ptrdiff_t n, const float *x, const float *y);
double bllarse_squared_distance_f64(ptrdiff_t n, const double *x, const double *y);
/// sums[i] += alpha x[i].
void bllarse_accumulate_f32(ptrdiff_t n, double alpha, const float *x, double *sums);
void bllarse_accumulate_f64(ptrdiff_t n, double alpha, const double *x, double *sums);
/// sums[k] += sum_i x[i, k].
void bllarse_column_sums_f32(
    ptrdiff_t rows, ptrdiff_t columns, const float *x, ptrdiff_t x_stride, double *sums);
void bllarse_column_sums_f64(
    ptrdiff_t rows, ptrdiff_t columns, const double *x, ptrdiff_t x_stride, double *sums);
/// sums[k] += sum_i x[i, k] y[i, k].
void bllarse_column_dots_f32(
    ptrdiff_t rows, ptrdiff_t columns, const float *x, ptrdiff_t x_stride, const float *y,
    ptrdiff_t y_stride, double *sums);
void bllarse_column_dots_f64(
    ptrdiff_t rows, ptrdiff_t columns, const double *x, ptrdiff_t x_stride, const double *y,
    ptrdiff_t y_stride, double *sums);
/// y[i, k] += alpha[k] x[i, k].
void bllarse_column_axpy_f32(
    ptrdiff_t rows, ptrdiff_t columns, const float *alpha, const float *x, ptrdiff_t x_stride,
    float *y, ptrdiff_t y_stride);
void bllarse_column_axpy_f64(
    ptrdiff_t rows, ptrdiff_t columns, const double *alpha, const double *x, ptrdiff_t x_stride,
    double *y, ptrdiff_t y_stride);

#ifdef __cplusplus
}
#endif

#endif
