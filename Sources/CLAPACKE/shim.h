#pragma once
// C99 complex types, which Swift's importer can skip over; the package calls real routines only.
#define lapack_complex_float float _Complex
#define lapack_complex_double double _Complex
#include <lapacke.h>
