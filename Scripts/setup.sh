#!/usr/bin/env bash
# Installs the system packages that bllarse needs and this machine lacks, saying what it does.
#
#   Scripts/setup.sh          what building and running need
#   Scripts/setup.sh --test   and what the tests need besides: a real SLURM, and Python for MLflow
set -euo pipefail
cd "$(dirname "$0")/.."

say() { echo "setup: $*" >&2; }
die() { say "$*"; exit 1; }

command -v swift >/dev/null || die "swift is not on the PATH; install Swift 6.2 or later from swift.org first"

wanted=(pkg-config libopenblas-dev liblapacke-dev libsqlite3-dev libcurl4-openssl-dev zlib1g-dev)
[[ ${1:-} == --test ]] && wanted+=(slurm-wlm munge slurmdbd mariadb-server-core python3-venv)

if ! command -v dpkg-query >/dev/null; then
  pkg-config --exists openblas lapacke 2>/dev/null ||
    die "this machine has no apt; install by its own means what provides these Debian packages: ${wanted[*]}"
  exit 0
fi

missing=()
for package in "${wanted[@]}"; do
  [[ $(dpkg-query -W -f '${Status}' "$package" 2>/dev/null) == "install ok installed" ]] || missing+=("$package")
done

if ((${#missing[@]})); then
  as_root=()
  if [[ $(id -u) != 0 ]]; then
    command -v sudo >/dev/null ||
      die "these packages are missing, and there is neither root nor sudo to install them: ${missing[*]}"
    as_root=(sudo)
  fi
  say "installing with apt: ${missing[*]}"
  "${as_root[@]}" apt-get update -qq || say "apt-get update failed; trying with the lists as they are"
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null ||
    die "apt-get could not install: ${missing[*]}"
fi

if [[ ${1:-} == --test && -x Scripts/setup-mlflow.sh ]]; then
  Scripts/setup-mlflow.sh
fi
