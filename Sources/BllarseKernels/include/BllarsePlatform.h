#pragma once

#include <stddef.h>

/// Processors that the affinity mask of the calling thread allows, at least 1.
int bllarse_allowed_processor_count(void);

/// Whether so many threads can run at once, beside so many blocks of memory of that size.
///
/// It is tried: the threads are started, and the memory is mapped; then both are given back.
int bllarse_can_have(int thread_count, int block_count, size_t block_bytes);

/// Lets OpenBLAS allocate so many of its working buffers now. It keeps them, and retries for ever where
/// one cannot be had; whether they can is for `bllarse_can_have` to say before.
void bllarse_allocate_blas_buffers(int count);

/// The beginning of a file.
///
/// - Returns: the bytes read, at most `size`; -1 if the file cannot be read.
long bllarse_read_file(const char *path, char *buffer, size_t size);

/// The soft limit of the address space or, with `of_data`, of data, in bytes; -1 if there is none.
long long bllarse_memory_limit(int of_data);
