#!/bin/sh
# Makes the virtual environment with a real MLflow server that the tests talk to.
#
#   Scripts/setup-mlflow.sh [DIRECTORY]      default: .venv-mlflow beside this script's folder
#
# Does nothing when the environment is already there with the wanted version. pip keeps its own
# cache, so a second clone on the same machine installs without downloading.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
venv=${1:-${BLLARSE_MLFLOW_VENV:-$root/.venv-mlflow}}
version=${BLLARSE_MLFLOW_VERSION:-3.17.2}
python=${PYTHON:-python3}

if [ -x "$venv/bin/mlflow" ] &&
  [ "$(cat "$venv/.bllarse-mlflow-version" 2>/dev/null || true)" = "$version" ]; then
  exit 0
fi

echo "setup-mlflow: installing mlflow[auth] $version into $venv" >&2
rm -rf "$venv"
"$python" -m venv "$venv"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check "mlflow[auth]==$version"
# Written last: an interrupted installation is done again.
echo "$version" > "$venv/.bllarse-mlflow-version"
