// All kernels for one instruction-set level. The including file defines LEVEL (a name suffix) and
// has set the target of the functions that follow.

#include "coefficients.h"

#if WIDE_VECTORS
#define VECTOR LANES
#else
#define VECTOR (LANES / 2)
#endif

#include "real_f64.h"

#include "elementary.h"
#include "normal.h"
#include "maps.h"
#include "rows.h"
#include "sums.h"
#include "probit.h"

#include "real_undefine.h"

#include "real_f32.h"

#include "elementary.h"
#include "normal.h"
#include "maps.h"
#include "rows.h"
#include "sums.h"
#include "probit.h"

#include "real_undefine.h"

#include "half.h"
#include "layer_norm.h"

#define TABLE_ENTRY(result, name, parameters, arguments) JOIN(bllarse_##name, LEVEL),
const BllarseKernelTable JOIN(bllarse_kernels, LEVEL) = {BLLARSE_ALL_KERNELS(TABLE_ENTRY)};
