// The normal distribution for one element. Included once for each scalar type.
//
// With t = |a|, everything comes from d(t) = 1/E(t) - t, E(t) = (1 - Phi(t)) / phi(t), which
// coefficients.h has as a quotient C/N of polynomials with positive coefficients:
//
//   a < 0:   r = t + d,  h = d r,  log Phi = -t^2/2 - log sqrt(2 pi) - log r
//   a >= 0:  q = phi E = phi N / (t N + C),  r = phi / (1 - q),  h = r (r + a),  log Phi = log(1-q)
//
// so that nothing cancels on either side and one logarithm serves both.

/// sqrt(2 pi) phi(t) * 2^DENSITY_LIFT for 0 <= t <= DENSITY_END: times INV_SQRT_2PI_LOWERED it is
/// the density, rounded once where that is below the normal range.
INLINE REAL FN(lifted_density)(REAL t) {
  // t^2/2 must be known to an absolute error of an ulp of one, hence t^2 = high + low. Without a
  // fused multiply-add, from the first half of t's digits, whose square is exact.
#if HAVE_FMA
  const REAL high = t * t;
  const REAL low = REAL_FMA(t, t, -high);
  const REAL square = high;
#else
  const REAL head = FN(real)(FN(bits)(t) & (UINT)SPLIT_MASK);
  const REAL high = head * head;
  const REAL low = (t - head) * (t + head);
  const REAL square = high + low;
#endif
  const REAL shifted = square * (REAL)(-0.5 * LOG2_E_F64) + (REAL)ROUND_MAGIC;
  const REAL n = shifted - (REAL)ROUND_MAGIC;
  const REAL r = (((REAL)-0.5 * high - n * (REAL)LN2_HIGH) - n * (REAL)LN2_LOW) - (REAL)0.5 * low;
  const UINT field =
      FN(bits)(shifted) - ((UINT)ROUND_MAGIC_BITS - (EXPONENT_BIAS + DENSITY_LIFT));
  const REAL scale = FN(real)(field << SIGNIFICAND_BITS);
  return ((REAL)1 + (r + (r * r) * FN(exp_tail)(r))) * scale;
}

typedef struct {
  REAL ratio, curvature;
  REAL seed;  // what the logarithm starts from: r on the left, -q on the right
} FN(ProbitTerms);

/// r(a), h(a) and the start of log Phi(a). What the caller does not use costs nothing.
INLINE FN(ProbitTerms) FN(probit_terms)(REAL a) {
  const REAL t = REAL_ABS(a);
  const int negative = a < 0;
  const REAL tm = t > (REAL)MILLS_END ? (REAL)MILLS_END : t;
  const REAL td = t > (REAL)DENSITY_END ? (REAL)DENSITY_END : t;

  const REAL N = FN(mills_denominator)(tm);
  const REAL C = FN(mills_numerator)(tm);
  const REAL quotient = (negative ? C : N) / (negative ? N : tm * N + C);  // d, or E

  const REAL lifted = FN(lifted_density)(td);
  const REAL phi = lifted * INV_SQRT_2PI_LOWERED;
  const REAL q = (lifted * quotient) * INV_SQRT_2PI_LOWERED;

  FN(ProbitTerms) terms;
  const REAL left = t + quotient;
  terms.ratio = negative ? left : phi / ((REAL)1 - q);
  terms.curvature =
      (negative ? quotient : terms.ratio) * (negative ? tm + quotient : terms.ratio + tm);
  terms.seed = negative ? left : -q;
  return terms;
}

/// log Phi(a) from the seed of its terms.
INLINE REAL FN(log_cdf_from_seed)(REAL a, REAL seed) {
  const int negative = a < 0;
  const REAL u = negative ? seed : (REAL)1 + seed;
  // On the right the correction is what 1 - q lost.
  const REAL log_u = FN(log_sum)(u, negative ? (REAL)0 : seed - (u - (REAL)1));
  const REAL left = -((REAL)0.5 * a * a + ((REAL)LOG_SQRT_2PI + log_u));
  return negative ? left : log_u;
}

