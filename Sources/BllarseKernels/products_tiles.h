// Sizes of the register tiles, by the number of vector registers: X(classes, rows) for `forward`,
// X(vectors of classes, rows) for its panels, X(classes, vectors of features) for `backward`.
// A tile's sums, one row of operands and one more must fit the registers, and there must be at
// least 8 sums: two multipliers of four stages each.

// Elements of G that a second-level cache does not hold: a megabyte of doubles.
#define FAR_ELEMENTS 131072

// Rows that `forward` fetches ahead into the second-level cache.
#define FORWARD_AHEAD 16

#define ALWAYS_INLINE static inline __attribute__((always_inline))
#define LEVEL_JOIN2(a, b) a##_##b
#define LEVEL_JOIN(a, b) LEVEL_JOIN2(a, b)
#define LEVEL_NAME(n) LEVEL_JOIN(LEVEL_JOIN(bllarse_products, LEVEL), n)

#if PRODUCTS_REGISTERS == 32
#define FORWARD_WIDEST 14
#define FORWARD_TILES(X)                                                                        \
  X(1, 8) X(2, 8) X(3, 7) X(4, 6) X(5, 5) X(6, 4) X(7, 3) X(8, 3) X(9, 3) X(10, 2) X(11, 2)     \
  X(12, 2) X(13, 2) X(14, 2)
#define PANEL_TILES(X) X(1, 16) X(2, 12) X(3, 8)
#define GRAM_TILE 5
#define BACKWARD_WIDEST 14
#define BACKWARD_TILES(X)                                                                       \
  X(1, 8) X(2, 8) X(3, 6) X(4, 5) X(5, 4) X(6, 4) X(7, 3) X(8, 3) X(9, 2) X(10, 2) X(11, 2)     \
  X(12, 2) X(13, 2) X(14, 2)
#else
#define FORWARD_WIDEST 6
#define FORWARD_TILES(X) X(1, 8) X(2, 4) X(3, 3) X(4, 2) X(5, 2) X(6, 2)
#define PANEL_TILES(X) X(1, 8) X(2, 6) X(3, 4)
#define GRAM_TILE 3
#define BACKWARD_WIDEST 6
#define BACKWARD_TILES(X) X(1, 8) X(2, 4) X(3, 3) X(4, 2) X(5, 2) X(6, 2)
#endif
