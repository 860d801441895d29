"""How the harness starts a module of its own in another process."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

_START = (
    "import json,runpy,sys;sys.path[:]=json.loads(sys.argv.pop(1));"
    "runpy.run_module(sys.argv.pop(1),None,'__main__',True)"
)


def module_command(module: str, arguments: Sequence[str]) -> list[str]:
    """`python -m module arguments`, with the import path of this process, whether or not Milvine is installed."""
    return [sys.executable, "-c", _START, json.dumps(sys.path), module, *arguments]
