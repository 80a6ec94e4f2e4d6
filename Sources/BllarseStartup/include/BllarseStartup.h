#pragma once

/// Ends the process with a line and status 1 when an allocation failed for which nothing else answers:
/// those of the Swift and C++ runtimes, which trap or abort.
///
/// Any other trap or abort keeps its effect.
///
/// - Parameter program: the program's name for the line; it must stay valid.
void bllarse_report_exhausted_memory(const char *program);

/// Makes OpenBLAS use the kernels that the processor can run, where it took the oldest for want of knowing it.
///
/// Debian 12's OpenBLAS 0.3.21, and others before 0.3.25, take the SSE3 kernels of the Prescott on processors of Intel's
/// that are newer than they are (OpenBLAS's issue 4267): on a Xeon of 2023 a fifth of the rate of those for AVX-512. A
/// choice by OPENBLAS_CORETYPE stands. It must be called before any other function of OpenBLAS, by the only thread.
void bllarse_choose_blas_kernels(void);
