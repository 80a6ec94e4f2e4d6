#!/usr/bin/env python3
"""Times bllarse beside its peers, in turn, on the same features in the same run, and writes RESULTS.md.

    compare.py --bench BIN --finetune BIN [--sweep BIN] --python PEERS_PYTHON [--full] [--movie-reviews FILE]
               [--out RESULTS.md]

Every case runs `rounds` times in turn (ours, peer, ours, peer, ...); medians and their ratio are reported.
Without a peer's Python only our own column is filled in.
"""
import argparse, json, os, platform, statistics, subprocess, sys, time
from datetime import date
from pathlib import Path

import compare_default

here = Path(__file__).resolve().parent


def run(command, capture=True):
    t = time.perf_counter()
    p = subprocess.run([str(c) for c in command], capture_output=capture, text=True)
    seconds = time.perf_counter() - t
    if p.returncode:
        sys.exit(f"{' '.join(map(str, command))} failed:\n{p.stderr}")
    return p.stdout, seconds


def measured(command):
    """Seconds and the largest memory, in bytes, of a process."""
    t = time.perf_counter()
    p = subprocess.Popen([str(c) for c in command], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(p.pid, 0)
    p.returncode = status  # it has been waited for
    seconds = time.perf_counter() - t
    if status:
        sys.exit(f"{' '.join(map(str, command))} failed")
    return seconds, usage.ru_maxrss * 1024


class Compare:
    def __init__(self, a):
        self.a, self.rows, self.peaks = a, [], []
        self.data = Path(a.data)
        self.data.mkdir(parents=True, exist_ok=True)
        self.run, self.measured = run, measured

    def json(self, path):
        return json.loads(Path(path).read_text())

    def ours(self, case, **options):
        args = [self.a.bench, case]
        for k, v in options.items():
            args += ["--" + k.replace("_", "-")] + ([] if v is True else [str(v)])
        r = json.loads(run(args)[0])
        if "no_peak" not in options:
            self.peaks.append(r["sgemm_peak_gflops"])
        return r

    def peer(self, *args):
        return json.loads(run([self.a.python, here / "peers.py", *map(str, args)])[0]) if self.a.python else None

    def features(self, rows, dim, classes):
        path = self.data / f"{rows}x{dim}x{classes}.safetensors"
        if not path.exists() and self.a.python:
            run([self.a.python, here / "peers.py", "write", "--rows", rows, "--dim", dim, "--classes", classes, "--out", path])
        return ["--features", path] if path.exists() else ["--rows", rows, "--dim", dim, "--classes", classes]

    def source(self, rows, dim, classes):
        f = self.features(rows, dim, classes)
        return dict(features=f[1]) if f[0] == "--features" else dict(rows=rows, dim=dim, classes=classes)

    def add(self, name, ours, peer, target, note=""):
        ratio = f"{peer / ours:.1f}" if peer and ours else "–"
        self.rows.append((name, f"{ours:.4f}" if ours else "–", f"{peer:.4f}" if peer else "–", ratio, target, note))
        print(f"{name}: ours {ours:.4f} s, peer {peer if peer else float('nan'):.4f} s, ratio {ratio}", file=sys.stderr)

    def paired(self, name, ours, peer, target, rounds, note=lambda o, p: ""):
        o, p = [], []
        for _ in range(rounds):
            o.append(ours())
            p.append(peer() if self.a.python else None)
        mine = statistics.median(x["seconds"] for x in o)
        theirs = statistics.median(x["seconds"] for x in p) if self.a.python else None
        self.add(name, mine, theirs, target, note(o[0], p[0]))
        return o[0], p[0]

    def cavi(self, rows, dim, classes, rounds, target="–"):
        s = self.source(rows, dim, classes)
        self.paired(
            f"{rows:,} x {dim}, {classes} classes, 64 CAVI iterations",
            lambda: self.ours("cavi", iterations=64, repeats=1, **s),
            lambda: self.peer("ibprobit", *self.features(rows, dim, classes), "--iterations", 64, "--repeats", 1),
            target, rounds, lambda o, p: f"{o['gflops']:.0f} GFLOP/s, {100 * o['share_of_peak']:.0f} % of sgemm")

    def merge(self, rows, dim, classes, rounds, target="–"):
        s = self.source(rows, dim, classes)
        self.paired(
            f"{rows:,} x {dim}, {classes} classes, batches of 64, 16 iterations, an epoch",
            lambda: self.ours("merge", iterations=16, batch_size=64, repeats=1, **s),
            lambda: self.peer("ibprobit", *self.features(rows, dim, classes), "--iterations", 16, "--batch-size", 64, "--repeats", 1),
            target, rounds)

    def converged(self, rows, dim, classes, rounds, target="–"):
        s = self.source(rows, dim, classes)
        count = int(self.ours("cavi-count", iterations=600, **s)["iterations"])
        if count < 0:
            count = 600
        self.paired(
            f"{rows:,} x {dim}, {classes} classes, to a relative bound gap of 1e-6",
            lambda: self.ours("converged", tolerance=1e-6, repeats=1, **s),
            lambda: self.peer("ibprobit", *self.features(rows, dim, classes), "--iterations", count, "--repeats", 1),
            target, rounds,
            lambda o, p: f"{int(o['iterations'])} conjugate-gradient iterations against {count} of CAVI")
        r = self.ours("converged", tolerance=1e-6, repeats=rounds, certify=True, **s)
        self.rows.append(("the same with --certify", f"{r['seconds']:.4f}", "–", "–", "–",
                          f"proven: {r['gap_lower']:.2g} to {r['gap_upper']:.2g} nats of {abs(r['elbo']):,.0f}"))

    def movie_reviews(self, rounds, target):
        path = self.a.movie_reviews
        if not path:
            return
        o, whole, p = [], [], []
        for _ in range(rounds):
            o.append(run([self.a.finetune, "--features", path, "--loss-fn", "IBProbit", "--parity", "--update", "converged"])[1])
            whole.append(run([self.a.finetune, "--features", path])[1])
            if self.a.python:
                p.append(self.peer("logistic", "--features", path)["seconds"])
        peer = statistics.median(p) if p else None
        self.add("movie reviews, 8,500 x 384, converged fit, whole process", statistics.median(o), peer, target,
                 "against LogisticRegressionCV")
        self.add("movie reviews, the default recipe, whole process", statistics.median(whole), peer, "–",
                 "choice of the prior precision, temperature, posterior, out-of-sample estimate included")

    def wide(self, rows, dim, classes, rounds):
        path = self.source(rows, dim, classes).get("features")
        if not path:
            return
        for loss, peer, chooser in [("CrossEntropy", "logistic", "LogisticRegressionCV"), ("MSE", "ridge", "RidgeClassifierCV")]:
            command = [self.a.finetune, "--features", path, "--loss-fn", loss]
            o, p = [], []
            for _ in range(rounds):
                o.append(measured(command))
                if self.a.python:
                    p.append(self.peer(peer, "--features", path)["seconds"])
            self.add(f"{loss} by newton, {rows} x {dim:,}, {classes} classes, whole process", statistics.median(s for s, _ in o),
                     statistics.median(p) if p else None, "–", f"{max(m for _, m in o) / 1e6:.0f} MB; against {chooser}")

    def passes(self, rows, dim, classes, rounds, target):
        rs = [self.ours("pass", rows=rows, dim=dim, classes=classes, iterations=16) for _ in range(rounds)]
        share = statistics.median(r["share_of_peak"] for r in rs)
        self.rows.append((f"{rows:,} x {dim}, {classes} classes, one fused pass", f"{statistics.median(r['seconds'] for r in rs):.4f}",
                          "–", f"{100 * share:.0f} % of sgemm", target, ""))

    def polya_gamma(self, rows, dim, classes, iterations, target):
        r = self.ours("polya-gamma", rows=rows, dim=dim, classes=classes, iterations=iterations)
        self.rows.append((f"IBPolyaGamma, {rows:,} x {dim}, {classes} classes, {iterations} iterations", f"{r['seconds']:.4f}", "–",
                          f"{100 * r['share_of_peak']:.0f} % of sgemm", target, "absolute"))

    def adamw(self, rows, dim, classes, batch, target):
        r = self.ours("adamw", rows=rows, dim=dim, classes=classes, batch_size=batch)
        self.rows.append((f"CrossEntropy by AdamW, {rows:,} x {dim}, {classes} classes, batches of {batch}, an epoch",
                          f"{r['seconds']:.4f}", f"{r['products']:.4f}", f"{r['products'] / r['seconds']:.1f}", target,
                          "against the two sgemm of every batch alone"))

    def memory(self, rows, dim, classes, target):
        r = self.ours("converged", repeats=1, no_peak=True, **self.source(rows, dim, classes))
        over = (r["peak_memory_bytes"] - r["feature_bytes"]) / 1e6
        self.rows.append((f"{rows:,} x {dim}, {classes} classes, peak memory", "–", "–",
                          f"features {r['feature_bytes'] / 1e6:.0f} MB + {over:.0f} MB", target, "test split mapped too"))

    def scaling(self, dim, classes, sizes, target):
        seconds = {n: statistics.median(self.ours("cavi", rows=n, dim=dim, classes=classes, iterations=16, half=True)["seconds"]
                                        for _ in range(3)) for n in sizes}
        per_row = {n: s / n * 1e6 for n, s in seconds.items()}
        spread = max(per_row.values()) / min(per_row.values()) - 1
        text = ", ".join(f"{n:,}: {v:.2f}" for n, v in per_row.items())
        self.rows.append((f"microseconds a row, {dim} features, {classes} classes, 16 CAVI iterations", "–", "–",
                          f"spread {100 * spread:.0f} %", target, text))

    def sweep(self, rounds):
        if not self.a.sweep:
            return
        path = self.data / "million.yaml"
        axis = list(range(10))
        path.write_text("grid:\n" + "".join(f"  x{name}: {axis}\n" for name in "abcde") + "seeds: 10\n")
        for name, target, arguments in [("counted", "1 s", ["list", path, "--count"]), ("one shown", "0.05 s", ["show", path, "765432"])]:
            found = [measured([self.a.sweep, *arguments]) for _ in range(rounds)]
            seconds = statistics.median(s for s, _ in found)
            self.rows.append((f"a sweep of a million configurations, {name}, whole process", f"{seconds:.4f}", "–", "–", target,
                              f"{max(m for _, m in found) / 1e6:.0f} MB of 100"))

    def write(self):
        cpu = next((l.split(":")[1].strip() for l in open("/proc/cpuinfo") if l.startswith("model name")), platform.processor())
        lines = [
            "# Speed", "",
            f"Made by `make bench{'-full' if self.a.full else ''}` on {date.today()}: {cpu}, {os.cpu_count()} cores, "
            f"{platform.system()} {platform.release().split('-')[0]}"
            + (f", sgemm peak {statistics.median(self.peaks):.0f} GFLOP/s in the same run." if self.peaks else "."),
            "Ours and the peer ran in turn, each in a process of its own; seconds are medians; ratio = peer / ours.",
            "The peer of the closed-form updates is the same update as a JAX array program (`peers.py`), without its compile time.", "",
            "| case | ours, s | peer, s | ratio | target | notes |", "|---|---|---|---|---|---|"]
        out = Path(self.a.out)
        old = out.read_text() if out.exists() else ""
        if self.a.only:  # the other cases keep the rows of their own run
            return self.merge_rows(out, old, lines)
        lines += ["| " + " | ".join(r) + " |" for r in self.rows]
        out.write_text("\n".join(lines) + "\n" + "".join("\n## " + t for t in old.split("\n## ")[1:]))

    def merge_rows(self, out, old, fresh):
        """Rows of this run in the place of rows of the same name, or at the end of the table."""
        lines = old.split("\n") if "| case |" in old else fresh + [""]
        for row in self.rows:
            text = "| " + " | ".join(row) + " |"
            places = [i for i, line in enumerate(lines) if line.startswith(f"| {row[0]} |")]
            if places:
                lines[places[0]] = text
            else:
                lines.insert(max(i for i, line in enumerate(lines) if line.startswith("|")) + 1, text)
        out.write_text("\n".join(lines))


ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
ap.add_argument("--bench", required=True); ap.add_argument("--finetune", required=True)
ap.add_argument("--sweep"); ap.add_argument("--python"); ap.add_argument("--full", action="store_true")
ap.add_argument("--movie-reviews"); ap.add_argument("--out", default=here / "RESULTS.md")
ap.add_argument("--data", default=here / ".data"); ap.add_argument("--only")
c = Compare(ap.parse_args())
wanted = lambda name: not c.a.only or name in c.a.only.split(",")
cases = {
    "cavi10": lambda: c.cavi(50_000, 512, 10, 3, "3"),
    "movies": lambda: c.movie_reviews(3, "30"),
    "wide": lambda: c.wide(50, 20_000, 3, 3),
    "memory": lambda: c.memory(50_000, 512, 10, "+ 200 MB"),
    "pass": lambda: (c.passes(50_000, 512, 100, 3, "75 %"), c.passes(50_000, 512, 10, 3, "–")),
    "merge": lambda: c.merge(50_000, 512, 10, 3, "20"),
    "converged": lambda: c.converged(50_000, 512, 10, 3, "30"),
    "polya-gamma": lambda: c.polya_gamma(1024, 768, 10, 32, "3 s"),
    "adamw": lambda: c.adamw(50_000, 512, 10, 512, "0.67"),
    "cavi100": lambda: c.cavi(50_000, 512, 100, 3, "2"),
    "scaling": lambda: c.scaling(512, 10, [10_000, 100_000, 1_000_000], "15 %"),
    "sweep": lambda: c.sweep(5),
    **compare_default.cases(c),
} if c.a.full else {
    "cavi10": lambda: c.cavi(10_000, 256, 10, 3),
    "merge": lambda: c.merge(10_000, 256, 10, 3),
    "converged": lambda: c.converged(10_000, 256, 10, 3),
    "movies": lambda: c.movie_reviews(3, "30"),
    "wide": lambda: c.wide(50, 20_000, 3, 3),
    "pass": lambda: c.passes(20_000, 512, 100, 3, "75 %"),
    "sweep": lambda: c.sweep(5),
    "uncertainties": lambda: compare_default.uncertainties(c, 5, "0.5 s"),
}
for name, case in cases.items():
    if wanted(name):
        case()
        c.write()  # after every case, so that an interrupted run keeps what it measured
