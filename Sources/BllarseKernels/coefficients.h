// Written by Scripts/special/coefficients.py; do not edit.
// Minimax (Remez) fits of our own; see the script for what is fitted and how.

#define LN2_F32 6.931472e-01f
#define LN2_HIGH_F32 6.9314575e-01f
#define LN2_LOW_F32 1.4286068e-06f
#define LOG2_E_F32 1.442695e+00f
#define LOG_SQRT_2PI_F32 9.189385e-01f
#define INV_SQRT_2PI_F32 3.989423e-01f

/// (e^r - 1 - r) / r^2; e^r to 3.1e-9.
INLINE float exp_tail_f32(float r) {
  float value = 1.3814582e-03f;
  value = value * r + 8.368717e-03f;
  value = value * r + 4.166839e-02f;
  value = value * r + 1.6666521e-01f;
  value = value * r + 4.9999994e-01f;
  return value;
}

/// (log(1+f) - f + f^2/2) / f^3; log(1+f) to 3.1e-8.
INLINE float log_tail_f32(float f) {
  float value = 8.700471e-02f;
  value = value * f + -1.426748e-01f;
  value = value * f + 1.4914756e-01f;
  value = value * f + -1.6577585e-01f;
  value = value * f + 1.9963065e-01f;
  value = value * f + -2.5001338e-01f;
  value = value * f + 3.333391e-01f;
  return value;
}

/// C of 1/E(t) - t = C/N, t >= 0, to 8.1e-8.
INLINE float mills_numerator_f32(float t) {
  float value = 1.0000001e+00f;
  value = value * t + 9.960014e+00f;
  value = value * t + 4.8609886e+01f;
  value = value * t + 1.3171767e+02f;
  value = value * t + 1.7640108e+02f;
  return value;
}

/// N of 1/E(t) - t = C/N.
INLINE float mills_denominator_f32(float t) {
  float value = 1.0e+00f;
  value = value * t + 9.960058e+00f;
  value = value * t + 5.060622e+01f;
  value = value * t + 1.5175317e+02f;
  value = value * t + 2.6577356e+02f;
  value = value * t + 2.2108594e+02f;
  return value;
}

#define LN2_F64 0.6931471805599453
#define LN2_HIGH_F64 0.693147180559663
#define LN2_LOW_F64 2.8235290563031577e-13
#define LOG2_E_F64 1.4426950408889634
#define LOG_SQRT_2PI_F64 0.9189385332046728
#define INV_SQRT_2PI_F64 0.3989422804014327
#define CUBIC_1_F64 1.5957691216057308
#define CUBIC_1_LOW_F64 -9.96930880911092e-17
#define CUBIC_3_F64 0.07135481627260025
#define CUBIC_3_LOW_F64 -6.175149918155315e-19

/// (e^r - 1 - r) / r^2; e^r to 3.6e-18.
INLINE double exp_tail_f64(double r) {
  double value = 2.500014045134761e-08;
  value = value * r + 2.7630247234896177e-07;
  value = value * r + 2.755758611525158e-06;
  value = value * r + 2.4801493101844786e-05;
  value = value * r + 0.0001984126950687706;
  value = value * r + 0.001388888894362763;
  value = value * r + 0.00833333333349432;
  value = value * r + 0.04166666666653017;
  value = value * r + 0.16666666666666413;
  value = value * r + 0.5000000000000011;
  return value;
}

/// (log((1+s)/(1-s)) - 2s) / s^3 in z = s^2; the logarithm to 1.2e-18.
INLINE double log_tail_f64(double z) {
  double value = 0.14795471422827797;
  value = value * z + 0.15314099216050656;
  value = value * z + 0.18183562389276287;
  value = value * z + 0.22222198611129157;
  value = value * z + 0.2857142874201139;
  value = value * z + 0.39999999999416397;
  value = value * z + 0.6666666666666734;
  return value;
}

/// C of 1/E(t) - t = C/N, t >= 0, to 2.8e-17.
INLINE double mills_numerator_f64(double t) {
  double value = 1.0;
  value = value * t + 30.8214157252024;
  value = value * t + 476.9552833664618;
  value = value * t + 4794.314053059465;
  value = value * t + 34354.118983038934;
  value = value * t + 182537.61054809336;
  value = value * t + 727498.7767859653;
  value = value * t + 2151559.78993466;
  value = value * t + 4543709.5774205085;
  value = value * t + 6252288.468802012;
  value = value * t + 4343152.65390308;
  return value;
}

/// N of 1/E(t) - t = C/N.
INLINE double mills_denominator_f64(double t) {
  double value = 1.0;
  value = value * t + 30.8214157252025;
  value = value * t + 478.9552833664053;
  value = value * t + 4855.956884522234;
  value = value * t + 35302.02954836546;
  value = value * t + 191941.31025665553;
  value = value * t + 793387.2786247635;
  value = value * t + 2489163.769574428;
  value = value * t + 5812197.096085353;
  value = value * t + 9648846.83801916;
  value = value * t + 10315137.110081656;
  value = value * t + 5443334.621656065;
  return value;
}

