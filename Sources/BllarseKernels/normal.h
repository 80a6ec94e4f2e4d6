// The normal distribution for one element. Included once for each scalar type.
//
// With t = |a|, everything comes from d(t) = 1/E(t) - t, E(t) = (1 - Phi(t)) / phi(t), which
// coefficients.h has as a quotient C/N of polynomials with positive coefficients:
//
//   a < 0:   r = t + d,  h = d r,  log Phi = -t^2/2 - log sqrt(2 pi) - log r
//   a >= 0:  q = phi E = phi N / (t N + C),  r = phi / (1 - q),  h = r (r + a),  log Phi = log(1-q)
//
// so that nothing cancels on either side and one logarithm serves both.

/// phi(t) = value * scale1 * scale2 for 0 <= t <= DENSITY_END.
INLINE REAL FN(density_scaled)(REAL t, REAL *scale1, REAL *scale2) {
  // t^2/2 must be known to an absolute error of an ulp of one: head^2 is exact, head having half
  // the digits, and t^2 = head^2 + (t - head)(t + head).
  const REAL head = FN(real)(FN(bits)(t) & (UINT)SPLIT_MASK);
  const REAL high = (REAL)-0.5 * (head * head);
  const REAL low = (REAL)-0.5 * ((t - head) * (t + head));
  return INV_SQRT_2PI * FN(exp_scaled)(high, low, scale1, scale2);
}

typedef struct {
  REAL log_cdf, ratio, curvature;
} FN(ProbitTerms);

/// log Phi(a), r(a) and h(a). What the caller does not use costs nothing.
INLINE FN(ProbitTerms) FN(probit_terms)(REAL a) {
  const REAL t = REAL_ABS(a);
  const int negative = a < 0;
  const REAL tm = t > (REAL)MILLS_END ? (REAL)MILLS_END : t;
  const REAL td = t > (REAL)DENSITY_END ? (REAL)DENSITY_END : t;

  const REAL N = FN(mills_denominator)(tm);
  const REAL C = FN(mills_numerator)(tm);
  const REAL quotient = (negative ? C : N) / (negative ? N : tm * N + C);  // d, or E

  REAL scale1, scale2;
  const REAL density = FN(density_scaled)(td, &scale1, &scale2);
  const REAL q = ((density * quotient) * scale1) * scale2;
  const REAL phi = (density * scale1) * scale2;

  FN(ProbitTerms) terms;
  const REAL u = negative ? t + quotient : (REAL)1 - q;
  terms.ratio = negative ? u : phi / u;
  terms.curvature =
      (negative ? quotient : terms.ratio) * (negative ? tm + quotient : terms.ratio + tm);
  const REAL log_u = FN(log_offset)(u, !negative, -q);
  const REAL left = -((REAL)0.5 * t * t + ((REAL)LOG_SQRT_2PI + log_u));
  terms.log_cdf = negative ? left : log_u;
  return terms;
}

/// Phi(-t) for t >= 0, times `factor`, which may be of size t.
INLINE REAL FN(upper_tail)(REAL t, REAL factor) {
  const REAL td = t > (REAL)DENSITY_END ? (REAL)DENSITY_END : t;
  const REAL N = FN(mills_denominator)(td);
  const REAL C = FN(mills_numerator)(td);
  REAL scale1, scale2;
  const REAL density = FN(density_scaled)(td, &scale1, &scale2);
  return ((density * (N / (td * N + C)) * factor) * scale1) * scale2;
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

INLINE REAL FN(log_normal_cdf)(REAL x) { return FN(probit_terms)(x).log_cdf; }
INLINE REAL FN(inverse_mills_ratio)(REAL x) { return FN(probit_terms)(x).ratio; }
INLINE REAL FN(probit_curvature)(REAL x) { return FN(probit_terms)(x).curvature; }

/// log Phi(-t) and log Phi(t), t = |x|, share everything but their logarithms.
INLINE void FN(log_normal_cdf_both)(REAL x, REAL *lower, REAL *upper) {
  const REAL t = REAL_ABS(x);
  const REAL tm = t > (REAL)MILLS_END ? (REAL)MILLS_END : t;
  const REAL td = t > (REAL)DENSITY_END ? (REAL)DENSITY_END : t;
  const REAL N = FN(mills_denominator)(tm);
  const REAL C = FN(mills_numerator)(tm);
  REAL scale1, scale2;
  const REAL density = FN(density_scaled)(td, &scale1, &scale2);
  const REAL q = ((density * (N / (tm * N + C))) * scale1) * scale2;
  const REAL right = FN(log_offset)((REAL)1 - q, 1, -q);
  const REAL log_r = FN(log_offset)(t + C / N, 0, (REAL)0);
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
