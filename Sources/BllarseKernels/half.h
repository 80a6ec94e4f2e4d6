// IEEE binary16 <-> float. Included once for each level.

/// Exact: shifted into a float's fields, a half is 2^112 times too small, subnormals included.
INLINE float JOIN(half_to_float, LEVEL)(uint16_t half) {
  const uint32_t magnitude = (uint32_t)(half & 0x7fffu) << 13;
  const float scaled = real_f32(magnitude) * 0x1p112f;
  const uint32_t special = magnitude | 0x7f800000u;
  const uint32_t quiet = special | (magnitude > 0x0f800000u ? 0x00400000u : 0u);
  const uint32_t bits = magnitude >= 0x0f800000u ? quiet : bits_f32(scaled);
  return real_f32(bits | (uint32_t)(half & 0x8000u) << 16);
}

/// Nearest, ties to even.
INLINE uint16_t JOIN(half_of_float, LEVEL)(float x) {
  const uint32_t bits = bits_f32(x);
  const uint32_t magnitude = bits & 0x7fffffffu;
  const uint32_t sign = (bits >> 16) & 0x8000u;
  // Below 2^-14 the half is subnormal with spacing 2^-24, the spacing of floats at 0.5: the
  // addition rounds.
  const uint32_t subnormal = bits_f32(real_f32(magnitude) + 0.5f) - 0x3f000000u;
  const uint32_t normal = (magnitude + 0xfffu + ((magnitude >> 13) & 1u) - 0x38000000u) >> 13;
  uint32_t half = magnitude < 0x38800000u ? subnormal : normal;
  half = magnitude >= 0x477ff000u ? 0x7c00u : half;
  half = magnitude > 0x7f800000u ? 0x7e00u | ((magnitude >> 13) & 0x3ffu) : half;
  return (uint16_t)(half | sign);
}

void JOIN(bllarse_float_from_half, LEVEL)(ptrdiff_t n, const uint16_t *x, float *y) {
  ptrdiff_t i = 0;
#if HAVE_F16C
  for (; i + 8 <= n; i += 8) {
    _mm256_storeu_ps(y + i, _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(x + i))));
  }
#endif
  for (; i < n; i++) y[i] = JOIN(half_to_float, LEVEL)(x[i]);
}

void JOIN(bllarse_half_from_float, LEVEL)(ptrdiff_t n, const float *x, uint16_t *y) {
  ptrdiff_t i = 0;
#if HAVE_F16C
  for (; i + 8 <= n; i += 8) {
    _mm_storeu_si128((__m128i *)(y + i),
                     _mm256_cvtps_ph(_mm256_loadu_ps(x + i), _MM_FROUND_TO_NEAREST_INT));
  }
#endif
  for (; i < n; i++) y[i] = JOIN(half_of_float, LEVEL)(x[i]);
}
