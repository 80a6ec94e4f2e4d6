#!/usr/bin/env bash
# Installs the system packages that bllarse needs and this machine lacks, saying what it does.
#
#   Scripts/setup.sh            what building and running need
#   Scripts/setup.sh --test     and what the tests need besides: a real SLURM, and Python for MLflow
#   Scripts/setup.sh --runtime  only what programs need that were built elsewhere, and Python for sweeps
#                               in Python: for an image, or a machine without Swift
set -euo pipefail
cd "$(dirname "$0")/.."

say() { echo "setup: $*" >&2; }
die() { say "$*"; exit 1; }

case ${1:-} in
  '' | --test | --runtime) ;;
  *)
    say "unknown argument '$1'; expected --test, --runtime or nothing"
    exit 64
    ;;
esac
[[ ${1:-} == --runtime ]] || command -v swift >/dev/null || die "swift is not on the PATH; install Swift 6.2 or later from swift.org first"

wanted=(pkg-config libopenblas-dev liblapacke-dev libsqlite3-dev libcurl4-openssl-dev libssl-dev zlib1g-dev)
[[ ${1:-} == --test ]] && wanted+=(slurm-wlm munge python3-venv)
[[ ${1:-} == --runtime ]] &&
  wanted=(libopenblas0 liblapacke libsqlite3-0 libcurl4 libssl3 zlib1g libstdc++6 ca-certificates python3)

if ! command -v dpkg-query >/dev/null; then
  pkg-config --exists openblas lapacke 2>/dev/null ||
    die "this machine has no apt; install by its own means what provides these Debian packages: ${wanted[*]}"
  exit 0
fi

# Fills `missing` with those of some packages that are not installed.
find_missing() {
  local package
  missing=()
  for package in "$@"; do
    [[ $(dpkg-query -W -f '${Status}' "$package" 2>/dev/null) == "install ok installed" ]] || missing+=("$package")
  done
}

apt_install() {
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

as_root=()
find_missing "${wanted[@]}"
if ((${#missing[@]})); then
  if [[ $(id -u) != 0 ]]; then
    command -v sudo >/dev/null ||
      die "these packages are missing, and there is neither root nor sudo to install them: ${missing[*]}"
    as_root=(sudo)
  fi
  say "installing with apt: ${missing[*]}"
  "${as_root[@]}" apt-get update -qq || say "apt-get update failed; trying with the lists as they are"
  apt_install "${missing[@]}" || die "apt-get could not install: ${missing[*]}"
fi

# SLURM's accounting, which one test asks: where it cannot be had, that test is skipped.
if [[ ${1:-} == --test ]]; then
  # mariadb-install-db takes a program of the client's package.
  find_missing slurmdbd mariadb-server-core mariadb-client-core
  if ((${#missing[@]})); then
    [[ $(id -u) == 0 ]] || as_root=(sudo)
    say "installing with apt: ${missing[*]}"
    apt_install "${missing[@]}" || say "without ${missing[*]} the test of SLURM's accounting is skipped"
  fi
fi

if [[ ${1:-} == --test && -x Scripts/setup-mlflow.sh ]]; then
  Scripts/setup-mlflow.sh
fi
