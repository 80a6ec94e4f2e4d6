"""Each configuration is the options of a script beside the sweep."""
from typing import Any, Dict, List

from bllarse.tools.adapters import run_script_from_config

BASE: Dict[str, Any] = dict(learning_rate=1e-3, verbose=True, reuse_cache=False, uid=None)


def create_configs() -> List[Dict[str, Any]]:
    return [dict(BASE, hidden_units=units) for units in (8, 16)]


def run(config: Dict[str, Any]) -> None:
    run_script_from_config("options_echo.py", config)
