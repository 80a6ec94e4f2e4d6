"""A training script in the manner of the users': it writes down what it was asked for."""
import argparse
import json
import os


def build_argparser():
    parser = argparse.ArgumentParser()
    parser.add_argument("--learning-rate", type=float, default=1.0)
    parser.add_argument("--hidden-units", type=int, default=1)
    parser.add_argument("--verbose", action="store_true")
    parser.add_argument("--reuse-cache", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--uid", default="none")
    return parser


def build_configs(args):
    return {"units": args.hidden_units}, {"rate": args.learning_rate}


def main(args, model, optimizer):
    path = os.path.join(os.environ["BLLARSE_OUTPUT_DIR"], "result.json")
    with open(path, "w", encoding="utf-8") as file:
        json.dump({"arguments": vars(args), **model, **optimizer}, file)
