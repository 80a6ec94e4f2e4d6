#include "BllarseKernels.h"
