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

/// log(u + correction) for a positive normal u and a correction below half its last place, added
/// as it is: where u is far from 1 the factor 1/u it misses changes nothing that the result holds.
/// A NaN must be in `correction`.
INLINE REAL FN(log_sum)(REAL u, REAL correction) {
  REAL k;
  const REAL f = FN(significand_excess)(u, &k);
  return ((FN(log1p_remainder)(f) + correction) + f) + k * LN2;
}

INLINE REAL FN(log)(REAL x) {
  const int small = x < (REAL)SMALLEST_NORMAL;
  const REAL lift = (REAL)((UINT)1 << SIGNIFICAND_BITS);
  const REAL normal = small ? x * lift : x;
  const REAL lifted = small ? (REAL)SIGNIFICAND_BITS * LN2 : (REAL)0;
  const REAL value = FN(log_sum)(normal, (REAL)0) - lifted;
  REAL result = x < REAL_INFINITY ? value : x;
  result = x == (REAL)0 ? -REAL_INFINITY : result;
  return x < (REAL)0 ? REAL_NAN : result;
}

/// log(1 + x) for x > -1, finite.
INLINE REAL FN(log1p_core)(REAL x) {
  const REAL u = (REAL)1 + x;
  const REAL larger = x > (REAL)1 ? x : (REAL)1;
  const REAL smaller = x > (REAL)1 ? (REAL)1 : x;
  return FN(log_sum)(u, (smaller - (u - larger)) / u);
}

INLINE REAL FN(log1p)(REAL x) {
  const REAL finite = x > (REAL)1e30 ? (REAL)1 : x;
  REAL result = FN(log1p_core)(finite);
  // 1 is below half a unit in the last place here.
  result = x > (REAL)1e30 ? FN(log)(x) : result;
  result = x == (REAL)-1 ? -REAL_INFINITY : result;
  return x < (REAL)-1 ? REAL_NAN : result;
}

/// log(1 + e) for |e| <= 1 well above -1, or NaN.
INLINE REAL FN(log1p_unit)(REAL e) {
  const REAL u = (REAL)1 + e;
  return FN(log_sum)(u, e - (u - (REAL)1));
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
