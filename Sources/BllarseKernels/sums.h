// Sums in double. Included once for each scalar type and level.
//
// The order of a sum is left to the compiler within one function (reassociate): same level, same
// length, same result.

double KERNEL(sum)(ptrdiff_t n, const REAL *x) {
#pragma clang fp reassociate(on)
  double total = 0;
  for (ptrdiff_t i = 0; i < n; i++) total += (double)x[i];
  return total;
}

double KERNEL(dot)(ptrdiff_t n, const REAL *x, const REAL *y) {
#pragma clang fp reassociate(on)
  double total = 0;
  for (ptrdiff_t i = 0; i < n; i++) total += (double)x[i] * (double)y[i];
  return total;
}

double KERNEL(squared_distance)(ptrdiff_t n, const REAL *x, const REAL *y) {
#pragma clang fp reassociate(on)
  double total = 0;
  for (ptrdiff_t i = 0; i < n; i++) {
    const double difference = (double)x[i] - (double)y[i];
    total += difference * difference;
  }
  return total;
}

void KERNEL(accumulate)(ptrdiff_t n, double alpha, const REAL *x, double *sums) {
  INDEPENDENT for (ptrdiff_t i = 0; i < n; i++) sums[i] += alpha * (double)x[i];
}

void KERNEL(column_sums)(
    ptrdiff_t rows, ptrdiff_t columns, const REAL *x, ptrdiff_t x_stride, double *sums) {
  for (ptrdiff_t i = 0; i < rows; i++) {
    const REAL *row = x + i * x_stride;
    INDEPENDENT for (ptrdiff_t k = 0; k < columns; k++) sums[k] += (double)row[k];
  }
}

void KERNEL(column_dots)(
    ptrdiff_t rows, ptrdiff_t columns, const REAL *x, ptrdiff_t x_stride, const REAL *y,
    ptrdiff_t y_stride, double *sums) {
  for (ptrdiff_t i = 0; i < rows; i++) {
    const REAL *a = x + i * x_stride, *b = y + i * y_stride;
    INDEPENDENT for (ptrdiff_t k = 0; k < columns; k++) sums[k] += (double)a[k] * (double)b[k];
  }
}

void KERNEL(column_axpy)(
    ptrdiff_t rows, ptrdiff_t columns, const REAL *alpha, const REAL *x, ptrdiff_t x_stride,
    REAL *y, ptrdiff_t y_stride) {
  for (ptrdiff_t i = 0; i < rows; i++) {
    const REAL *a = x + i * x_stride;
    REAL *b = y + i * y_stride;
    INDEPENDENT for (ptrdiff_t k = 0; k < columns; k++) b[k] += alpha[k] * a[k];
  }
}
