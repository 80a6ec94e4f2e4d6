// log-sum-exp and softmax of rows. Included once for each scalar type and level, double first.
//
// A tile of rows is shifted by its maxima into a flat buffer, so that rows of two or ten entries
// fill vectors as well as long ones. With m the maximum of a row and e_k = exp(x_k - m), the sum is
// kept as 1 + excess, the 1 being the maximum's own: log(1 + excess) then has full relative
// accuracy when one entry dominates. Rows longer than a tile go through it in pieces.

#define ROW_TILE 1024

/// Largest entry, -inf for none; NaNs are passed over (they come back with the exponentials).
INLINE REAL FN(row_maximum)(ptrdiff_t columns, const REAL *x) {
  REAL largest = -REAL_INFINITY;
  ptrdiff_t k = 0;
  if (columns >= 2 * LANES) {
    REAL lane[LANES];
    for (int j = 0; j < LANES; j++) lane[j] = x[j];
    for (k = LANES; k + LANES <= columns; k += LANES) {
      for (int j = 0; j < LANES; j++) lane[j] = x[k + j] > lane[j] ? x[k + j] : lane[j];
    }
    for (int j = 0; j < LANES; j++) largest = lane[j] > largest ? lane[j] : largest;
    // A NaN among the first entries hides its lane from the comparisons.
    if (!(largest >= x[0])) largest = largest > x[0] ? largest : x[0];
  }
  for (; k < columns; k++) largest = x[k] > largest ? x[k] : largest;
  return largest;
}

/// shifted = x - m, with the limits: entries equal to an infinite m count as 0, and a row without
/// any finite entry is left as it is.
INLINE void FN(shift_row)(ptrdiff_t columns, const REAL *x, REAL m, REAL *shifted) {
  if (m == REAL_INFINITY) {
    for (ptrdiff_t k = 0; k < columns; k++) shifted[k] = x[k] == m ? (REAL)0 : x[k] - m;
  } else {
    const REAL base = m == -REAL_INFINITY ? (REAL)0 : m;
    for (ptrdiff_t k = 0; k < columns; k++) shifted[k] = x[k] - base;
  }
}

/// Adds to *sum the entries below 1 and to *ones the count of the others.
INLINE void FN(add_exponentials)(ptrdiff_t columns, const REAL *e, double *sum, ptrdiff_t *ones) {
  double total = 0;
  ptrdiff_t count = 0, k = 0;
  if (columns >= 2 * LANES) {
    double lane[LANES] = {0};
    INT ones_in_lane[LANES] = {0};
    for (; k + LANES <= columns; k += LANES) {
      for (int j = 0; j < LANES; j++) {
        const int one = e[k + j] == (REAL)1;
        lane[j] += one ? 0.0 : (double)e[k + j];
        ones_in_lane[j] += one;
      }
    }
    for (int j = 0; j < LANES; j++) {
      total += lane[j];
      count += ones_in_lane[j];
    }
  }
  for (; k < columns; k++) {
    const int one = e[k] == (REAL)1;
    total += one ? 0.0 : (double)e[k];
    count += one;
  }
  *sum += total;
  *ones += count;
}

INLINE void FN(exponentiate)(ptrdiff_t n, REAL *buffer) {
  const ptrdiff_t padded = (n + LANES - 1) / LANES * LANES;
  for (ptrdiff_t i = n; i < padded; i++) buffer[i] = (REAL)0;
  INDEPENDENT_LONG for (ptrdiff_t i = 0; i < padded; i++) buffer[i] = FN(exp)(buffer[i]);
}

/// Maxima and excesses of a tile of rows (rows * columns <= ROW_TILE), exponentials in `buffer`.
static void JOIN(FN(tile_exponentials), LEVEL)(
    ptrdiff_t rows, ptrdiff_t columns, const REAL *x, ptrdiff_t x_stride, REAL *buffer,
    REAL *maximum, double *excess) {
  for (ptrdiff_t i = 0; i < rows; i++) {
    maximum[i] = FN(row_maximum)(columns, x + i * x_stride);
    FN(shift_row)(columns, x + i * x_stride, maximum[i], buffer + i * columns);
  }
  FN(exponentiate)(rows * columns, buffer);
  for (ptrdiff_t i = 0; i < rows; i++) {
    double sum = 0;
    ptrdiff_t ones = 0;
    FN(add_exponentials)(columns, buffer + i * columns, &sum, &ones);
    excess[i] = sum + (double)(ones - 1);
  }
}

