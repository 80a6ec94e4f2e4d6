"""Every head, by every way of fitting it, on the same data: a section of Benchmarks/QUALITY.md.

The section stands between two marker lines; what is around it stays as it is.
"""

import argparse

import quality_run

BEGIN, END = "<!-- heads: begin -->", "<!-- heads: end -->"

# What is fitted, and the options that say so; everything else is as `bllarse-finetune` has it.
METHODS = [
    ("softmax", "default", []),
    ("IBProbit", "converged, prior precision by left-out rows", ["--head", "IBProbit"]),
    ("IBProbit", "converged, prior precision 1", ["--head", "IBProbit", "--parity", "--update", "converged"]),
    ("IBProbit", "cavi, 64 iterations", [
        "--head", "IBProbit", "--update", "cavi", "--num-update-iters", "64", "-e", "1"]),
    ("IBProbit", "merge, batches of 64", [
        "--head", "IBProbit", "--update", "merge", "-bs", "64", "-e", "1", "--forgetting-rate", "0"]),
    ("IBProbit", "sites, batches of 64, 20 epochs", [
        "--head", "IBProbit", "--update", "sites", "-bs", "64", "-e", "20"]),
    ("IBPolyaGamma", "converged", ["--head", "IBPolyaGamma"]),
    ("IBPolyaGamma", "merge, batches of 512", [
        "--head", "IBPolyaGamma", "--update", "merge", "-bs", "512", "-e", "1", "--forgetting-rate", "0"]),
    ("MultinomialPolyaGamma", "converged", ["--head", "MultinomialPolyaGamma"]),
    ("MultinomialPolyaGamma", "merge, batches of 512", [
        "--head", "MultinomialPolyaGamma", "--update", "merge", "-bs", "512", "-e", "1", "--forgetting-rate", "0"]),
    ("CrossEntropy", "newton, L2 by evidence", ["--head", "CrossEntropy"]),
    ("CrossEntropy", "adamw, 100 epochs", ["--head", "CrossEntropy", "-o", "adamw"]),
    ("CrossEntropy", "adam, 100 epochs", ["--head", "CrossEntropy", "-o", "adam"]),
    ("CrossEntropy", "lion, 100 epochs", ["--head", "CrossEntropy", "-o", "lion"]),
    ("CrossEntropy", "ivon, 100 epochs", ["--head", "CrossEntropy", "-o", "ivon"]),
    ("MSE", "newton, L2 by evidence", ["--head", "MSE"]),
    ("MSE", "adamw, 100 epochs", ["--head", "MSE", "-o", "adamw"]),
]


def section(finetune, data_sets):
    lines = [
        "## Every head", "",
        "Made by `make quality`, `Benchmarks/quality_heads.py`. Each cell: negative log-likelihood in nats / ECE, 20 bins of "
        "equal width / accuracy on the test rows / seconds of the fit. Options that a row does not name have their "
        "defaults: batches of 64 rows, learning rate 1e-3, weight decay 1e-2; seconds are of one fit on a machine that may "
        "have had other work.", "",
        "| head | fitted by | " + " | ".join(name for name, _ in data_sets) + " |",
        "|---|---" + "|---" * len(data_sets) + "|",
    ]
    for head, how, options in METHODS:
        cells = []
        for _, data in data_sets:
            result = quality_run.process(finetune, [*data, *options])
            test = result["test"]
            cells.append(
                f"{test['nll']:.4f} / {test['ece']:.3f} / {test['acc']:.3f} / {result['seconds']['fit']:.2f}")
        lines.append(f"| {head} | {how} | " + " | ".join(cells) + " |")
        print(lines[-1], flush=True)
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--finetune", required=True)
    parser.add_argument("--movie-reviews")
    parser.add_argument("--out", default="Benchmarks/QUALITY.md")
    arguments = parser.parse_args()
    data_sets = [("digits, backbone features (1297 x 128, 10)", ["--dataset", "digits"])]
    if arguments.movie_reviews:
        data_sets.insert(
            0, ("movie reviews (8500 x 384, 2)", ["--features", arguments.movie_reviews]))
    quality_run.replace_section(arguments.out, BEGIN, END, section(arguments.finetune, data_sets))


if __name__ == "__main__":
    main()
