"""The default fit as a whole process, at 10, 100 and 1,000 classes, and a stored head's predictions: cases of compare.py."""

import shutil
import statistics
import sys
from pathlib import Path

here = Path(__file__).resolve().parent


def features(c, name):
    """The file of a set of many_sets.py, drawn by the peers' Python where it is not there yet."""
    if not c.a.python:
        return None
    return c.run([c.a.python, here / "many_sets.py", c.data, name])[0].splitlines()[-1]


def fit(c, path, output):
    """Seconds, peak memory and the log of a default fit, with its files."""
    shutil.rmtree(output, ignore_errors=True)
    return c.measured([c.a.finetune, "--features", path, "--output", output])


def default(c, name, label, rounds, peer=None, target="–", against=""):
    """Ours and the peer in turn; a peer that takes minutes runs once."""
    path = features(c, name)
    if not path:
        return print(f"{label}: no Python that draws the data", file=sys.stderr)
    ours = [fit(c, path, c.data / "default")]
    theirs = c.peer(peer, "--features", path) if peer else None
    ours += [fit(c, path, c.data / "default") for _ in range(rounds - 1)]
    test = c.json(c.data / "default" / "result.json")["test"]
    note = f"{max(peak for _, peak in ours) / 1e6:.0f} MB; NLL {test['nll']:.3f}, ECE {test['ece']:.3f}"
    if theirs:
        note += f"; against {against}: NLL {theirs['nll']:.3f}, ECE {theirs['ece']:.3f}"
    c.add(f"{label}, the default, whole process", statistics.median(s for s, _ in ours),
          theirs and theirs["seconds"], target, note)


def uncertainties(c, rounds, target):
    """Probabilities and uncertainties of 10,000 rows of 10 classes from a stored head."""
    path = features(c, "embeddings, 10 classes")
    if not path:
        return print("uncertainties: no Python that draws the data", file=sys.stderr)
    output, head = c.data / "predicted", c.data / "predicted" / "head.safetensors"
    fit(c, path, output)
    for name, goal, command in [
        ("predict, 10,000 x 512, 10 classes, with uncertainties, whole process", target,
         ["predict", "--head", head, "--features", path, "--split", "test", "--out", output / "predicted.safetensors"]),
        ("evaluate, 50,000 + 10,000 rows x 512, 10 classes, whole process", "–",
         ["evaluate", "--head", head, "--features", path]),
    ]:
        found = [c.measured([c.a.finetune, *command]) for _ in range(rounds)]
        c.add(name, statistics.median(s for s, _ in found), None, goal, f"{max(p for _, p in found) / 1e6:.0f} MB")


def cases(c):
    """Names for --only, and what they run."""
    return {
        "default10": lambda: default(
            c, "embeddings, 10 classes", "50,000 x 512, 10 classes", 3, "logistic-cv", "10",
            "LogisticRegressionCV, standardised, 10 values, 3 folds"),
        "default100": lambda: default(
            c, "embeddings, 100 classes", "50,000 x 512, 100 classes", 1, "logistic-once", "0.5",
            "one LogisticRegression, standardised, not cross-validated"),
        "default1000": lambda: default(
            c, "embeddings, 1,000 classes", "100,000 x 384, 1,000 classes", 1, target="120 s, 1,500 MB"),
        "uncertainties": lambda: uncertainties(c, 5, "0.5 s"),
    }
