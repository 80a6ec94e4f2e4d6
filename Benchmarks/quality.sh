#!/usr/bin/env bash
# Compares the default recipe with the reference settings and with scikit-learn, data set by data set, and
# writes Benchmarks/QUALITY.md.
#
#   make quality [MOVIE_REVIEWS=FILE]
#   make quality-survey [MOVIE_REVIEWS=FILE]     further kinds of data, a section of its own: ten minutes
#
# MOVIE_REVIEWS names a feature file (X_train, y_train, X_test, y_test) that is too large for the
# repository; without it its row is left out. scikit-learn comes from a virtual environment that is made
# in Benchmarks/.venv-quality.
set -euo pipefail
cd "$(dirname "$0")/.."

swift build -c release --product bllarse-finetune

venv=Benchmarks/.venv-quality
if ! "$venv/bin/python" -c 'import sklearn, safetensors' 2>/dev/null; then
  command -v python3 >/dev/null || { echo "quality: python3 is needed for the peers" >&2; exit 1; }
  echo "quality: making $venv with scikit-learn and safetensors" >&2
  python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet scikit-learn safetensors
fi

arguments=(--finetune .build/release/bllarse-finetune)
[[ -z ${MOVIE_REVIEWS:-} ]] || arguments+=(--movie-reviews "$MOVIE_REVIEWS")
# The peers' problems are small: their BLAS is quicker on one thread, and does not wait for busy processors.
export OPENBLAS_NUM_THREADS=${OPENBLAS_NUM_THREADS:-1}
if [[ ${1:-} == survey ]]; then
  shift
  exec "$venv/bin/python" Benchmarks/quality_survey.py "${arguments[@]}" "$@"
fi
"$venv/bin/python" Benchmarks/quality.py "${arguments[@]}" "$@"
# Every head in a section of its own; only for the whole table, which options would make a part of.
[[ $# -gt 0 ]] || "$venv/bin/python" Benchmarks/quality_heads.py "${arguments[@]}"
