#!/bin/bash
# Times run tracking beside MLflow's Python client, on one local server with its default settings.
#
#   Benchmarks/tracking/run.sh        needs Scripts/setup-mlflow.sh to have run
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
venv=${BLLARSE_MLFLOW_VENV:-$here/../../.venv-mlflow}
swift build -c release --package-path "$here" --product bench >&2
program=$(swift build -c release --package-path "$here" --show-bin-path)/bench

scratch=$(mktemp -d)
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
(cd "$scratch" && MLFLOW_DISABLE_TELEMETRY=true exec setsid "$venv/bin/mlflow" server --host 127.0.0.1 --port "$port" > server.log 2>&1) &
server=$!
trap 'kill -KILL -- -$server 2>/dev/null; wait $server 2>/dev/null; rm -rf "$scratch"' EXIT
for _ in $(seq 120); do
  curl -sf "http://127.0.0.1:$port/health" > /dev/null && break
  sleep 1
done
# Each of the server's workers loads itself with its first requests.
for _ in $(seq 40); do curl -s "http://127.0.0.1:$port/version" > /dev/null; done

"$program" "http://127.0.0.1:$port" "$scratch"
"$venv/bin/python" "$here/client.py" "http://127.0.0.1:$port" 2> "$scratch/python.log" || cat "$scratch/python.log"
