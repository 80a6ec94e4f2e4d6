#if defined(__linux__)
#define _GNU_SOURCE
#include <sched.h>
#endif

#include "BllarsePlatform.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

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

// MARK: - What can be had

static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;

static void *wait_at_gate(void *unused) {
  (void)unused;
  pthread_mutex_lock(&gate);
  pthread_mutex_unlock(&gate);
  return NULL;
}

// Maps so many blocks, one by one, as they will be asked for: one block of their sum is refused sooner.
static int map_blocks(void **blocks, int count, size_t bytes) {
  for (int i = 0; i < count; i++) {
    blocks[i] = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (blocks[i] == MAP_FAILED) return i;
  }
  return count;
}

static void unmap_blocks(void **blocks, int count, size_t bytes) {
  for (int i = 0; i < count; i++) munmap(blocks[i], bytes);
}

int bllarse_can_have(int thread_count, int block_count, size_t block_bytes) {
  pthread_t *threads = calloc((size_t)thread_count + 1, sizeof *threads);
  void **blocks = calloc((size_t)block_count + 1, sizeof *blocks);
  void **stacks = calloc((size_t)thread_count + 1, sizeof *stacks);
  int can = 0;
  if (threads && blocks && stacks) {
    // Threads are tried on small stacks, as the C library keeps those that it has made, and full stacks
    // are tried as memory.
    pthread_attr_t attributes;
    size_t stack_bytes = 8 << 20;
    pthread_attr_init(&attributes);
    pthread_attr_getstacksize(&attributes, &stack_bytes);
    pthread_attr_setstacksize(&attributes, 1 << 20);
    int started = 0;
    // All of them are there at once, or they would not tell anything.
    pthread_mutex_lock(&gate);
    while (started < thread_count &&
           pthread_create(&threads[started], &attributes, wait_at_gate, NULL) == 0) {
      started++;
    }
    int has_stacks = map_blocks(stacks, thread_count, stack_bytes);
    int has_blocks = map_blocks(blocks, block_count, block_bytes);
    can = started == thread_count && has_stacks == thread_count && has_blocks == block_count;
    unmap_blocks(stacks, has_stacks, stack_bytes);
    unmap_blocks(blocks, has_blocks, block_bytes);
    pthread_mutex_unlock(&gate);
    for (int i = 0; i < started; i++) pthread_join(threads[i], NULL);
    pthread_attr_destroy(&attributes);
  }
  free(threads);
  free(blocks);
  free(stacks);
  // A failure was dealt with here, and must not be taken for the reason of a later one.
  errno = 0;
  return can;
}

// OpenBLAS's own; another library that is linked in its place has none, and needs none.
__attribute__((weak)) void *blas_memory_alloc(int);
__attribute__((weak)) void blas_memory_free(void *);

// Every build of it has places for 50 buffers at least.
enum { kept_buffers = 48 };

void bllarse_allocate_blas_buffers(int count) {
  if (!blas_memory_alloc || !blas_memory_free) return;
  void *buffers[kept_buffers];
  if (count > kept_buffers) count = kept_buffers;
  for (int i = 0; i < count; i++) buffers[i] = blas_memory_alloc(0);
  for (int i = 0; i < count; i++) blas_memory_free(buffers[i]);
}

// MARK: - What is allowed

long bllarse_read_file(const char *path, char *buffer, size_t size) {
  int file = open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0) return -1;
  size_t used = 0;
  while (used < size) {
    ssize_t count = read(file, buffer + used, size - used);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) break;
    used += (size_t)count;
  }
  close(file);
  return (long)used;
}

long long bllarse_memory_limit(int of_data) {
  struct rlimit limit;
  if (getrlimit(of_data ? RLIMIT_DATA : RLIMIT_AS, &limit) != 0) return -1;
  if (limit.rlim_cur == RLIM_INFINITY || limit.rlim_cur > (rlim_t)LLONG_MAX) return -1;
  return (long long)limit.rlim_cur;
}