/// The same for one row of any length, without keeping the exponentials.
static void JOIN(FN(long_row), LEVEL)(
    ptrdiff_t columns, const REAL *x, REAL *buffer, REAL *maximum, double *excess) {
  double sum = 0;
  ptrdiff_t ones = 0;
  *maximum = FN(row_maximum)(columns, x);
  for (ptrdiff_t start = 0; start < columns; start += ROW_TILE) {
    const ptrdiff_t width = columns - start < ROW_TILE ? columns - start : ROW_TILE;
    FN(shift_row)(width, x + start, *maximum, buffer);
    FN(exponentiate)(width, buffer);
    FN(add_exponentials)(width, buffer, &sum, &ones);
  }
  *excess = sum + (double)(ones - 1);
}

#define TILE_STATISTICS(rows_left)                                                             \
  REAL buffer[ROW_TILE + LANES], maximum[ROW_TILE];                                            \
  double excess[ROW_TILE];                                                                     \
  const ptrdiff_t tile_rows = columns < ROW_TILE ? ROW_TILE / columns : 1;                     \
  for (ptrdiff_t start = 0; start < rows; start += tile_rows) {                                \
    const ptrdiff_t count = rows - start < tile_rows ? rows - start : tile_rows;               \
    const REAL *tile = x + start * x_stride;                                                   \
    if (columns <= ROW_TILE) {                                                                 \
      JOIN(FN(tile_exponentials), LEVEL)(count, columns, tile, x_stride, buffer, maximum,      \
                                         excess);                                              \
    } else {                                                                                   \
      JOIN(FN(long_row), LEVEL)(columns, tile, buffer, maximum, excess);                       \
    }

void KERNEL(log_sum_exp_rows)(
    ptrdiff_t rows, ptrdiff_t columns, const REAL *x, ptrdiff_t x_stride, REAL *y) {
  if (columns <= 0) {
    for (ptrdiff_t i = 0; i < rows; i++) y[i] = -REAL_INFINITY;
    return;
  }
  TILE_STATISTICS()
    for (ptrdiff_t i = 0; i < count; i++) excess[i] = log1p_f64(excess[i]);
    for (ptrdiff_t i = 0; i < count; i++) {
      const double base = maximum[i] == -REAL_INFINITY ? 0.0 : (double)maximum[i];
      y[start + i] = (REAL)(base + excess[i]);
    }
  }
}

void KERNEL(softmax_rows)(
    ptrdiff_t rows, ptrdiff_t columns, const REAL *x, ptrdiff_t x_stride, REAL *p,
    ptrdiff_t p_stride) {
  if (columns <= 0) return;
  TILE_STATISTICS()
    for (ptrdiff_t i = 0; i < count; i++) {
      const REAL factor = (REAL)(1.0 / (1.0 + excess[i]));
      REAL *out = p + (start + i) * p_stride;
      if (columns <= ROW_TILE) {
        const REAL *e = buffer + i * columns;
        for (ptrdiff_t k = 0; k < columns; k++) out[k] = e[k] * factor;
      } else {
        for (ptrdiff_t from = 0; from < columns; from += ROW_TILE) {
          const ptrdiff_t width = columns - from < ROW_TILE ? columns - from : ROW_TILE;
          FN(shift_row)(width, tile + from, maximum[0], buffer);
          FN(exponentiate)(width, buffer);
          for (ptrdiff_t k = 0; k < width; k++) out[from + k] = buffer[k] * factor;
        }
      }
    }
  }
}

void KERNEL(log_softmax_rows)(
    ptrdiff_t rows, ptrdiff_t columns, const REAL *x, ptrdiff_t x_stride, REAL *y,
    ptrdiff_t y_stride) {
  if (columns <= 0) return;
  TILE_STATISTICS()
    for (ptrdiff_t i = 0; i < count; i++) {
      const REAL log_sum = (REAL)log1p_f64(excess[i]);
      const REAL *row = tile + i * x_stride;
      REAL *out = y + (start + i) * y_stride;
      // Through the buffer: the output may be the input itself.
      for (ptrdiff_t from = 0; from < columns; from += ROW_TILE) {
        const ptrdiff_t width = columns - from < ROW_TILE ? columns - from : ROW_TILE;
        FN(shift_row)(width, row + from, maximum[i], buffer);
        for (ptrdiff_t k = 0; k < width; k++) out[from + k] = buffer[k] - log_sum;
      }
    }
  }
}

/// The first two moments of a direction under softmax(logits + step * direction), one row: the
/// direction counts from its entry at the label, so that a confident row cancels nothing.
INLINE void FN(softmax_moments)(
    ptrdiff_t columns, const REAL *e, const REAL *direction, REAL origin, double *first,
    double *second) {
  double s1 = 0, s2 = 0;
  for (ptrdiff_t k = 0; k < columns; k++) {
    const double d = (double)direction[k] - (double)origin;
    const double ed = (double)e[k] * d;
    s1 += ed;
    s2 += ed * d;
  }
  *first += s1;
  *second += s2;
}

