"""`kill -9` at random moments: nothing acknowledged is lost. MILVINE_CRASH_CYCLES=50 for a longer
run.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from milvine.testing.crash.__main__ import summary
from milvine.testing.crash.kill import Kills

CYCLES = int(os.environ.get("MILVINE_CRASH_CYCLES", "8"))


@pytest.mark.crash
@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
@pytest.mark.timeout(60 + 20 * CYCLES)
def test_kill(tmp_path: Path) -> None:
    report = Kills(tmp_path, 1, {}).run(CYCLES)
    assert report.ok, "\n".join([summary("cycles", CYCLES, report), *report.notes])
    assert report.rows and report.acknowledged
