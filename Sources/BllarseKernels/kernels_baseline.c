// Kernels for the architecture's baseline: SSE2 on x86-64, NEON on aarch64.

#include "prologue.h"

#define LEVEL baseline
#include "level.h"
