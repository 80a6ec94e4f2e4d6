#pragma once

/// Ends the process with a line and status 1 when an allocation failed for which nothing else answers:
/// those of the Swift and C++ runtimes, which trap or abort.
///
/// Any other trap or abort keeps its effect.
///
/// - Parameter program: the program's name for the line; it must stay valid.
void bllarse_report_exhausted_memory(const char *program);
