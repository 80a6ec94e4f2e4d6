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
// phi(t) rounds to 0 here; 1/E(t) - t rounds to 1/t, and t + 1/t to t, well before there.
#define DENSITY_END 16.0f
#define MILLS_END 1.0e5f
#define CUBIC_END 20.0f

#define LN2_HIGH LN2_HIGH_F32
#define LN2_LOW LN2_LOW_F32
#define LOG2_E LOG2_E_F32
#define LOG_SQRT_2PI LOG_SQRT_2PI_F32
#define INV_SQRT_2PI INV_SQRT_2PI_F32

#define REAL_INFINITY __builtin_inff()
#define REAL_NAN __builtin_nanf("")
#define REAL_ABS __builtin_fabsf

// Elements that the array loops handle at a time: one AVX-512 vector.
#define LANES 16

INLINE uint32_t bits_f32(float x) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  return bits;
}

INLINE float real_f32(uint32_t bits) {
  float x;
  memcpy(&x, &bits, sizeof x);
  return x;
}

/// The exponent field of a positive number as a float.
INLINE float exponent_value_f32(uint32_t field) { return (float)((int32_t)field - 127); }

/// log(1+f), without the term in log 2, split as f + (result).
INLINE float log1p_remainder_f32(float f) {
  const float square = f * f;
  return (square * f) * log_tail_f32(f) - 0.5f * square;
}

/// 2 sqrt(2/pi) (x + 0.044715 x^3) as an unevaluated sum: its exponential needs more digits than
/// a float of its size has.
INLINE void cubic_f32(float x, float *high, float *low) {
  const double wide = x;
  const double z = wide * (CUBIC_1_F64 + CUBIC_3_F64 * (wide * wide));
  *high = (float)z;
  *low = (float)(z - (double)*high);
}
