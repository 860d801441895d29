"""Flipped bytes, cut and removed files: named, never answered wrongly. `make faults` does more."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from milvine.testing.crash.command import module_command

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="each case is a fork")


@pytest.mark.parametrize(("what", "count"), [("flips", "12"), ("cuts", "8"), ("removals", "6")])
def test_damage_is_named_and_nothing_is_answered_wrongly(
    what: str, count: str, tmp_path: Path
) -> None:
    arguments = [what, "--count", count, "--seed", "3", "--work", str(tmp_path)]
    done = subprocess.run(
        module_command("milvine.testing.faults", arguments),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "wrong or silent 0" in done.stdout
