// Layer normalisation of rows. Included once for each level.

/// Two passes in double: the mean, then the mean square about it.
#define LAYER_NORM_ROW(name, IN, OUT)                                                           \
  static void JOIN(name, LEVEL)(ptrdiff_t columns, const IN *x, double epsilon,                 \
                                const OUT *gain, const OUT *bias, OUT *y) {                     \
    _Pragma("clang fp reassociate(on)") double sum = 0, squares = 0;                            \
    for (ptrdiff_t k = 0; k < columns; k++) sum += (double)x[k];                                \
    const double mean = sum / (double)columns;                                                  \
    for (ptrdiff_t k = 0; k < columns; k++) {                                                   \
      const double centred = (double)x[k] - mean;                                               \
      squares += centred * centred;                                                             \
    }                                                                                           \
    const double variance = squares / (double)columns;                                          \
    const double scale = 1.0 / __builtin_elementwise_sqrt(variance + epsilon);                  \
    if (!gain && !bias) {                                                                       \
      INDEPENDENT for (ptrdiff_t k = 0; k < columns; k++) {                                     \
        y[k] = (OUT)(((double)x[k] - mean) * scale);                                            \
      }                                                                                         \
    } else {                                                                                    \
      for (ptrdiff_t k = 0; k < columns; k++) {                                                 \
        const double g = gain ? (double)gain[k] : 1.0, b = bias ? (double)bias[k] : 0.0;        \
        y[k] = (OUT)(((double)x[k] - mean) * scale * g + b);                                    \
      }                                                                                         \
    }                                                                                           \
  }

LAYER_NORM_ROW(layer_norm_f32, float, float)
LAYER_NORM_ROW(layer_norm_f64, double, double)
LAYER_NORM_ROW(layer_norm_f32_f64, float, double)

#define LAYER_NORM_ROWS(suffix, IN, OUT, ROW)                                                   \
  void JOIN(bllarse_layer_norm_rows_##suffix, LEVEL)(                                           \
      ptrdiff_t rows, ptrdiff_t columns, const IN *x, ptrdiff_t x_stride, double epsilon,       \
      const OUT *gain, const OUT *bias, OUT *y, ptrdiff_t y_stride, int append_one) {           \
    for (ptrdiff_t i = 0; i < rows; i++) {                                                      \
      const IN *row = x + i * x_stride;                                                         \
      OUT *out = y + i * y_stride;                                                              \
      ROW;                                                                                      \
      if (append_one) out[columns] = 1;                                                         \
    }                                                                                           \
  }

LAYER_NORM_ROWS(f32, float, float,
                JOIN(layer_norm_f32, LEVEL)(columns, row, epsilon, gain, bias, out))
LAYER_NORM_ROWS(f64, double, double,
                JOIN(layer_norm_f64, LEVEL)(columns, row, epsilon, gain, bias, out))
LAYER_NORM_ROWS(f32_f64, float, double,
                JOIN(layer_norm_f32_f64, LEVEL)(columns, row, epsilon, gain, bias, out))
// The row is widened where its result will be.
LAYER_NORM_ROWS(f16_f32, uint16_t, float,
                (JOIN(bllarse_float_from_half, LEVEL)(columns, row, out),
                 JOIN(layer_norm_f32, LEVEL)(columns, out, epsilon, gain, bias, out)))
