"""A run that fails for one configuration and ends itself for another."""
import sys


def create_configs():
    return [dict(divisor=divisor) for divisor in (1, 0, 5)]


def run(config):
    if config["divisor"] == 5:
        sys.exit(3)
    return {"quotient": divide(1, config["divisor"])}


def divide(a, b):
    return a / b
