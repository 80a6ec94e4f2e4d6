// Skinny matrix products over a block of rows: the two products of a fused pass over the features.
//
//     forward   M (rows x classes)    = X (rows x features) · Wᵀ,  W (classes x features)
//     backward  G (classes x features) += Rᵀ · X,                  R (rows x classes)
//
// A general BLAS is made for large square products; with 1 to 1000 classes and a block of rows that
// stays in the L2 cache these kernels are faster (Benchmarks measure by how much). They run on the
// calling thread, take no memory and keep no state.
//
// Every function exists for float (`_f32`) and double (`_f64`), is compiled for x86-64-v4
// (AVX-512), x86-64-v3 (AVX2, FMA) and the baseline (or the one level of another architecture); the
// best level the processor has is picked on the first call. `bllarse_products_table` reaches one
// level at a time.
//
// A pass over X: pack W once; for each block of 128 to 256 rows (the block and the next one should
// fit the second-level cache together) forward, the pointwise part in M, backward with `next` set.
// Half-precision rows are best widened into the block's buffer (float_from_half, or with the
// normalisation): measured faster than reading floats from memory, and a conversion inside the
// products would be repeated for every tile of classes.
//
// Conventions
//   All arrays are row-major; a stride is the distance between the starts of two rows in elements.
//   rows of X and W are padded with zeros to whole vectors of 64 bytes (16 floats, 8 doubles), and G
//   is written over the padded width; `features` counts them with the padding or without. `rows` and `classes` are free, zero allowed.
//   No alignment is asked for, but X on 64-byte boundaries with a stride that is a multiple of 64
//   bytes is what the kernels are tuned for. Outputs must not overlap inputs.
//   The order of additions depends on level, classes and features, never on the values or on the
//   rows around a row: one level gives the same bits each time.

#ifndef BLLARSE_PRODUCTS_H
#define BLLARSE_PRODUCTS_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

// X(result, name, parameters, arguments) for every product over REAL with the type suffix T.
#define BLLARSE_PRODUCTS(X, REAL, T)                                                              \
  X(void, pack_##T,                                                                               \
    (ptrdiff_t classes, ptrdiff_t features, const REAL *w, ptrdiff_t w_stride, REAL *packed),     \
    (classes, features, w, w_stride, packed))                                                     \
  X(void, forward_##T,                                                                            \
    (ptrdiff_t rows, ptrdiff_t classes, ptrdiff_t features, const REAL *x, ptrdiff_t x_stride,    \
     const REAL *packed, REAL *m, ptrdiff_t m_stride),                                            \
    (rows, classes, features, x, x_stride, packed, m, m_stride))                                  \
  X(void, backward_##T,                                                                           \
    (ptrdiff_t rows, ptrdiff_t classes, ptrdiff_t features, const REAL *x, ptrdiff_t x_stride,    \
     const REAL *r, ptrdiff_t r_stride, double *g, ptrdiff_t g_stride, const void *next,          \
     ptrdiff_t next_bytes),                                                                       \
    (rows, classes, features, x, x_stride, r, r_stride, g, g_stride, next, next_bytes))           \
  X(void, gram_##T,                                                                               \
    (ptrdiff_t rows, ptrdiff_t features, const REAL *x, ptrdiff_t x_stride, REAL *c,              \
     ptrdiff_t c_stride),                                                                         \
    (rows, features, x, x_stride, c, c_stride))

#define BLLARSE_PRODUCTS_ENTRY(result, name, parameters, arguments) result(*name) parameters;
typedef struct {
  BLLARSE_PRODUCTS(BLLARSE_PRODUCTS_ENTRY, float, f32)
  BLLARSE_PRODUCTS(BLLARSE_PRODUCTS_ENTRY, double, f64)
} BllarseProductsTable;
#undef BLLARSE_PRODUCTS_ENTRY

/// The products compiled for a level (0 baseline, 1 x86-64-v3, 2 x86-64-v4), or NULL where the
/// build
/// or this processor has no such level.
const BllarseProductsTable *bllarse_products_table(int level);

/// The level that the functions below use on this processor.
int bllarse_products_level(void);

/// Rearranges the weights W (classes x features) for `forward`; `packed` holds classes * features
/// elements. To be done once for a pass over the data, not once for a block. The layout belongs to
/// the level and is not a format.
void bllarse_products_pack_f32(
    ptrdiff_t classes, ptrdiff_t features, const float *w, ptrdiff_t w_stride, float *packed);
void bllarse_products_pack_f64(
    ptrdiff_t classes, ptrdiff_t features, const double *w, ptrdiff_t w_stride, double *packed);

/// M = X Wᵀ with packed weights. Writes exactly `classes` elements of each row of M.
void bllarse_products_forward_f32(
    ptrdiff_t rows, ptrdiff_t classes, ptrdiff_t features, const float *x, ptrdiff_t x_stride,
    const float *packed, float *m, ptrdiff_t m_stride);
void bllarse_products_forward_f64(
    ptrdiff_t rows, ptrdiff_t classes, ptrdiff_t features, const double *x, ptrdiff_t x_stride,
    const double *packed, double *m, ptrdiff_t m_stride);

/// G += Rᵀ X. The sums over the rows of this call are taken in the type of X, then added to G in
/// double: call it with blocks of at most a few hundred rows.
/// `next_bytes` bytes from `next`, what the caller will read first afterwards (the next block's
/// rows
/// as they lie in memory), are fetched into the second-level cache meanwhile; nothing for 0. It is
/// a hint: they need not be readable.
void bllarse_products_backward_f32(
    ptrdiff_t rows, ptrdiff_t classes, ptrdiff_t features, const float *x, ptrdiff_t x_stride,
    const float *r, ptrdiff_t r_stride, double *g, ptrdiff_t g_stride, const void *next,
    ptrdiff_t next_bytes);
void bllarse_products_backward_f64(
    ptrdiff_t rows, ptrdiff_t classes, ptrdiff_t features, const double *x, ptrdiff_t x_stride,
    const double *r, ptrdiff_t r_stride, double *g, ptrdiff_t g_stride, const void *next,
    ptrdiff_t next_bytes);

/// Lower triangle of C (rows x rows) = X Xᵀ, for some tens of rows. Some entries above the diagonal
/// are written too, with their values.
void bllarse_products_gram_f32(
    ptrdiff_t rows, ptrdiff_t features, const float *x, ptrdiff_t x_stride, float *c,
    ptrdiff_t c_stride);
void bllarse_products_gram_f64(
    ptrdiff_t rows, ptrdiff_t features, const double *x, ptrdiff_t x_stride, double *c,
    ptrdiff_t c_stride);

/// Whether a general BLAS does forward and backward together faster on this processor: only where
/// the AVX2 kernels serve and G has 2^18 elements or more (measured to 1000 x 2048).
int bllarse_products_prefer_blas(ptrdiff_t classes, ptrdiff_t features);

#ifdef __cplusplus
}
#endif

#endif
