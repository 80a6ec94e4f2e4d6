// float

#define REAL float
#define T f32
#define UINT uint32_t
#define INT int32_t

#define SIGNIFICAND_BITS 23
#define EXPONENT_BIAS 127
#define SQRT_HALF_BITS 0x3f3504f3u
#define SPLIT_MASK 0xfffff000u
#define ROUND_MAGIC 12582912.0f
#define ROUND_MAGIC_BITS 0x4b400000u
#define SMALLEST_NORMAL 1.17549435e-38f

// Beyond these, exp is 0 (by rounding of the result) or infinite.
#define EXP_LOWEST -110.0f
#define EXP_HIGHEST 90.0f
// A power of two that lifts phi(DENSITY_END) into the normal range.
#define DENSITY_LIFT 64
// phi(t) rounds to 0 here; 1/E(t) - t rounds to 1/t, and t + 1/t to t, well before there.
#define DENSITY_END 16.0f
#define MILLS_END 1.0e5f
#define CUBIC_END 20.0f

#define LN2_HIGH LN2_HIGH_F32
#define LN2_LOW LN2_LOW_F32
#define LN2 LN2_F32
#define LOG2_E LOG2_E_F32
#define LOG_SQRT_2PI LOG_SQRT_2PI_F32
#define INV_SQRT_2PI_LOWERED (INV_SQRT_2PI_F32 * 0x1p-64f)

#define REAL_INFINITY __builtin_inff()
#define REAL_NAN __builtin_nanf("")
#define REAL_ABS __builtin_fabsf
#define REAL_FMA __builtin_fmaf

// Elements that the array loops handle at a time: one AVX-512 vector.
#define LANES 16

INLINE uint32_t bits_f32(float x) {
  uint32_t bits;
  __builtin_memcpy(&bits, &x, sizeof bits);
  return bits;
}

INLINE float real_f32(uint32_t bits) {
  float x;
  __builtin_memcpy(&x, &bits, sizeof x);
  return x;
}

/// u = 2^k (1 + f) with sqrt(1/2) <= 1 + f < sqrt(2); returns f.
INLINE float significand_excess_f32(float u, float *k) {
  const int32_t exponent = ((int32_t)bits_f32(u) - (int32_t)SQRT_HALF_BITS) >> 23;
  *k = (float)exponent;
  return real_f32(bits_f32(u) - ((uint32_t)exponent << 23)) - 1.0f;
}

/// log(1+f) - f.
INLINE float log1p_remainder_f32(float f) {
  return (f * f) * (f * log_tail_f32(f) - 0.5f);
}

/// 2 sqrt(2/pi) (x + 0.044715 x^3) as an unevaluated sum: its exponential needs more digits than
/// a float of its size has.
INLINE void cubic_f32(float x, float *high, float *low) {
  const double wide = x;
  const double z = wide * (CUBIC_1_F64 + CUBIC_3_F64 * (wide * wide));
  *high = (float)z;
  *low = (float)(z - (double)*high);
}
