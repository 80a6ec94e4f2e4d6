// The pointwise terms of the probit heads. Included once for each scalar type and level.
//
// Work goes in tiles, a block of rows by a window of classes copied to a flat buffer, signs
// applied, so that the vector loops never see a row's end: A = S M is -M with the entry of the
// row's label negated. Results are written back with the same rule, R = S r = -r but for the label.

#define PROBIT_WINDOW 512
// Elements of a tile: a handful of them should stay in the first-level cache.
#define PROBIT_TILE (4096 / (ptrdiff_t)sizeof(REAL))
#define PROBIT_BUFFER (PROBIT_TILE + PROBIT_WINDOW + 64)

typedef struct {
  ptrdiff_t first, width;   // classes of the window
  ptrdiff_t rows;           // of a full tile, a multiple of `group`
  ptrdiff_t group, period;  // rows whose sums are kept apart, and group * width
} JOIN(FN(ProbitShape), LEVEL);

#define SHAPE JOIN(FN(ProbitShape), LEVEL)

/// Narrow windows accumulate several rows side by side: `period` is at least 32 entries then.
static SHAPE JOIN(FN(probit_shape), LEVEL)(ptrdiff_t first, ptrdiff_t classes) {
  SHAPE shape;
  shape.first = first;
  shape.width = classes - first < PROBIT_WINDOW ? classes - first : PROBIT_WINDOW;
  shape.group = shape.width < 32 ? (32 + shape.width - 1) / shape.width : 1;
  shape.period = shape.group * shape.width;
  const ptrdiff_t groups = PROBIT_TILE / shape.period;
  shape.rows = shape.group * (groups > 0 ? groups : 1);
  return shape;
}

/// The terms of a padded buffer. The logarithm has a loop of its own: the processor overlaps more
/// elements when their chains of dependent operations are shorter.
#define PROBIT_TERMS(name, statement)                                            \
  static __attribute__((noinline)) void JOIN(FN(name), LEVEL)(                   \
      ptrdiff_t n, const REAL *A, REAL *R, REAL *L, REAL *H) {                   \
    (void)L, (void)H;                                                            \
    INDEPENDENT_LONG for (ptrdiff_t e = 0; e < n; e++) {                         \
      const FN(ProbitTerms) terms = FN(probit_terms)(A[e]);                      \
      statement;                                                                 \
    }                                                                            \
  }
PROBIT_TERMS(terms_r, R[e] = terms.ratio)
PROBIT_TERMS(terms_rs, (R[e] = terms.ratio, L[e] = terms.seed))
PROBIT_TERMS(terms_rh, (R[e] = terms.ratio, H[e] = terms.curvature))
PROBIT_TERMS(terms_rsh, (R[e] = terms.ratio, L[e] = terms.seed, H[e] = terms.curvature))

static __attribute__((noinline)) void JOIN(FN(log_cdfs), LEVEL)(
    ptrdiff_t n, const REAL *A, REAL *L) {
  INDEPENDENT_LONG for (ptrdiff_t e = 0; e < n; e++) L[e] = FN(log_cdf_from_seed)(A[e], L[e]);
}

/// r, and where the outputs are not NULL log Phi and h.
static void JOIN(FN(probit_tile), LEVEL)(
    ptrdiff_t n, const REAL *A, REAL *R, REAL *L, REAL *H) {
  if (L && H) {
    JOIN(FN(terms_rsh), LEVEL)(n, A, R, L, H);
  } else if (L) {
    JOIN(FN(terms_rs), LEVEL)(n, A, R, L, H);
  } else if (H) {
    JOIN(FN(terms_rh), LEVEL)(n, A, R, L, H);
  } else {
    JOIN(FN(terms_r), LEVEL)(n, A, R, L, H);
  }
  if (L) JOIN(FN(log_cdfs), LEVEL)(n, A, L);
}

