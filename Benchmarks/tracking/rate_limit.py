#!/usr/bin/env python3
"""Runs that log to a real MLflow server of which one request a second is let through.

    Benchmarks/tracking/rate_limit.py [--runs 30] [--events 20] [--rate 1] [--in-turn] [--program PATH]

It starts a server (Scripts/setup-mlflow.sh makes its environment) and Fixtures/mlflow/hostile_server.py
before it, starts the runs at once or one after the other, and prints how many requests were taken and
refused, how long it took, and what the server has in the end.
"""

import argparse
import json
import os
import socket
import subprocess
import tempfile
import time
import urllib.request

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
VENV = os.environ.get("BLLARSE_MLFLOW_VENV", ROOT + "/.venv-mlflow")


def get(url, body=None):
    data = json.dumps(body).encode() if body is not None else None
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=30) as answer:
        return json.load(answer) if "api" in url or "counts" in url else answer.read()


def start_server(folder):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = open(folder + "/server.log", "w")
    server = subprocess.Popen(
        [VENV + "/bin/mlflow", "server", "--port", str(port), "--workers", "1"],
        cwd=folder, stdout=log, stderr=log, start_new_session=True,
        env=os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"})
    for _ in range(600):
        try:
            get(f"http://127.0.0.1:{port}/health")
            return server, port
        except OSError:
            time.sleep(0.2)
    raise SystemExit("the server does not start: " + folder + "/server.log")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=30)
    parser.add_argument("--events", type=int, default=20)
    parser.add_argument("--rate", type=float, default=1)
    parser.add_argument("--in-turn", action="store_true", help="one run after the other")
    parser.add_argument("--program", default=ROOT + "/.build/debug/mlflow-test-program")
    arguments = parser.parse_args()
    folder = tempfile.mkdtemp(prefix="rate-limit-")
    server, port = start_server(folder)
    hostile = subprocess.Popen(
        ["python3", ROOT + "/Fixtures/mlflow/hostile_server.py", "--target", f"http://127.0.0.1:{port}"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    address = f"http://127.0.0.1:{hostile.stdout.readline().strip()}"
    try:
        limit = f"rate={arguments.rate:g}"
        environment = {
            "PATH": os.environ["PATH"], "HOME": folder, "MLFLOW_TRACKING_URI": f"{address}/{limit}",
            "LD_LIBRARY_PATH": os.environ.get("LD_LIBRARY_PATH", "")}
        begin = time.monotonic()
        runs = []
        for index in range(arguments.runs):
            runs.append(subprocess.Popen(
                [arguments.program, folder, str(arguments.events), f"name=run-{index}"],
                env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True))
            if arguments.in_turn:
                runs[-1].wait()
        left = [run.communicate()[0].strip().splitlines()[-1] for run in runs]
        seconds = time.monotonic() - begin
        counts = get(address + "/counts")[limit]
        api = f"http://127.0.0.1:{port}/api/2.0/mlflow"
        experiment = get(api + "/experiments/get-by-name?experiment_name=bllarse")["experiment"]
        found = get(api + "/runs/search", {
            "experiment_ids": [experiment["experiment_id"]], "max_results": 1000}).get("runs", [])
        whole = 0
        for run in found:
            history = get(
                f"{api}/metrics/get-history?run_id={run['info']['run_id']}&metric_key=m0").get("metrics", [])
            steps = sorted(int(point.get("step", 0)) for point in history)
            whole += (
                steps == list(range(1, arguments.events + 1)) and run["info"]["status"] == "FINISHED")
        print(f"{arguments.runs} runs of {arguments.events} events, {arguments.rate:g} requests a second")
        print(f"said to be left: {sorted(set(left))}; on the server: {len(found)} runs, {whole} whole")
        print(f"requests: {counts['taken']} taken ({counts['taken'] / arguments.runs:.2f} a run), "
              f"{counts['refused']} refused")
        allowed = counts["taken"] / arguments.rate
        print(f"seconds: {seconds:.1f}, the limit allows {allowed:.1f}: {seconds / allowed:.2f} times")
    finally:
        hostile.stdin.close()
        os.killpg(server.pid, 9)


if __name__ == "__main__":
    main()
