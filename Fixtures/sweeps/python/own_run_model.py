"""A module beside the sweep that uses it."""


def line(slope, x):
    return slope * x
