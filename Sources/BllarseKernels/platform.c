#if defined(__linux__)
#define _GNU_SOURCE
#include <sched.h>
#endif

#include "BllarsePlatform.h"

int bllarse_allowed_processor_count(void) {
#if defined(__linux__)
  cpu_set_t mask;
  if (sched_getaffinity(0, sizeof mask, &mask) == 0) {
    int count = CPU_COUNT(&mask);
    if (count > 0) return count;
  }
#endif
  return 1;
}
