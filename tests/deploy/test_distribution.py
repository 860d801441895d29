"""What `make dist` would publish: the wheel and the sdist hold what they should, and what looks
into them sees where they do not.
"""

from __future__ import annotations

import os
import runpy
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import milvine

pytest.importorskip("hatchling", reason="hatchling, of the extra `dev`, builds the wheel")

ROOT = Path(__file__).parents[2]
CONTENTS = runpy.run_path(str(ROOT / "scripts" / "dist_contents.py"))
WHEEL = f"milvine-{milvine.__version__}-py3-none-any.whl"
ABOUT = f"milvine-{milvine.__version__}.dist-info"
Files = dict[str, bytes]


@pytest.fixture(scope="module")
def checkout() -> set[str]:
    """What is not committed yet counts as well: this is no release."""
    found: set[str] = CONTENTS["tracked"](with_new=True)
    return found


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with both. Without an environment of its own, so that it takes a second."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-t", "wheel"]
    done = subprocess.run(
        [*command, "-d", str(folder)], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture
def wheel(built: Path) -> Files:
    files: Files = CONTENTS["files_of_wheel"](built / WHEEL)
    return files


@pytest.fixture
def sdist(built: Path) -> Files:
    (path,) = built.glob("*.tar.gz")
    files: Files = CONTENTS["files_of_sdist"](path)
    return files


def test_both_hold_what_they_should_and_say_what_they_are(built: Path) -> None:
    assert CONTENTS["faults_in"](built, with_new=True) == []


def test_the_packages_of_the_wheel_play_the_hello_world_page(built: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(built / WHEEL) as archive:
        archive.extractall(tmp_path / "packages")
    shutil.copy(ROOT / "examples" / "hello.py", tmp_path)
    where = "import milvus, milvine; print(milvus.__file__, milvine.__file__)"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "packages")}
    for arguments, expected in ((["-c", where], "packages"), (["hello.py"], "milvus.close()")):
        done = subprocess.run(
            [sys.executable, *arguments],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert expected in done.stdout


def test_the_readme_names_this_wheel() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"pip install dist/{WHEEL}\n" in text


def without(name: str) -> Callable[[Files], Any]:
    return lambda files: files.pop(name)


def having(name: str, content: bytes) -> Callable[[Files], Any]:
    return lambda files: files.update({name: content})


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (without("milvus/py.typed"), "the wheel lacks: milvus/py.typed"),
        (without("milvine/wire/proto/milvus.proto"), "lacks: milvine/wire/proto/milvus.proto"),
        (without(f"{ABOUT}/RECORD"), "the wheel lacks"),
        (having("tests/house.py", b""), "none of its packages: tests/house.py"),
        (having("milvine/cli/__pycache__/x.pyc", b""), "none of its packages"),
        (having("milvus/__init__.py", b"old"), "another text than src of: milvus/__init__.py"),
        (having(f"{ABOUT}/licenses/LICENSE", b"MIT"), "is not the LICENSE of the checkout"),
        (having(f"{ABOUT}/entry_points.txt", b""), "lacks the line `milvine = milvine.cli:main`"),
        (having(f"{ABOUT}/WHEEL", b"Tag: cp312-cp312-linux_x86_64"), "`Tag: py3-none-any`"),
    ],
)
def test_it_sees_a_broken_wheel(
    wheel: Files, checkout: set[str], change: Callable[[Files], Any], fault: str
) -> None:
    change(wheel)
    assert any(fault in each for each in CONTENTS["wheel_faults"](wheel, checkout))


def test_it_sees_a_broken_sdist(sdist: Files, checkout: set[str]) -> None:
    del sdist["LICENSE"]
    assert len(CONTENTS["sdist_faults"](sdist, checkout)) == 2
    if not checkout:
        pytest.skip("git does not know this folder: nothing tells which files belong to it")
    sdist.update({f"bench/out/{run}.json": b"{}" for run in range(7)})
    del sdist["tests/conftest.py"]
    lacking, stray, _ = CONTENTS["sdist_faults"](sdist, checkout)
    assert lacking.endswith(": LICENSE, tests/conftest.py")
    assert "not tracked: bench/out/0.json" in stray and stray.endswith("and 2 more")


@pytest.mark.parametrize(
    ("before", "after", "fault"),
    [
        ("Name: milvine", "Name: milvus", "Name is ['milvus'], not ['milvine']"),
        ("\nVersion: ", "\nVersion: 9", "Version is ['9"),
        ("License-Expression: Apache-2.0\n", "", "License-Expression is []"),
        ("License-File: LICENSE\n", "", "License-File is []"),
        (":: 3.14", ":: 3.15", "classifiers lack Python: 3.14"),
        (":: 3.14", ":: 3.15", "a Python that is not tried: 3.15"),
        ("Provides-Extra: native\n", "", "extras are missing: native"),
        ("Provides-Extra: native\n", "Project-URL: Home, https://example.com\n", "lead nowhere"),
        ("text/markdown", "text/x-rst", "Description-Content-Type is ['text/x-rst']"),
        ("\n# Milvine", "\n# Other", "the description is not README.md"),
    ],
)
def test_it_sees_wrong_metadata(wheel: Files, before: str, after: str, fault: str) -> None:
    text = wheel[f"{ABOUT}/METADATA"].decode()
    assert before in text
    faults = CONTENTS["metadata_faults"](text.replace(before, after))
    assert any(fault in each for each in faults), faults
