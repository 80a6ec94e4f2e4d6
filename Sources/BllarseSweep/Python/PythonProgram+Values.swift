extension PythonProgram {
  /// What is needed, and how values of Python become JSON.
  static let values = #"""
    import ast
    import ctypes
    import dataclasses
    import hashlib
    import importlib.abc
    import importlib.machinery
    import importlib.util
    import itertools
    import json
    import linecache
    import math
    import os
    import runpy
    import shutil
    import signal
    import subprocess
    import sys
    import tokenize
    import traceback
    import types


    class Fault(Exception):
        """What is told to the user as it is."""


    def plain(value, where, result=False):
        """A value as JSON holds it.

        A configuration's values are its identity and become options: what JSON cannot hold becomes
        its text, as the Python package wrote it on a command line. A result must be JSON as it is.
        """
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, str):
            return str.__str__(value)
        if isinstance(value, int):
            return int(value) if result or abs(value) < 2**63 else str(int(value))
        if isinstance(value, float):
            if math.isfinite(value):
                return float(value)
            if not result:
                return str(float(value))
            print(f"note: {where} is {float(value)}; result.json has null there", file=sys.stderr)
            return None
        if members(value) is not None:
            return {
                key_text(key, where, result): plain(item, f"{where}.{key}", result)
                for key, item in members(value).items()
            }
        if isinstance(value, (list, tuple)):
            return [plain(item, f"{where}[{i}]", result) for i, item in enumerate(value)]
        if isinstance(value, (set, frozenset)):
            return sorted((plain(item, where, result) for item in value), key=json.dumps)
        for method in ("tolist", "item"):  # numpy's arrays and scalars, torch's tensors
            if callable(getattr(value, method, None)):
                try:
                    return plain(getattr(value, method)(), where, result)
                except (TypeError, ValueError, RuntimeError):
                    continue
        kind = f"{type(value).__module__}.{type(value).__qualname__}".replace("builtins.", "")
        if result:
            raise Fault(f"the result's {where} is a {kind}, which JSON does not hold; return a "
                        "number, a text, true or false, a list or a dictionary of those")
        text = getattr(value, "__qualname__", None) or str(value)
        if " at 0x" in text or "<lambda>" in text or "<locals>" in text:
            raise Fault(f"{where} is {value!r}: it has no text that is the same each time, so the "
                        "configuration could not be told from others; give its name instead")
        return text


    def members(value):
        """The keys and values of a dictionary, or of an object that is one in all but name."""
        if isinstance(value, dict):
            return value
        if dataclasses.is_dataclass(value) and not isinstance(value, type):
            return {f.name: getattr(value, f.name) for f in dataclasses.fields(value)}
        if isinstance(value, tuple) and hasattr(value, "_asdict"):
            return value._asdict()
        if type(value).__name__ in ("Namespace", "SimpleNamespace"):
            return vars(value)
        return None


    def key_text(key, where, result):
        if isinstance(key, str):
            return str.__str__(key)
        if result and not isinstance(key, (int, float)):
            raise Fault(f"the result's {where} has the key {key!r}, which is no text")
        return str(key)


    def same(a, b):
        """Whether two JSON values are equal; in Python itself, True equals 1."""
        if isinstance(a, bool) or isinstance(b, bool):
            return a is b
        if isinstance(a, dict) and isinstance(b, dict):
            return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
        if isinstance(a, list) and isinstance(b, list):
            return len(a) == len(b) and all(map(same, a, b))
        return a == b


    def is_plain(value):
        """Whether a value is what JSON gives back for it."""
        if isinstance(value, dict):
            return all(type(key) is str and is_plain(item) for key, item in value.items())
        if isinstance(value, list):
            return all(map(is_plain, value))
        return value is None or type(value) in (bool, int, float, str)

    """#
}
