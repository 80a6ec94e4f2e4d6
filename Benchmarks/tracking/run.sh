#!/bin/bash
# Times run tracking beside MLflow's Python client, on one local server with its default settings, and
# writes what it measured to Benchmarks/MLFLOW.md.
#
#   Benchmarks/tracking/run.sh [call] [loop] [delivery] [memory] [python]        all five by default
#
# Needs Scripts/setup-mlflow.sh to have run.
# BENCH_PREFIX is put before each measurement, for machines that have a command which waits for quiet.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
venv=${BLLARSE_MLFLOW_VENV:-$here/../../.venv-mlflow}
read -r -a prefix <<<"${BENCH_PREFIX:-}"
swift build -c release --package-path "$here" --product bench >&2
program=$(swift build -c release --package-path "$here" --show-bin-path)/bench

scratch=$(mktemp -d)
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
(cd "$scratch" && MLFLOW_DISABLE_TELEMETRY=true exec setsid "$venv/bin/mlflow" server --host 127.0.0.1 --port "$port" > server.log 2>&1) &
server=$!
trap 'kill -KILL -- -$server 2>/dev/null; wait $server 2>/dev/null || true; rm -rf "$scratch"' EXIT
address=http://127.0.0.1:$port
for _ in $(seq 120); do
  curl -sf "$address/health" > /dev/null && break
  sleep 1
done
# Each of the server's workers loads itself with its first requests.
for _ in $(seq 40); do curl -s "$address/version" > /dev/null; done

# Each measurement's figures are kept, so that one of them can be taken again.
figures=$here/.build/figures
mkdir -p "$figures"
wanted=" ${*:-call loop delivery memory python} "
measure() {
  local name=$1
  shift
  [[ $wanted == *" ${name%%-*} "* ]] || return 0
  ${prefix[@]+"${prefix[@]}"} "$@" | tee "$scratch/figures" >&2
  mv "$scratch/figures" "$figures/$name"
}
nobody=http://127.0.0.1:9
measure call "$program" call "$address" "$scratch"
measure loop-1 "$program" loop "$nobody" "$scratch"
measure loop-2 "$program" loop sqlite:///loop.db "$scratch"
measure loop-3 "$program" loop "$address" "$scratch"
measure delivery "$program" delivery "$address" "$scratch"
measure memory-1 "$program" memory "$nobody" "$scratch"
measure memory-2 "$program" memory sqlite:///million.db "$scratch"
OPENBLAS_NUM_THREADS=1 measure python "$venv/bin/python" -W ignore "$here/client.py" "$address"

{
  cat << TEXT
# Run tracking, measured

\`Benchmarks/tracking/run.sh\` wrote this on $(date -u +%F): $(nproc) cores ($(grep -m1 'model name' /proc/cpuinfo | cut -d: -f2- | xargs)),
$(swift --version 2> /dev/null | grep -o -m1 'Swift version [0-9.]*'), release build. It starts an MLflow $("$venv/bin/python" -c 'import mlflow; print(mlflow.__version__)') server with its default
settings (four workers, SQLite) on the same machine and measures this package, then MLflow's Python
client, on that server.

The training is cross-entropy on the digits by Adam, one thread, with the server on the machine's other
core; it logs in every other window of three seconds. "No server there" is an address where nothing
listens: everything stays in the journal. The intervals show the machine's noise; what logging takes
for certain is in the two lines below each.

Wanted: a call under 20 µs at the median, a slowing under 1 %, memory that stays flat over a million
events, 3,000 metrics/s delivered to a local server.

| | |
|---|---|
TEXT
  awk -F '\t' '{ gsub(/^ +/, "\\&nbsp;\\&nbsp;", $1); print "| " $1 " | " $2 " |" }' \
    "$figures"/{call,loop-1,loop-2,loop-3,delivery,memory-1,memory-2,python}
} > "$here/../MLFLOW.md"
