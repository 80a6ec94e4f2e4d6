// The products for one instruction set and one type; included once for each (a template in C).
//
// The including file defines REAL, SUFFIX (f32, f64) and LANES (elements of a vector), after LEVEL,
// PRODUCTS_REGISTERS (16 or 32) and products_tiles.h. Every tile is one inlined function whose
// sizes are constants at the call, so that its sums live in registers.
//
// Measured on one Zen 4 core (117 GFLOP/s by chains of FMA, OpenBLAS sgemm 106 on large squares),
// AVX-512, a block of 128 x 512 floats in the second-level cache:
//     classes      1     2     3     5    10    16    32   100   GFLOP/s
//     forward     55   107   105   109   113   118   114   114   (OpenBLAS 10: 47, 100: 95)
//     backward    46    91   110   110   109   110   108   108   (OpenBLAS 10: 85-110, 100: 104)
// One class is bound by the cache: each element of X serves one multiplication.

#define PRODUCTS_JOIN2(a, b) a##_##b
#define PRODUCTS_JOIN(a, b) PRODUCTS_JOIN2(a, b)
#define NAME(n) PRODUCTS_JOIN(n, SUFFIX)
#define vec NAME(vec)
#define loose NAME(loose)

typedef REAL vec __attribute__((vector_size(LANES * sizeof(REAL))));
typedef REAL loose
    __attribute__((vector_size(LANES * sizeof(REAL)), aligned(sizeof(REAL)), may_alias));

#define LOAD(p) (*(const loose *)(p))
#define STORE(p, v) (*(loose *)(p) = (v))

// MARK: - Sums across lanes

// FOLD(a, b, h): lanes whose bit h is clear get a's two halves added, the others b's. Folding with
// h = LANES/2, ..., 1 over vectors i and i + h leaves in lane l the sum over all lanes of vector l.
#define FOLD_KEEP(l, h) (((l) & (h)) ? LANES + (l) : (l))
#define FOLD_SWAP(l, h) ((((l) & (h)) ? LANES : 0) + ((l) ^ (h)))
#define LIST2(F, o, h) F((o), h), F((o) + 1, h)
#define LIST4(F, o, h) LIST2(F, o, h), LIST2(F, (o) + 2, h)
#define LIST8(F, o, h) LIST4(F, o, h), LIST4(F, (o) + 4, h)
#define LIST16(F, o, h) LIST8(F, o, h), LIST8(F, (o) + 8, h)
#define LIST_OF(n) PRODUCTS_LIST(n)
#define PRODUCTS_LIST(n) LIST##n
#define FOLD(a, b, h)                                               \
  (__builtin_shufflevector(a, b, LIST_OF(LANES)(FOLD_KEEP, 0, h)) + \
   __builtin_shufflevector(a, b, LIST_OF(LANES)(FOLD_SWAP, 0, h)))

#define FOLD_LEVEL(h)                                        \
  if (LANES > (h)) {                                         \
    UNROLL for (int i = 0; i < (h); i++) {                   \
      if (i >= n) break;                                     \
      t[i] = FOLD(t[i], (i + (h) < n ? t[i + (h)] : t[i]), h); \
    }                                                        \
  }

#define UNROLL _Pragma("clang loop unroll(full)")

// Lane l of the result is the sum of the lanes of t[l], l < n <= LANES; further lanes are anything.
ALWAYS_INLINE vec NAME(lane_sums)(const int n, vec *t) {
#if LANES > 8
  FOLD_LEVEL(8)
#endif
#if LANES > 4
  FOLD_LEVEL(4)
#endif
#if LANES > 2
  FOLD_LEVEL(2)
#endif
  FOLD_LEVEL(1)
  return t[0];
}

// MARK: - Forward, few classes: vectors along the features

// Packed weights of a tile of C classes: for each vector of features, C vectors in a row.