/// A = -(M + step direction) into the tile; `steps` repeats the window's steps over a whole tile.
static void JOIN(FN(load_tile), LEVEL)(
    SHAPE shape, ptrdiff_t rows, const REAL *logits, ptrdiff_t stride, const REAL *direction,
    ptrdiff_t direction_stride, const REAL *steps, REAL *A, REAL *D) {
  const ptrdiff_t width = shape.width;
  const int flat = stride == width && (!direction || direction_stride == width);
  const ptrdiff_t runs = flat ? 1 : rows, length = flat ? rows * width : width;
  for (ptrdiff_t i = 0; i < runs; i++) {
    const REAL *m = logits + i * stride;
    REAL *a = A + i * width;
    if (direction) {
      const REAL *d = direction + i * direction_stride;
      for (ptrdiff_t e = 0; e < length; e++) a[e] = -(m[e] + steps[e] * d[e]);
      if (D) {
        REAL *out = D + i * width;
        for (ptrdiff_t e = 0; e < length; e++) out[e] = -d[e];
      }
    } else {
      for (ptrdiff_t e = 0; e < length; e++) a[e] = -m[e];
    }
  }
}

/// Negates the label's entry of each row. One and two classes, the common narrow cases, by vectors:
/// their labels are as many as their entries.
INLINE void JOIN(FN(flip_labels), LEVEL)(
    SHAPE shape, ptrdiff_t rows, const int32_t *labels, REAL *a, ptrdiff_t stride) {
  const int32_t first = (int32_t)shape.first;
  if (shape.width == 1 && stride == 1) {
    for (ptrdiff_t i = 0; i < rows; i++) a[i] = labels[i] == first ? -a[i] : a[i];
    return;
  }
  if (shape.width == 2 && stride == 2) {
    for (ptrdiff_t i = 0; i < rows; i++) {
      const REAL zero = a[2 * i], one = a[2 * i + 1];
      a[2 * i] = labels[i] == first ? -zero : zero;
      a[2 * i + 1] = labels[i] == first + 1 ? -one : one;
    }
    return;
  }
  for (ptrdiff_t i = 0; i < rows; i++) {
    const uint64_t k = (uint64_t)(labels[i] - shape.first);
    if (k < (uint64_t)shape.width) a[i * stride + (ptrdiff_t)k] = -a[i * stride + (ptrdiff_t)k];
  }
}

/// out = S * tile.
static void JOIN(FN(store_signed), LEVEL)(
    SHAPE shape, ptrdiff_t rows, const int32_t *labels, const REAL *tile, REAL *out,
    ptrdiff_t stride) {
  const ptrdiff_t width = shape.width;
  const ptrdiff_t runs = stride == width ? 1 : rows;
  const ptrdiff_t length = stride == width ? rows * width : width;
  for (ptrdiff_t i = 0; i < runs; i++) {
    const REAL *from = tile + i * width;
    REAL *to = out + i * stride;
    for (ptrdiff_t e = 0; e < length; e++) to[e] = -from[e];
  }
  JOIN(FN(flip_labels), LEVEL)(shape, rows, labels, out, stride);
}

static void JOIN(FN(copy_tile), LEVEL)(
    SHAPE shape, ptrdiff_t rows, const REAL *tile, REAL *out, ptrdiff_t stride) {
  const int flat = stride == shape.width;
  const ptrdiff_t runs = flat ? 1 : rows, length = flat ? rows * shape.width : shape.width;
  for (ptrdiff_t i = 0; i < runs; i++) {
    __builtin_memcpy(out + i * stride, tile + i * shape.width, (size_t)length * sizeof(REAL));
  }
}

/// sums[j] += entries j, j + period, j + 2 period, ... of n, a multiple of the period.
static void JOIN(FN(add_periods), LEVEL)(
    ptrdiff_t n, ptrdiff_t period, const REAL *x, double *sums) {
  ptrdiff_t start = 0;
  for (; start + 4 * period <= n; start += 4 * period) {
    const REAL *a = x + start, *b = a + period, *c = b + period, *d = c + period;
    INDEPENDENT for (ptrdiff_t j = 0; j < period; j++) {
      sums[j] += ((double)a[j] + (double)b[j]) + ((double)c[j] + (double)d[j]);
    }
  }
  for (; start < n; start += period) {
    INDEPENDENT for (ptrdiff_t j = 0; j < period; j++) sums[j] += (double)x[start + j];
  }
}

/// Adds the periodic sums to the classes' (unless NULL); returns their total.
static double JOIN(FN(fold_periods), LEVEL)(SHAPE shape, const double *sums, double *classes) {
  double total = 0;
  for (ptrdiff_t k = 0; k < shape.width; k++) {
    double sum = 0;
    for (ptrdiff_t g = 0; g < shape.group; g++) sum += sums[g * shape.width + k];
    if (classes) classes[shape.first + k] += sum;
    total += sum;
  }
  return total;
}

