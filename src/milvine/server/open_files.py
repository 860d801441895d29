"""How many files and connections this process may have open: each connection is one, and so is each segment file."""

from __future__ import annotations

import importlib.util
from importlib import import_module
from typing import Any


def raise_open_files() -> None:
    """Raises this process's limit to what its user may have, which is far more than what shells give."""
    if importlib.util.find_spec("resource") is None:  # Windows, where there is no such limit
        return
    resource: Any = import_module("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError):  # macOS says "unlimited" and means less
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