double KERNEL(softmax_residual)(
    ptrdiff_t rows, ptrdiff_t columns, const REAL *x, ptrdiff_t x_stride, const int32_t *labels,
    REAL *residual, ptrdiff_t residual_stride) {
  double sum = 0;
  if (columns <= 0) return 0;
  TILE_STATISTICS()
    for (ptrdiff_t i = 0; i < count; i++) {
      const REAL *row = tile + i * x_stride;
      REAL *out = residual + (start + i) * residual_stride;
      const ptrdiff_t label = labels[start + i];
      const double scale = 1.0 / (1.0 + excess[i]);
      const REAL factor = (REAL)-scale;
      const REAL own = row[label];
      sum += (double)own - (double)maximum[i] - log1p_f64(excess[i]);
      for (ptrdiff_t from = 0; from < columns; from += ROW_TILE) {
        const ptrdiff_t width = columns - from < ROW_TILE ? columns - from : ROW_TILE;
        const REAL *e = buffer + i * columns;
        if (columns > ROW_TILE) {
          FN(shift_row)(width, row + from, maximum[i], buffer);
          FN(exponentiate)(width, buffer);
          e = buffer;
        }
        for (ptrdiff_t k = 0; k < width; k++) out[from + k] = e[k] * factor;
      }
      // 1 - p of the label: from the others where the label leads, so that it does not cancel.
      out[label] = own == maximum[i] ? (REAL)(excess[i] * scale) : (REAL)1 + out[label];
    }
  }
  return sum;
}

double KERNEL(softmax_advance)(
    ptrdiff_t rows, ptrdiff_t columns, REAL *logits, ptrdiff_t logits_stride,
    const REAL *direction, ptrdiff_t direction_stride, REAL step, const int32_t *labels,
    REAL *residual, ptrdiff_t residual_stride) {
  for (ptrdiff_t i = 0; i < rows; i++) {
    REAL *m = logits + i * logits_stride;
    const REAL *d = direction + i * direction_stride;
    for (ptrdiff_t k = 0; k < columns; k++) m[k] += step * d[k];
  }
  return KERNEL(softmax_residual)(
      rows, columns, logits, logits_stride, labels, residual, residual_stride);
}

void KERNEL(softmax_line)(
    ptrdiff_t rows, ptrdiff_t columns, const REAL *logits, ptrdiff_t logits_stride,
    const REAL *direction, ptrdiff_t direction_stride, REAL step, const int32_t *labels,
    double *slope, double *second) {
  REAL moved[ROW_TILE + LANES], buffer[ROW_TILE + LANES], maximum[ROW_TILE];
  double excess[ROW_TILE];
  if (columns <= 0) return;
  if (columns <= ROW_TILE) {
    const ptrdiff_t tile_rows = ROW_TILE / columns;
    for (ptrdiff_t start = 0; start < rows; start += tile_rows) {
      const ptrdiff_t count = rows - start < tile_rows ? rows - start : tile_rows;
      for (ptrdiff_t i = 0; i < count; i++) {
        const REAL *m = logits + (start + i) * logits_stride;
        const REAL *d = direction + (start + i) * direction_stride;
        for (ptrdiff_t k = 0; k < columns; k++) moved[i * columns + k] = m[k] + step * d[k];
      }
      JOIN(FN(tile_exponentials), LEVEL)(count, columns, moved, columns, buffer, maximum, excess);
      for (ptrdiff_t i = 0; i < count; i++) {
        const REAL *d = direction + (start + i) * direction_stride;
        const double scale = 1.0 / (1.0 + excess[i]);
        double first = 0, square = 0;
        FN(softmax_moments)(
            columns, buffer + i * columns, d, d[labels[start + i]], &first, &square);
        first *= scale;
        *slope -= first;
        *second -= square * scale - first * first;
      }
    }
    return;
  }
  // Rows longer than a tile: the maximum first, then the sums piece by piece.
  for (ptrdiff_t i = 0; i < rows; i++) {
    const REAL *m = logits + i * logits_stride;
    const REAL *d = direction + i * direction_stride;
    REAL largest = m[0] + step * d[0];
    for (ptrdiff_t k = 1; k < columns; k++) {
      const REAL value = m[k] + step * d[k];
      largest = value > largest ? value : largest;
    }
    double total = 0, first = 0, square = 0;
    for (ptrdiff_t from = 0; from < columns; from += ROW_TILE) {
      const ptrdiff_t width = columns - from < ROW_TILE ? columns - from : ROW_TILE;
      for (ptrdiff_t k = 0; k < width; k++) buffer[k] = m[from + k] + step * d[from + k] - largest;
      FN(exponentiate)(width, buffer);
      for (ptrdiff_t k = 0; k < width; k++) total += (double)buffer[k];
      FN(softmax_moments)(width, buffer, d + from, d[labels[i]], &first, &square);
    }
    first /= total;
    *slope -= first;
    *second -= square / total - first * first;
  }
}

#undef TILE_STATISTICS
#undef ROW_TILE
