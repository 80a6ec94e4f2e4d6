#!/usr/bin/env bash
# Times the package beside its peers and writes Benchmarks/RESULTS.md.
#
#   Benchmarks/run.sh [--full] [--movie-reviews FILE] [--only CASES]
#
# --only runs the cases named (commas between them) and keeps the other rows of the table:
#   Benchmarks/run.sh --full --only default10,default100,default1000,uncertainties
#
# The peers need Python: a virtual environment is made in Benchmarks/.venv. Without Python the package is
# timed alone.
set -euo pipefail
cd "$(dirname "$0")/.."

swift build -c release --product bllarse-finetune
swift build -c release --product bllarse-sweep
swift build -c release --package-path Benchmarks

arguments=(--bench Benchmarks/.build/release/bllarse-bench --finetune .build/release/bllarse-finetune
  --sweep .build/release/bllarse-sweep)
[[ -z ${MOVIE_REVIEWS:-} ]] || arguments+=(--movie-reviews "$MOVIE_REVIEWS")

if ! command -v python3 >/dev/null; then
  echo "bench: no python3, so no peers and no table: timing the package alone" >&2
  for case in cavi pass merge converged; do Benchmarks/.build/release/bllarse-bench "$case"; done
  exit 0
fi

venv=Benchmarks/.venv
if [[ ! -x $venv/bin/python ]] || ! "$venv/bin/python" -c 'import jax, sklearn, safetensors' 2>/dev/null; then
  echo "bench: making $venv with jax, scikit-learn and safetensors" >&2
  python3 -m venv "$venv" && "$venv/bin/pip" install --quiet jax scikit-learn safetensors ||
    echo "bench: the peers could not be installed; timing the package alone" >&2
fi
[[ ! -x $venv/bin/python ]] || ! "$venv/bin/python" -c 'import jax' 2>/dev/null || arguments+=(--python "$venv/bin/python")

python3 Benchmarks/compare.py "${arguments[@]}" "$@"
