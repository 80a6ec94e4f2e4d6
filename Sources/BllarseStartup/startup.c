// What has to be the case before an executable's libraries are initialised. Linked into executables only:
// a program that imports the package's libraries keeps its own ways.

#if defined(__linux__)
#define _GNU_SOURCE
#endif

#include "BllarseStartup.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

// OpenBLAS starts a thread for every processor while it is loaded, before any line of ours. Each thread
// retries an allocation of 128 MiB until it succeeds, so that under a limit of the address space the
// program neither starts nor ends. The number comes from this function of OpenBLAS's own, which reads
// OPENBLAS_NUM_THREADS; a definition in the executable comes first. The package starts the other threads
// itself, when it knows how many there are to be and that their memory can be had (BLASThreads).
//
// Weak, so that a static OpenBLAS that brings its own links without a conflict.
__attribute__((weak, visibility("default"))) int openblas_num_threads_env(void);
int openblas_num_threads_env(void) { return 1; }

// Where OpenBLAS chooses its kernels, and what it has chosen; not there where it has been built for one processor.
__attribute__((weak)) void gotoblas_dynamic_init(void);
__attribute__((weak)) void gotoblas_dynamic_quit(void);
__attribute__((weak)) char *openblas_get_corename(void);

void bllarse_choose_blas_kernels(void) {
#if defined(__x86_64__)
  static const char variable[] = "OPENBLAS_CORETYPE";
  if (!gotoblas_dynamic_init || !gotoblas_dynamic_quit || !openblas_get_corename) return;
  if (getenv(variable) || strcmp(openblas_get_corename(), "Prescott") != 0) return;
  const char *core = NULL;
  if (__builtin_cpu_supports("x86-64-v4")) core = "SKYLAKEX";
  else if (__builtin_cpu_supports("x86-64-v3")) core = "HASWELL";
  if (!core || setenv(variable, core, 1) != 0) return;
  gotoblas_dynamic_quit();
  gotoblas_dynamic_init();
  // Programs that are started from here may have another OpenBLAS, or run elsewhere.
  unsetenv(variable);
#endif
}

static const char *program_name = "bllarse";
static const int fatal_signals[] = {SIGILL, SIGTRAP, SIGABRT};
static struct sigaction earlier[3];

static void append(char *line, size_t size, const char *text) {
  size_t used = strlen(line);
  while (*text && used + 1 < size) line[used++] = *text++;
  line[used] = 0;
}

static void append_mebibytes(char *line, size_t size, unsigned long long bytes) {
  char digits[24];
  int place = sizeof digits;
  unsigned long long value = bytes >> 20;
  digits[--place] = 0;
  do digits[--place] = (char)('0' + value % 10);
  while (value /= 10);
  append(line, size, digits + place);
  append(line, size, " MiB");
}

// Only what may be called in a signal handler.
static void explain(int number, siginfo_t *info, void *context) {
  // malloc says so, and the runtimes trap right after it.
  if (errno == ENOMEM) {
    char line[400] = "";
    append(line, sizeof line, program_name);
    append(line, sizeof line, ": error: out of memory: an allocation failed");
    struct rlimit limit;
    if (getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY) {
      append(line, sizeof line, "; the address space is limited to ");
      append_mebibytes(line, sizeof line, limit.rlim_cur);
      append(line, sizeof line, " (ulimit -v)");
    }
    if (getrlimit(RLIMIT_DATA, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY) {
      append(line, sizeof line, "; data are limited to ");
      append_mebibytes(line, sizeof line, limit.rlim_cur);
      append(line, sizeof line, " (ulimit -d)");
    }
    append(line, sizeof line, "; raise the limit, or ask for less at once\n");
    ssize_t written = write(STDERR_FILENO, line, strlen(line));
    (void)written;
    _exit(1);
  }
  for (size_t i = 0; i < sizeof fatal_signals / sizeof *fatal_signals; i++) {
    if (fatal_signals[i] == number) sigaction(number, &earlier[i], NULL);
  }
  // The instruction or abort() itself comes again, now with its usual effect.
  if (number == SIGTRAP) raise(number);
  (void)info;
  (void)context;
}

void bllarse_report_exhausted_memory(const char *program) {
  program_name = program;
  struct sigaction action;
  memset(&action, 0, sizeof action);
  action.sa_sigaction = explain;
  action.sa_flags = SA_SIGINFO | SA_NODEFER;
  sigemptyset(&action.sa_mask);
  for (size_t i = 0; i < sizeof fatal_signals / sizeof *fatal_signals; i++) {
    sigaction(fatal_signals[i], &action, &earlier[i]);
  }
}
