// Kernels for the architecture's baseline: SSE2 on x86-64, NEON on aarch64.

#include "prologue.h"

#define LEVEL baseline
#if defined(__aarch64__)
#define HAVE_FMA 1
#endif
#include "level.h"