ALWAYS_INLINE void NAME(forward_tile)(
    const int R, const int C, ptrdiff_t features, const REAL *restrict x, ptrdiff_t x_stride,
    const REAL *restrict w, REAL *restrict m, ptrdiff_t m_stride) {
  vec sum[PRODUCTS_REGISTERS];
  UNROLL for (int i = 0; i < R * C; i++) sum[i] = (vec){0};
  // Rows that are not in the second-level cache are on their way when their turn comes; behind the
  // last row nothing is read.
  const ptrdiff_t ahead = FORWARD_AHEAD * x_stride;
  for (ptrdiff_t d = 0; d < features; d += LANES) {
    vec row[8];
    UNROLL for (int r = 0; r < R; r++) {
      row[r] = LOAD(x + r * x_stride + d);
      __builtin_prefetch(x + r * x_stride + d + ahead, 0, 2);
    }
    UNROLL for (int c = 0; c < C; c++) {
      vec weight = LOAD(w + c * LANES);
      UNROLL for (int r = 0; r < R; r++) sum[r * C + c] += row[r] * weight;
    }
    w += C * LANES;
  }
  REAL out[(PRODUCTS_REGISTERS + LANES - 1) / LANES * LANES];
  UNROLL for (int i = 0; i < R * C; i += LANES) {
    STORE(out + i, NAME(lane_sums)(R * C - i < LANES ? R * C - i : LANES, sum + i));
  }
  UNROLL for (int r = 0; r < R; r++) {
    UNROLL for (int c = 0; c < C; c++) m[r * m_stride + c] = out[r * C + c];
  }
}

// The last tile of rows reaches back over rows that are done already, and writes the same numbers
// again: cheaper than a kernel for every remainder.
ALWAYS_INLINE void NAME(forward_tiles)(
    const int R, const int C, ptrdiff_t rows, ptrdiff_t features, const REAL *x,
    ptrdiff_t x_stride, const REAL *w, REAL *m, ptrdiff_t m_stride) {
  if (rows < R) {
    for (ptrdiff_t i = 0; i < rows; i++) {
      NAME(forward_tile)(1, C, features, x + i * x_stride, x_stride, w, m + i * m_stride, m_stride);
    }
    return;
  }
  for (ptrdiff_t i = 0; i < rows; i += R) {
    ptrdiff_t first = i + R <= rows ? i : rows - R;
    NAME(forward_tile)(
        R, C, features, x + first * x_stride, x_stride, w, m + first * m_stride, m_stride);
  }
}

#define FORWARD(C, R)                                                                            \
  static void NAME(forward_##C)(                                                                 \
      ptrdiff_t rows, ptrdiff_t features, const REAL *x, ptrdiff_t x_stride, const REAL *w,      \
      REAL *m, ptrdiff_t m_stride) {                                                             \
    NAME(forward_tiles)(R, C, rows, features, x, x_stride, w, m, m_stride);                      \
  }
FORWARD_TILES(FORWARD)
#undef FORWARD

typedef void (*NAME(forward_function))(
    ptrdiff_t, ptrdiff_t, const REAL *, ptrdiff_t, const REAL *, REAL *, ptrdiff_t);
#define FORWARD(C, R) NAME(forward_##C),
static const NAME(forward_function) NAME(forward_functions)[] = {FORWARD_TILES(FORWARD)};
#undef FORWARD

// MARK: - Forward, many classes: vectors along the classes

// Packed weights of a panel of V vectors of classes: for each feature, V vectors. No sum across
// lanes is needed and each weight fetched serves R rows; the rows' elements are broadcast.

