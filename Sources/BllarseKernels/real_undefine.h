// Ends what real_f32.h or real_f64.h began.

#undef REAL
#undef T
#undef UINT
#undef INT
#undef SIGNIFICAND_BITS
#undef EXPONENT_BIAS
#undef SQRT_HALF_BITS
#undef SPLIT_MASK
#undef ROUND_MAGIC
#undef ROUND_MAGIC_BITS
#undef SMALLEST_NORMAL
#undef EXP_LOWEST
#undef EXP_HIGHEST
#undef DENSITY_END
#undef MILLS_END
#undef CUBIC_END
#undef LN2_HIGH
#undef LN2_LOW
#undef LOG2_E
#undef LOG_SQRT_2PI
#undef INV_SQRT_2PI
#undef REAL_INFINITY
#undef REAL_NAN
#undef REAL_ABS
#undef LANES
