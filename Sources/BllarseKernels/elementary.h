// exp, log and what is made of them, for one element, without branches, so that loops over them
// become vector code. Included once for each scalar type.

/// e^(high+low) as an unevaluated product value * scale1 * scale2; |low| is small beside 1 or
/// beside |high|. The last product alone rounds below the normal range: gradual underflow.
INLINE REAL FN(exp_scaled)(REAL high, REAL low, REAL *scale1, REAL *scale2) {
  // Adding 1.5 * 2^SIGNIFICAND_BITS leaves the nearest integer in the low bits of the sum.
  const REAL shifted = (high + low) * (REAL)LOG2_E + (REAL)ROUND_MAGIC;
  const REAL n = shifted - (REAL)ROUND_MAGIC;
  const REAL r = ((high - n * (REAL)LN2_HIGH) - n * (REAL)LN2_LOW) + low;
  const UINT field = FN(bits)(shifted) - (UINT)ROUND_MAGIC_BITS + 2 * EXPONENT_BIAS;
  const UINT half = field >> 1;
  *scale1 = FN(real)(half << SIGNIFICAND_BITS);
  *scale2 = FN(real)((field - half) << SIGNIFICAND_BITS);
  return (REAL)1 + (r + (r * r) * FN(exp_tail)(r));
}

INLINE REAL FN(exp_sum)(REAL high, REAL low) {
  REAL scale1, scale2;
  const REAL value = FN(exp_scaled)(high, low, &scale1, &scale2);
  return (value * scale1) * scale2;
}

INLINE REAL FN(exp)(REAL x) {
  REAL clamped = x < (REAL)EXP_LOWEST ? (REAL)EXP_LOWEST : x;
  clamped = clamped > (REAL)EXP_HIGHEST ? (REAL)EXP_HIGHEST : clamped;
  return FN(exp_sum)(clamped, (REAL)0);
}

/// log u for a positive normal u. Where `known` and u is above sqrt(1/2), log(1 + offset) is
/// returned instead, for callers that know u - 1 to more digits than u holds. A NaN must be in
/// `offset` with `known` true.
INLINE REAL FN(log_offset)(REAL u, int known, REAL offset) {
  const UINT one = (UINT)EXPONENT_BIAS << SIGNIFICAND_BITS;
  const UINT moved = FN(bits)(u) + (one - (UINT)SQRT_HALF_BITS);
  const UINT mask = ((UINT)1 << SIGNIFICAND_BITS) - 1;
  const REAL k = FN(exponent_value)(moved >> SIGNIFICAND_BITS);
  const REAL m = FN(real)((moved & mask) + (UINT)SQRT_HALF_BITS);
  // Negated comparisons, so that NaN takes the offset.
  const REAL low = FN(real)((UINT)SQRT_HALF_BITS);
  const int use = known & !(u <= low) & !(u >= 2 * low);
  const REAL f = use ? offset : m - (REAL)1;
  const REAL power = use ? (REAL)0 : k;
  const REAL rest = FN(log1p_remainder)(f) + power * (REAL)LN2_LOW;
  return (rest + f) + power * (REAL)LN2_HIGH;
}

INLINE REAL FN(log)(REAL x) {
  const int small = x < (REAL)SMALLEST_NORMAL;
  const REAL lift = (REAL)((UINT)1 << SIGNIFICAND_BITS);
  const REAL normal = small ? x * lift : x;
  const REAL value = FN(log_offset)(normal, 0, (REAL)0) -
                     (small ? (REAL)SIGNIFICAND_BITS * (REAL)LN2_HIGH : (REAL)0) -
                     (small ? (REAL)SIGNIFICAND_BITS * (REAL)LN2_LOW : (REAL)0);
  REAL result = x < REAL_INFINITY ? value : x;
  result = x == (REAL)0 ? -REAL_INFINITY : result;
  return x < (REAL)0 ? REAL_NAN : result;
}

/// log(1 + x) for x > -1, finite.
INLINE REAL FN(log1p_core)(REAL x) {
  const REAL u = (REAL)1 + x;
  const REAL larger = x > (REAL)1 ? x : (REAL)1;
  const REAL smaller = x > (REAL)1 ? (REAL)1 : x;
  const REAL lost = smaller - (u - larger);  // by rounding u
  const int near_one = REAL_ABS(x) < (REAL)0.25;
  return FN(log_offset)(u, near_one, x) + (near_one ? (REAL)0 : lost / u);
}

INLINE REAL FN(log1p)(REAL x) {
  const REAL finite = x > (REAL)1e30 ? (REAL)1 : x;
  REAL result = FN(log1p_core)(finite);
  // 1 is below half a unit in the last place here.
  result = x > (REAL)1e30 ? FN(log)(x) : result;
  result = x == (REAL)-1 ? -REAL_INFINITY : result;
  return x < (REAL)-1 ? REAL_NAN : result;
}

/// log(1 + e) for 0 <= e <= 1 (or NaN): for e >= 0.5, f = (e - 1)/2 and k = 1 are nearly exact.
INLINE REAL FN(log1p_unit)(REAL e) {
  return FN(log_offset)((REAL)1 + e, 1, e);
}

INLINE REAL FN(softplus)(REAL x) {
  const REAL magnitude = REAL_ABS(x);
  const REAL e = FN(exp)(-magnitude);
  return (x > 0 ? x : (REAL)0) + FN(log1p_unit)(e);
}

INLINE REAL FN(sigmoid)(REAL x) {
  const REAL e = FN(exp)(-REAL_ABS(x));
  return (x < 0 ? e : (REAL)1) / ((REAL)1 + e);
}