ALWAYS_INLINE void NAME(panel_tile)(
    const int R, const int V, ptrdiff_t features, const REAL *restrict x, ptrdiff_t x_stride,
    const REAL *restrict w, REAL *restrict m, ptrdiff_t m_stride) {
  vec sum[PRODUCTS_REGISTERS];
  UNROLL for (int i = 0; i < R * V; i++) sum[i] = (vec){0};
  for (ptrdiff_t d = 0; d < features; d++) {
    vec weight[4];
    UNROLL for (int v = 0; v < V; v++) weight[v] = LOAD(w + v * LANES);
    UNROLL for (int r = 0; r < R; r++) {
      vec element = x[r * x_stride + d] - (vec){0};
      UNROLL for (int v = 0; v < V; v++) sum[r * V + v] += element * weight[v];
    }
    w += V * LANES;
  }
  UNROLL for (int r = 0; r < R; r++) {
    UNROLL for (int v = 0; v < V; v++) STORE(m + r * m_stride + v * LANES, sum[r * V + v]);
  }
}

ALWAYS_INLINE void NAME(panel_tiles)(
    const int R, const int V, ptrdiff_t rows, ptrdiff_t features, const REAL *x,
    ptrdiff_t x_stride, const REAL *w, REAL *m, ptrdiff_t m_stride) {
  if (rows < R) {
    for (ptrdiff_t i = 0; i < rows; i++) {
      NAME(panel_tile)(1, V, features, x + i * x_stride, x_stride, w, m + i * m_stride, m_stride);
    }
    return;
  }
  for (ptrdiff_t i = 0; i < rows; i += R) {
    ptrdiff_t first = i + R <= rows ? i : rows - R;
    NAME(panel_tile)(
        R, V, features, x + first * x_stride, x_stride, w, m + first * m_stride, m_stride);
  }
}

#define PANEL(V, R)                                                                              \
  static void NAME(panel_##V)(                                                                   \
      ptrdiff_t rows, ptrdiff_t features, const REAL *x, ptrdiff_t x_stride, const REAL *w,      \
      REAL *m, ptrdiff_t m_stride) {                                                             \
    NAME(panel_tiles)(R, V, rows, features, x, x_stride, w, m, m_stride);                        \
  }
PANEL_TILES(PANEL)
#undef PANEL
#define PANEL(V, R) NAME(panel_##V),
static const NAME(forward_function) NAME(panel_functions)[] = {PANEL_TILES(PANEL)};
#undef PANEL

// MARK: - The division of the classes

// Features up to a whole vector: rows are padded with zeros to it.
static ptrdiff_t NAME(whole)(ptrdiff_t features) {
  return (features + LANES - 1) / LANES * LANES;
}

// Vectors of classes in the panel that begins when `left` classes are left; 0 where classes are too
// few to fill a vector. Two vectors a panel, three to end an odd number.
static ptrdiff_t NAME(panel_width)(ptrdiff_t left) {
  ptrdiff_t vectors = left / LANES;
  return vectors <= 3 ? vectors : 2;
}

// Classes of the tile that begins when `left` classes are left: tiles of nearly equal size, since a
// small tile has fewer independent sums than the processor's multipliers have stages.
static ptrdiff_t NAME(tile_width)(ptrdiff_t left, ptrdiff_t widest) {
  ptrdiff_t tiles = (left + widest - 1) / widest;
  return (left + tiles - 1) / tiles;
}

// Wide tiles read X least often, but only while their weights stay in the first-level cache (10
// classes x 1024 floats do not: 98 GFLOP/s as one tile, 113 as two).
static ptrdiff_t NAME(forward_width)(ptrdiff_t left, ptrdiff_t features) {
  int fits = left * features * (ptrdiff_t)sizeof(REAL) <= 32768;
  return NAME(tile_width)(left, fits || FORWARD_WIDEST < 7 ? FORWARD_WIDEST : 7);
}

