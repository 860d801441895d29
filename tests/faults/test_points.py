"""A kill and a refusal at every place of the write path, once each; `make faults` tries every time
it is passed.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from milvine.storage import failpoints
from milvine.testing.crash.command import module_command

SOURCE = Path(__file__).parents[2] / "src" / "milvine"
EACH = os.environ.get("MILVINE_FAULTS_EACH", "1")

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="each case is a fork")


@pytest.mark.crash
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("what", "each"), [("kill", EACH), ("refuse", EACH), ("full", "7")])
def test_at_every_place(what: str, each: str, tmp_path: Path) -> None:
    command = module_command(
        "milvine.testing.faults", [what, "--each", each, "--work", str(tmp_path)]
    )
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"lost 0, .* failures 0", done.stdout)


def test_the_places_are_those_of_the_table() -> None:
    texts = [path.read_text("utf-8") for path in SOURCE.rglob("*.py")]
    passed = {place for text in texts for place in re.findall(r'\bat\("([^"]+)"\)', text)}
    assert passed == set(failpoints.POINTS)


def test_nothing_is_armed_in_production() -> None:
    assert not failpoints.armed
    failpoints.at("log.write")
