"""What the scripts of QUALITY.md share: a run of the package, a cache of peers' scores, a section of a file."""

import json
import os
import subprocess
import sys
import tempfile

# Linux counts the memory of the process that starts another to the other's maximum: this one starts it and is small.
MEASURE = """
import os, subprocess, sys, time
start = time.perf_counter()
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
_, status, usage = os.wait4(process.pid, 0)
print(time.perf_counter() - start, usage.ru_maxrss)
process.returncode = os.waitstatus_to_exitcode(status)
sys.exit(process.returncode if process.returncode >= 0 else 1)
"""


def whole_process(program, features, options=()):
    """result.json of `bllarse-finetune --features FILE`, with seconds and the largest memory of the process."""
    return process(program, ["--features", features, *options])


def process(program, options):
    """result.json of a run with these options, with seconds and the largest memory of the process."""
    with tempfile.TemporaryDirectory() as directory:
        output = os.path.join(directory, "out")
        done = subprocess.run(
            [sys.executable, "-S", "-c", MEASURE, program, *options, "--output", output], capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(f"{' '.join(options)}: exit status {done.returncode}: {done.stderr.strip()}")
        seconds, peak = map(float, done.stdout.split())
        with open(os.path.join(output, "result.json")) as file:
            return json.load(file) | dict(process_seconds=seconds, process_peak=1024 * peak)


class Cache:
    """Scores of peers, which take hours and do not depend on the package, in one JSON file."""

    def __init__(self, path):
        self.path = path

    def read(self):
        if not os.path.exists(self.path):
            return {}
        with open(self.path) as file:
            return json.load(file)

    def add(self, key, value):
        """Stores one entry at once, so that an interrupted run keeps what it measured."""
        with open(self.path + ".new", "w") as file:
            json.dump(self.read() | {key: value}, file, indent=1)
        os.replace(self.path + ".new", self.path)


def replace_section(path, begin, end, text, before=None):
    """Puts text between two marks of a file, or with the marks in front of another mark, or at the end."""
    old = ""
    if os.path.exists(path):
        with open(path) as file:
            old = file.read()
    marked = begin + "\n" + text.rstrip("\n") + "\n" + end
    if begin in old:
        new = old[: old.index(begin)] + marked + old[old.index(end) + len(end):]
    elif before and before in old:
        new = old.replace(before, marked + "\n\n" + before, 1)
    else:
        new = (old.rstrip("\n") + "\n\n" if old.strip() else "") + marked + "\n"
    with open(path + ".new", "w") as file:
        file.write(new)
    os.replace(path + ".new", path)