/// Length of a tile of `rows` rows filled up to whole groups and vectors with A = +inf, where
/// log Phi, r and h are 0. Returns the length that the sums see (whole groups).
INLINE ptrdiff_t JOIN(FN(pad_tile), LEVEL)(
    SHAPE shape, ptrdiff_t rows, REAL *A, ptrdiff_t *vector_length) {
  const ptrdiff_t used = rows * shape.width;
  const ptrdiff_t grouped = (rows + shape.group - 1) / shape.group * shape.period;
  const ptrdiff_t padded = (grouped + LANES - 1) / LANES * LANES;
  for (ptrdiff_t e = used; e < padded; e++) A[e] = REAL_INFINITY;
  *vector_length = padded;
  return grouped;
}

/// `steps` of the window, repeated over a tile.
INLINE void JOIN(FN(repeat_steps), LEVEL)(SHAPE shape, const REAL *step, REAL *steps) {
  for (ptrdiff_t i = 0; i < shape.rows; i++) {
    for (ptrdiff_t k = 0; k < shape.width; k++) steps[i * shape.width + k] = step[shape.first + k];
  }
}

#define OFFSET(pointer, index) ((pointer) ? (pointer) + (index) : NULL)

/// Residuals after an optional step along `direction`, which `updated` receives as new logits.
static double JOIN(FN(probit_pass), LEVEL)(
    ptrdiff_t rows, ptrdiff_t classes, const REAL *logits, ptrdiff_t logits_stride,
    const REAL *direction, ptrdiff_t direction_stride, const REAL *step, REAL *updated,
    const int32_t *labels, REAL *residual, ptrdiff_t residual_stride, REAL *latent_mean,
    ptrdiff_t latent_mean_stride, REAL *curvature, ptrdiff_t curvature_stride,
    double *class_sums, int want_log) {
  REAL A[PROBIT_BUFFER], R[PROBIT_BUFFER], L[PROBIT_BUFFER], H[PROBIT_BUFFER];
  REAL steps[PROBIT_BUFFER];
  double total = 0;
  for (ptrdiff_t first = 0; first < classes; first += PROBIT_WINDOW) {
    const SHAPE shape = JOIN(FN(probit_shape), LEVEL)(first, classes);
    double sums[PROBIT_WINDOW + 32] = {0};
    if (direction) JOIN(FN(repeat_steps), LEVEL)(shape, step, steps);
    for (ptrdiff_t start = 0; start < rows; start += shape.rows) {
      const ptrdiff_t count = rows - start < shape.rows ? rows - start : shape.rows;
      JOIN(FN(load_tile), LEVEL)(
          shape, count, logits + start * logits_stride + first, logits_stride,
          OFFSET(direction, start * direction_stride + first), direction_stride, steps, A, NULL);
      JOIN(FN(flip_labels), LEVEL)(shape, count, labels + start, A, shape.width);
      ptrdiff_t padded;
      const ptrdiff_t grouped = JOIN(FN(pad_tile), LEVEL)(shape, count, A, &padded);
      if (updated) {
        JOIN(FN(store_signed), LEVEL)(
            shape, count, labels + start, A, updated + start * logits_stride + first,
            logits_stride);
      }
      JOIN(FN(probit_tile), LEVEL)(padded, A, R, want_log ? L : NULL, curvature ? H : NULL);
      if (want_log) JOIN(FN(add_periods), LEVEL)(grouped, shape.period, L, sums);
      if (residual) {
        JOIN(FN(store_signed), LEVEL)(
            shape, count, labels + start, R, residual + start * residual_stride + first,
            residual_stride);
      }
      if (latent_mean) {
        // Z = M + R = S (A + r)
        for (ptrdiff_t e = 0; e < padded; e++) R[e] += A[e];
        JOIN(FN(store_signed), LEVEL)(
            shape, count, labels + start, R, latent_mean + start * latent_mean_stride + first,
            latent_mean_stride);
      }
      if (curvature) {
        JOIN(FN(copy_tile), LEVEL)(
            shape, count, H, curvature + start * curvature_stride + first, curvature_stride);
      }
    }
    if (want_log) total += JOIN(FN(fold_periods), LEVEL)(shape, sums, class_sums);
  }
  return total;
}