void NAME(LEVEL_NAME(pack))(
    ptrdiff_t classes, ptrdiff_t features, const REAL *w, ptrdiff_t w_stride, REAL *packed) {
  ptrdiff_t k = 0;
  for (ptrdiff_t v; (v = NAME(panel_width)(classes - k)) > 0; k += v * LANES) {
    // Eight features at a time: with one, each line of W would be visited once for every element.
    // What is written behind the last feature is overwritten next, or lies in the padding.
    for (ptrdiff_t d = 0; d < features; d += 8) {
      for (ptrdiff_t c = 0; c < v * LANES; c++) {
        const REAL *from = w + (k + c) * w_stride + d;
        for (int e = 0; e < 8; e++) packed[(d + e) * v * LANES + c] = from[e];
      }
    }
    packed += v * LANES * features;
  }
  for (ptrdiff_t c; k < classes; k += c) {
    c = NAME(forward_width)(classes - k, features);
    for (ptrdiff_t d = 0; d < features; d += LANES) {
      for (ptrdiff_t i = 0; i < c; i++) {
        STORE(packed, LOAD(w + (k + i) * w_stride + d));
        packed += LANES;
      }
    }
  }
}

void NAME(LEVEL_NAME(forward))(
    ptrdiff_t rows, ptrdiff_t classes, ptrdiff_t features, const REAL *x, ptrdiff_t x_stride,
    const REAL *packed, REAL *m, ptrdiff_t m_stride) {
  ptrdiff_t k = 0;
  for (ptrdiff_t v; (v = NAME(panel_width)(classes - k)) > 0; k += v * LANES) {
    NAME(panel_functions)[v - 1](rows, features, x, x_stride, packed, m + k, m_stride);
    packed += v * LANES * features;
  }
  for (ptrdiff_t c; k < classes; k += c) {
    c = NAME(forward_width)(classes - k, features);
    NAME(forward_functions)[c - 1](rows, features, x, x_stride, packed, m + k, m_stride);
    packed += c * NAME(whole)(features);
  }
}

// MARK: - Backward: vectors along the features, residuals broadcast

// Fetches V lines a row from `next` into the second-level cache and returns where it stopped. `far`
// says that G lies beyond that cache and is to be fetched while the sums are formed.
ALWAYS_INLINE const char *NAME(backward_tile)(
    const int C, const int V, ptrdiff_t rows, const REAL *restrict x, ptrdiff_t x_stride,
    const REAL *restrict r, ptrdiff_t r_stride, double *restrict g, ptrdiff_t g_stride,
    const char *next, const char *end, int far) {
  vec sum[PRODUCTS_REGISTERS];
  UNROLL for (int i = 0; i < C * V; i++) sum[i] = (vec){0};
  if (far) {
    UNROLL for (int c = 0; c < C; c++) {
      UNROLL for (int line = 0; line * 8 < V * LANES; line++) {
        __builtin_prefetch(g + c * g_stride + line * 8, 1, 3);
      }
    }
  }
  for (ptrdiff_t i = 0; i < rows; i++) {
    vec row[8];
    UNROLL for (int v = 0; v < V; v++) row[v] = LOAD(x + v * LANES);
    UNROLL for (int line = 0; line * 64 < V * LANES * (int)sizeof(REAL); line++) {
      __builtin_prefetch(next + line * 64, 0, 2);
    }
    UNROLL for (int c = 0; c < C; c++) {
      vec element = r[c] - (vec){0};
      UNROLL for (int v = 0; v < V; v++) sum[c * V + v] += element * row[v];
    }
    x += x_stride;
    r += r_stride;
    next += next < end ? (V * LANES * (int)sizeof(REAL) + 63) / 64 * 64 : 0;
  }
  typedef double wide __attribute__((vector_size(LANES * sizeof(double)), aligned(8), may_alias));
  UNROLL for (int c = 0; c < C; c++) {
    UNROLL for (int v = 0; v < V; v++) {
      wide *at = (wide *)(g + c * g_stride + v * LANES);
      *at += __builtin_convertvector(sum[c * V + v], wide);
    }
  }
  return next;
}

