#pragma once

/// Processors that the affinity mask of the calling thread allows, at least 1.
int bllarse_allowed_processor_count(void);
