// double

#define REAL double
#define T f64
#define UINT uint64_t
#define INT int64_t

#define SIGNIFICAND_BITS 52
#define EXPONENT_BIAS 1023
#define SQRT_HALF_BITS 0x3fe6a09e667f3bcdu
#define SPLIT_MASK 0xfffffffff8000000u
#define ROUND_MAGIC 6755399441055744.0
#define ROUND_MAGIC_BITS 0x4338000000000000u
#define SMALLEST_NORMAL 2.2250738585072014e-308

#define EXP_LOWEST -760.0
#define EXP_HIGHEST 715.0
#define DENSITY_LIFT 256
#define DENSITY_END 40.0
#define MILLS_END 1.0e9
#define CUBIC_END 30.0

#define LN2_HIGH LN2_HIGH_F64
#define LN2_LOW LN2_LOW_F64
#define LN2 LN2_F64
#define LOG2_E LOG2_E_F64
#define LOG_SQRT_2PI LOG_SQRT_2PI_F64
#define INV_SQRT_2PI_LOWERED (INV_SQRT_2PI_F64 * 0x1p-256)

#define REAL_INFINITY __builtin_inf()
#define REAL_NAN __builtin_nan("")
#define REAL_ABS __builtin_fabs
#define REAL_FMA __builtin_fma

#define LANES 8

INLINE uint64_t bits_f64(double x) {
  uint64_t bits;
  __builtin_memcpy(&bits, &x, sizeof bits);
  return bits;
}

INLINE double real_f64(uint64_t bits) {
  double x;
  __builtin_memcpy(&x, &bits, sizeof x);
  return x;
}

/// u = 2^k (1 + f) with sqrt(1/2) <= 1 + f < sqrt(2); returns f. The exponent field becomes a
/// double by way of 2^52 + field: no level below AVX-512 converts 64-bit integers in vectors.
INLINE double significand_excess_f64(double u, double *k) {
  const uint64_t moved = bits_f64(u) + (0x3ff0000000000000u - SQRT_HALF_BITS);
  *k = real_f64((moved >> 52) | 0x4330000000000000u) - (4503599627370496.0 + 1023.0);
  return real_f64((moved & 0xfffffffffffffu) + SQRT_HALF_BITS) - 1.0;
}

/// log(1+f) - f. With s = f/(2+f):
/// log(1+f) = 2s + s R(s^2) = f - (f^2/2 - s (f^2/2 + R)).
INLINE double log1p_remainder_f64(double f) {
  const double s = f / (2.0 + f);
  const double z = s * s;
  const double half_square = 0.5 * f * f;
  return s * (half_square + z * log_tail_f64(z)) - half_square;
}

/// a*b = product + *error, exactly, by splitting (Dekker 1971, Veltkamp): needs no fused
/// multiply-add, which the baseline lacks.
INLINE double two_product_f64(double a, double b, double *error) {
  const double ah = real_f64(bits_f64(a) & SPLIT_MASK), al = a - ah;
  const double bh = real_f64(bits_f64(b) & SPLIT_MASK), bl = b - bh;
  const double product = a * b;
  *error = (((ah * bh - product) + ah * bl) + al * bh) + al * bl;
  return product;
}

/// 2 sqrt(2/pi) (x + 0.044715 x^3) as an unevaluated sum.
INLINE void cubic_f64(double x, double *high, double *low) {
  double square_low, scaled_low, product_low;
  const double square = two_product_f64(x, x, &square_low);
  const double scaled = two_product_f64(CUBIC_3_F64, square, &scaled_low);
  scaled_low += CUBIC_3_F64 * square_low + CUBIC_3_LOW_F64 * square;
  // factor = CUBIC_1 + scaled; which of the two is larger depends on x (two-sum, Knuth).
  const double factor = CUBIC_1_F64 + scaled;
  const double part = factor - CUBIC_1_F64;
  const double factor_low =
      ((CUBIC_1_F64 - (factor - part)) + (scaled - part)) + (scaled_low + CUBIC_1_LOW_F64);
  *high = two_product_f64(x, factor, &product_low);
  *low = product_low + x * factor_low;
}