double KERNEL(probit_residual)(
    ptrdiff_t rows, ptrdiff_t classes, const REAL *logits, ptrdiff_t logits_stride,
    const int32_t *labels, REAL *residual, ptrdiff_t residual_stride, REAL *latent_mean,
    ptrdiff_t latent_mean_stride, REAL *curvature, ptrdiff_t curvature_stride,
    double *class_sums, int want_sum) {
  return JOIN(FN(probit_pass), LEVEL)(
      rows, classes, logits, logits_stride, NULL, 0, NULL, NULL, labels, residual,
      residual_stride, latent_mean, latent_mean_stride, curvature, curvature_stride, class_sums,
      want_sum || class_sums != NULL);
}

double KERNEL(probit_advance)(
    ptrdiff_t rows, ptrdiff_t classes, REAL *logits, ptrdiff_t logits_stride,
    const REAL *direction, ptrdiff_t direction_stride, const REAL *step, const int32_t *labels,
    REAL *residual, ptrdiff_t residual_stride, double *class_sums, int want_sum) {
  return JOIN(FN(probit_pass), LEVEL)(
      rows, classes, logits, logits_stride, direction, direction_stride, step, logits, labels,
      residual, residual_stride, NULL, 0, NULL, 0, class_sums, want_sum || class_sums != NULL);
}

void KERNEL(probit_line)(
    ptrdiff_t rows, ptrdiff_t classes, const REAL *logits, ptrdiff_t logits_stride,
    const REAL *direction, ptrdiff_t direction_stride, const REAL *step, const int32_t *labels,
    double *value, double *slope, double *second) {
  REAL A[PROBIT_BUFFER], R[PROBIT_BUFFER], L[PROBIT_BUFFER], H[PROBIT_BUFFER];
  REAL D[PROBIT_BUFFER], steps[PROBIT_BUFFER];
  for (ptrdiff_t first = 0; first < classes; first += PROBIT_WINDOW) {
    const SHAPE shape = JOIN(FN(probit_shape), LEVEL)(first, classes);
    double values[PROBIT_WINDOW + 32] = {0}, slopes[PROBIT_WINDOW + 32] = {0};
    double seconds[PROBIT_WINDOW + 32] = {0};
    JOIN(FN(repeat_steps), LEVEL)(shape, step, steps);
    for (ptrdiff_t start = 0; start < rows; start += shape.rows) {
      const ptrdiff_t count = rows - start < shape.rows ? rows - start : shape.rows;
      JOIN(FN(load_tile), LEVEL)(
          shape, count, logits + start * logits_stride + first, logits_stride,
          direction + start * direction_stride + first, direction_stride, steps, A, D);
      JOIN(FN(flip_labels), LEVEL)(shape, count, labels + start, A, shape.width);
      JOIN(FN(flip_labels), LEVEL)(shape, count, labels + start, D, shape.width);
      ptrdiff_t padded;
      const ptrdiff_t grouped = JOIN(FN(pad_tile), LEVEL)(shape, count, A, &padded);
      for (ptrdiff_t e = count * shape.width; e < padded; e++) D[e] = 0;
      JOIN(FN(probit_tile), LEVEL)(padded, A, R, value ? L : NULL, H);
      if (value) JOIN(FN(add_periods), LEVEL)(grouped, shape.period, L, values);
      for (ptrdiff_t e = 0; e < padded; e++) {
        R[e] *= D[e];
        H[e] *= -(D[e] * D[e]);
      }
      JOIN(FN(add_periods), LEVEL)(grouped, shape.period, R, slopes);
      JOIN(FN(add_periods), LEVEL)(grouped, shape.period, H, seconds);
    }
    if (value) JOIN(FN(fold_periods), LEVEL)(shape, values, value);
    JOIN(FN(fold_periods), LEVEL)(shape, slopes, slope);
    JOIN(FN(fold_periods), LEVEL)(shape, seconds, second);
  }
}

#undef OFFSET
#undef SHAPE
#undef PROBIT_TERMS
#undef PROBIT_WINDOW
#undef PROBIT_TILE
#undef PROBIT_BUFFER
