"""Measures MLflow's Python client on the same server: the same metrics, each of its ways to log."""
import os
import sys
import time

import mlflow
import numpy
from mlflow.entities import Metric

mlflow.set_tracking_uri(sys.argv[1])
client = mlflow.MlflowClient()
experiment = client.create_experiment(f"python-{time.time_ns()}")


def show(name, value):
    print(f"{name}\t{value}", flush=True)


run = client.create_run(experiment).info.run_id
times = []
for step in range(200):
    start = time.perf_counter()
    client.log_metric(run, "loss", 1 / (step + 1), step=step)
    times.append(time.perf_counter() - start)
show("Python: one log_metric, median", f"{1e6 * sorted(times)[100]:.0f} µs")
show("Python: log_metric, one by one", f"{200 / sum(times):.0f} metrics/s")

for size, count in ((10, 50), (100, 20), (1000, 10)):
    run = client.create_run(experiment).info.run_id
    start = time.perf_counter()
    for batch in range(count):
        now = int(time.time() * 1000)
        metrics = [Metric("loss", float(i), now, batch * size + i) for i in range(size)]
        client.log_batch(run, metrics=metrics)
    show(f"Python: log_batch of {size}, made by hand", f"{size * count / (time.perf_counter() - start):.0f} metrics/s")

run = client.create_run(experiment).info.run_id
times = []
start = time.perf_counter()
pending = []
for step in range(200):
    call = time.perf_counter()
    pending.append(client.log_metric(run, "loss", float(step), step=step, synchronous=False))
    times.append(time.perf_counter() - call)
for operation in pending:
    operation.wait()
show("Python: one asynchronous log_metric, median", f"{1e6 * sorted(times)[100]:.0f} µs")
show("Python: asynchronous log_metric, until stored", f"{200 / (time.perf_counter() - start):.0f} metrics/s")

# A loop of matrix products, a millisecond each, with and without an asynchronous metric after each.
run = client.create_run(experiment).info.run_id
a = numpy.random.default_rng(0).normal(size=(256, 256))


def loop(is_logging):
    start = time.perf_counter()
    for step in range(600):
        b = a
        for _ in range(4):
            b = a @ b * 1e-2
        if is_logging:
            client.log_metric(run, "loss", float(b[0, 0]), step=step, synchronous=False)
    return time.perf_counter() - start


loop(False)
silent, logging = loop(False), loop(True)
silent = (silent + loop(False)) / 2
show(
    f"Python: a loop of {600 / silent:.0f} steps/s that logs a metric a step asynchronously: slowed by",
    f"{100 * (logging / silent - 1):.0f} %")
# Without waiting for what its queue still holds, which takes longer than all of this.
os._exit(0)