/// Phi(-t) for t >= 0, times `factor`, which may be of size t.
INLINE REAL FN(upper_tail)(REAL t, REAL factor) {
  const REAL td = t > (REAL)DENSITY_END ? (REAL)DENSITY_END : t;
  const REAL N = FN(mills_denominator)(td);
  const REAL C = FN(mills_numerator)(td);
  return (FN(lifted_density)(td) * (N / (td * N + C) * factor)) * INV_SQRT_2PI_LOWERED;
}

INLINE REAL FN(normal_cdf)(REAL x) {
  const REAL q = FN(upper_tail)(REAL_ABS(x), (REAL)1);
  return x < 0 ? q : (REAL)1 - q;
}

/// x Phi(x) = x - x q on the right, -t q on the left, with t = |x|.
INLINE REAL FN(gelu)(REAL x) {
  const REAL t = REAL_ABS(x);
  const REAL bounded = t > (REAL)DENSITY_END ? (REAL)DENSITY_END : t;
  const REAL tq = FN(upper_tail)(t, bounded);
  return x < 0 ? -tq : x - tq;
}

INLINE REAL FN(log_normal_cdf)(REAL x) {
  return FN(log_cdf_from_seed)(x, FN(probit_terms)(x).seed);
}

INLINE REAL FN(inverse_mills_ratio)(REAL x) { return FN(probit_terms)(x).ratio; }
INLINE REAL FN(probit_curvature)(REAL x) { return FN(probit_terms)(x).curvature; }

/// log Phi(-t) and log Phi(t), t = |x|, share everything but their logarithms.
INLINE void FN(log_normal_cdf_both)(REAL x, REAL *lower, REAL *upper) {
  const REAL t = REAL_ABS(x);
  const REAL tm = t > (REAL)MILLS_END ? (REAL)MILLS_END : t;
  const REAL td = t > (REAL)DENSITY_END ? (REAL)DENSITY_END : t;
  const REAL N = FN(mills_denominator)(tm);
  const REAL C = FN(mills_numerator)(tm);
  const REAL q = (FN(lifted_density)(td) * (N / (tm * N + C))) * INV_SQRT_2PI_LOWERED;
  const REAL right = FN(log1p_unit)(-q);
  const REAL log_r = FN(log_sum)(t + C / N, (REAL)0);
  const REAL left = -((REAL)0.5 * t * t + ((REAL)LOG_SQRT_2PI + log_r));
  *lower = x < 0 ? left : right;
  *upper = x < 0 ? right : left;
}

// MARK: The approximation sigmoid(z), z = 2 sqrt(2/pi) (x + 0.044715 x^3)

/// e^-|z|, with z to more digits than REAL has.
INLINE REAL FN(exp_minus_cubic)(REAL x) {
  const REAL t = REAL_ABS(x);
  REAL high, low;
  FN(cubic)(t > (REAL)CUBIC_END ? (REAL)CUBIC_END : t, &high, &low);
  // Below EXP_LOWEST the result is 0 whatever the digits.
  const int beyond = high > -(REAL)EXP_LOWEST;
  return FN(exp_sum)(beyond ? (REAL)EXP_LOWEST : -high, beyond ? (REAL)0 : -low);
}

INLINE REAL FN(approximate_normal_cdf)(REAL x) {
  const REAL e = FN(exp_minus_cubic)(x);
  return (x < 0 ? e : (REAL)1) / ((REAL)1 + e);
}

INLINE void FN(log_approximate_normal_cdf_both)(REAL x, REAL *lower, REAL *upper) {
  const REAL t = REAL_ABS(x);
  const REAL right = -FN(log1p_unit)(FN(exp_minus_cubic)(x));
  const REAL z = t * ((REAL)CUBIC_1_F64 + (REAL)CUBIC_3_F64 * (t * t));
  const REAL left = right - z;
  *lower = x < 0 ? left : right;
  *upper = x < 0 ? right : left;
}
