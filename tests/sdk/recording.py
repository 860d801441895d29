"""A script in another language, and what it printed when it was recorded. MILVINE_RECORD=1 records
it anew.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def recorded(outcome: Path) -> Any:
    return json.loads(outcome.read_text(encoding="utf-8"))


def assert_as_recorded(command: Sequence[str], outcome: Path) -> None:
    """`command` ends well and prints the JSON in `outcome`."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    if os.environ.get("MILVINE_RECORD"):
        outcome.write_text(done.stdout, encoding="utf-8")
    assert json.loads(done.stdout) == recorded(outcome)
