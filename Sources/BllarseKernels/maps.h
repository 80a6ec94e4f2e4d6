// Elementwise kernels. Included once for each scalar type and level.

// Whole vectors first; the rest in a padded copy, so that a short array costs one vector and an
// element's result does not depend on where in the array it stands.
#define MAP(name)                                                    \
  void KERNEL(name)(ptrdiff_t n, const REAL *x, REAL *y) {           \
    const ptrdiff_t whole = n - n % LANES;                           \
    INDEPENDENT_LONG for (ptrdiff_t i = 0; i < whole; i++) {              \
      y[i] = FN(name)(x[i]);                                         \
    }                                                                \
    if (whole < n) {                                                 \
      REAL rest[LANES] = {0};                                        \
      for (ptrdiff_t i = whole; i < n; i++) rest[i - whole] = x[i];  \
      for (ptrdiff_t i = 0; i < LANES; i++) {                        \
        rest[i] = FN(name)(rest[i]);                                 \
      }                                                              \
      for (ptrdiff_t i = whole; i < n; i++) y[i] = rest[i - whole];  \
    }                                                                \
  }

#define MAP_PAIR(name)                                                                 \
  void KERNEL(name)(ptrdiff_t n, const REAL *x, REAL *lower, REAL *upper) {            \
    const ptrdiff_t whole = n - n % LANES;                                             \
    INDEPENDENT_LONG for (ptrdiff_t i = 0; i < whole; i++) {                                \
      REAL below, above;                                                               \
      FN(name)(x[i], &below, &above);                                                  \
      lower[i] = below;                                                                \
      upper[i] = above;                                                                \
    }                                                                                  \
    if (whole < n) {                                                                   \
      REAL rest[LANES] = {0}, above[LANES];                                            \
      for (ptrdiff_t i = whole; i < n; i++) rest[i - whole] = x[i];                    \
      for (ptrdiff_t i = 0; i < LANES; i++) FN(name)(rest[i], &rest[i], &above[i]);    \
      for (ptrdiff_t i = whole; i < n; i++) lower[i] = rest[i - whole];                \
      for (ptrdiff_t i = whole; i < n; i++) upper[i] = above[i - whole];               \
    }                                                                                  \
  }

MAP(exp)
MAP(log)
MAP(log1p)
MAP(softplus)
MAP(sigmoid)
MAP(normal_cdf)
MAP(log_normal_cdf)
MAP(inverse_mills_ratio)
MAP(probit_curvature)
MAP(gelu)
MAP(approximate_normal_cdf)

MAP_PAIR(log_normal_cdf_both)
MAP_PAIR(log_approximate_normal_cdf_both)

#undef MAP
#undef MAP_PAIR
