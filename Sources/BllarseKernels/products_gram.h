// The Gram matrix of a few rows; a part of products_kernel.h, whose macros it uses.

// Square tiles along the lower triangle, vectors along the features. BLAS packs both operands
// first, which for 64 rows costs as much as the product.
ALWAYS_INLINE void NAME(gram_tile)(
    const int R, ptrdiff_t features, const REAL *rows, const REAL *columns, ptrdiff_t x_stride,
    REAL *c, ptrdiff_t c_stride) {
  vec sum[PRODUCTS_REGISTERS];
  UNROLL for (int i = 0; i < R * R; i++) sum[i] = (vec){0};
  for (ptrdiff_t d = 0; d < features; d += LANES) {
    vec row[8];
    UNROLL for (int r = 0; r < R; r++) row[r] = LOAD(rows + r * x_stride + d);
    UNROLL for (int k = 0; k < R; k++) {
      vec column = LOAD(columns + k * x_stride + d);
      UNROLL for (int r = 0; r < R; r++) sum[r * R + k] += row[r] * column;
    }
  }
  REAL out[(PRODUCTS_REGISTERS + LANES - 1) / LANES * LANES];
  UNROLL for (int i = 0; i < R * R; i += LANES) {
    STORE(out + i, NAME(lane_sums)(R * R - i < LANES ? R * R - i : LANES, sum + i));
  }
  UNROLL for (int r = 0; r < R; r++) {
    UNROLL for (int k = 0; k < R; k++) c[r * c_stride + k] = out[r * R + k];
  }
}

void NAME(LEVEL_NAME(gram))(
    ptrdiff_t rows, ptrdiff_t features, const REAL *x, ptrdiff_t x_stride, REAL *c,
    ptrdiff_t c_stride) {
  if (rows < GRAM_TILE) {
    for (ptrdiff_t i = 0; i < rows; i++) {
      for (ptrdiff_t k = 0; k <= i; k++) {
        NAME(gram_tile)(
            1, features, x + i * x_stride, x + k * x_stride, x_stride, c + i * c_stride + k,
            c_stride);
      }
    }
    return;
  }
  for (ptrdiff_t i = 0; i < rows; i += GRAM_TILE) {
    ptrdiff_t row = i + GRAM_TILE <= rows ? i : rows - GRAM_TILE;
    for (ptrdiff_t k = 0; k <= i; k += GRAM_TILE) {
      ptrdiff_t column = k + GRAM_TILE <= rows ? k : rows - GRAM_TILE;
      NAME(gram_tile)(
          GRAM_TILE, features, x + row * x_stride, x + column * x_stride, x_stride,
          c + row * c_stride + column, c_stride);
    }
  }
}