ALWAYS_INLINE const char *NAME(backward_tiles)(
    const int C, const int V, ptrdiff_t rows, ptrdiff_t features, const REAL *x,
    ptrdiff_t x_stride, const REAL *r, ptrdiff_t r_stride, double *g, ptrdiff_t g_stride,
    const char *next, const char *end, int far) {
  ptrdiff_t d = 0;
  for (; d + V * LANES <= features; d += V * LANES) {
    next = NAME(backward_tile)(
        C, V, rows, x + d, x_stride, r, r_stride, g + d, g_stride, next, end, far);
  }
  if (V > 4 && d + 4 * LANES <= features) {
    next = NAME(backward_tile)(
        C, 4, rows, x + d, x_stride, r, r_stride, g + d, g_stride, next, end, far);
    d += 4 * LANES;
  }
  if (V > 2 && d + 2 * LANES <= features) {
    next = NAME(backward_tile)(
        C, 2, rows, x + d, x_stride, r, r_stride, g + d, g_stride, next, end, far);
    d += 2 * LANES;
  }
  // At most one vector is left for an even V, two for an odd one.
  for (; d < features; d += LANES) {
    next = NAME(backward_tile)(
        C, 1, rows, x + d, x_stride, r, r_stride, g + d, g_stride, next, end, far);
  }
  return next;
}

#define BACKWARD(C, V)                                                                           \
  static const char *NAME(backward_##C)(                                                         \
      ptrdiff_t rows, ptrdiff_t features, const REAL *x, ptrdiff_t x_stride, const REAL *r,      \
      ptrdiff_t r_stride, double *g, ptrdiff_t g_stride, const char *next, const char *end,        \
      int far) {                                                                                 \
    return NAME(backward_tiles)(                                                                 \
        C, V, rows, features, x, x_stride, r, r_stride, g, g_stride, next, end, far);            \
  }
BACKWARD_TILES(BACKWARD)
#undef BACKWARD
typedef const char *(*NAME(backward_function))(
    ptrdiff_t, ptrdiff_t, const REAL *, ptrdiff_t, const REAL *, ptrdiff_t, double *, ptrdiff_t,
    const char *, const char *, int);
#define BACKWARD(C, V) NAME(backward_##C),
static const NAME(backward_function) NAME(backward_functions)[] = {BACKWARD_TILES(BACKWARD)};
#undef BACKWARD

void NAME(LEVEL_NAME(backward))(
    ptrdiff_t rows, ptrdiff_t classes, ptrdiff_t features, const REAL *x, ptrdiff_t x_stride,
    const REAL *r, ptrdiff_t r_stride, double *g, ptrdiff_t g_stride, const void *next,
    ptrdiff_t next_bytes) {
  if (rows <= 0) return;
  // Without anything to fetch, the residuals' first line is asked for again and again: it is there.
  const char *at = next_bytes > 0 ? next : (const char *)r;
  const char *end = next_bytes > 0 ? at + next_bytes : at;
  // 1000 classes x 1024 features: 89 GFLOP/s without, 99 with it; 100 x 512: 108 and 106.
  int far = classes * features > FAR_ELEMENTS;
  for (ptrdiff_t k = 0, c; k < classes; k += c) {
    c = NAME(tile_width)(classes - k, BACKWARD_WIDEST);
    at = NAME(backward_functions)[c - 1](
        rows, features, x, x_stride, r + k, r_stride, g + k * g_stride, g_stride, at, end, far);
  }
}

#include "products_gram.h"

#undef PRODUCTS_JOIN2
#undef PRODUCTS_JOIN
#undef NAME
#undef vec
#undef loose
#undef LOAD
#undef STORE
#undef FOLD_KEEP
#undef FOLD_SWAP
#undef LIST2
#undef LIST4
#undef LIST8
#undef LIST16
#undef LIST_OF
#undef PRODUCTS_LIST
#undef FOLD
#undef FOLD_LEVEL
#undef UNROLL
#undef REAL
#undef SUFFIX
#undef LANES
