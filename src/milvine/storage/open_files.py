"""How many files and connections this process may have open: each connection is one, and so is each
segment file.
"""

from __future__ import annotations

import errno
import importlib.util
from importlib import import_module
from typing import Any

_resource: Any = import_module("resource") if importlib.util.find_spec("resource") else None
"""Unix has it; Windows has no such limit."""
_ANY = 1 << 62


def raise_open_files() -> None:
    """Raises this process's limit to what its user may have, which is far more
    than what shells give.

    Only for processes of our own: a program with an embedded database may rely on its limit, as
    `select` does, and so may those that it starts.
    """
    if _resource is None:
        return
    soft, hard = _resource.getrlimit(_resource.RLIMIT_NOFILE)
    try:
        _resource.setrlimit(_resource.RLIMIT_NOFILE, (hard, hard))
    except (OSError, ValueError):  # macOS says "unlimited" and means less
        _resource.setrlimit(_resource.RLIMIT_NOFILE, (soft, hard))


def files_to_hold() -> int:
    """How many files may be held open for segments: half of what this process may open, for it has
    others, and one at least."""
    soft = int(_resource.getrlimit(_resource.RLIMIT_NOFILE)[0]) if _resource else _ANY
    return max(soft // 2, 1) if soft >= 0 else _ANY  # below 0: no limit


def is_shortage(error: BaseException | None) -> bool:
    """Whether the system refused something because too many files are open."""
    return isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE)
