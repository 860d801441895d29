"""Processes that are started import from where this one does, and never from the current folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from milvine.config import Settings
from milvine.engine.database import Database
from milvine.interpreter import executable, running, running_module
from milvine.types import IndexSetting, IndexType, MetricType

NAMES = ("json", "re", "types", "enum", "runpy", "signal", "numpy", "milvine")


@pytest.fixture
def hostile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder holds files with the names of modules; the result is there once one of
    them ran.
    """
    ran = tmp_path / "ran"
    for name in NAMES:
        (tmp_path / f"{name}.py").write_text(
            f"open({str(ran)!r}, 'a').write('{name} ')\nraise ImportError('a file')\n"
        )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", ".", *(place for place in sys.path if place)])
    return ran


def told(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


def test_code_and_modules_see_no_file_of_the_current_folder(hostile: Path) -> None:
    code = f"import {', '.join(NAMES)}; print(sys.argv[1:])"
    assert told(running(code, "a", "-b")) == "['a', '-b']\n"
    assert told(running_module("json.tool", "--help")).startswith("usage: ")
    assert told(running_module("milvine", "version"))
    assert not hostile.exists()


def test_a_builder_imports_nothing_from_the_current_folder(hostile: Path, tmp_path: Path) -> None:
    with Database.open(tmp_path / "data", Settings(background=False, build_threads=1)) as database:
        database.create_collection("c", 8, 1024, MetricType.L2)
        database.collection("c").insert(
            np.random.default_rng(1).random((4200, 8), dtype=np.float32), np.arange(4200)
        )
        database.collection("c").create_index(IndexSetting.of(IndexType.IVF_FLAT, {"nlist": 16}))
        (segment,) = database.collection("c").stats().partitions[0].segments
    assert segment.index_name == "IVFFLAT" and not hostile.exists()


@pytest.mark.parametrize(
    "given, found",
    [
        ("/opt/python3.12", "/opt/python3.12"),
        ("/usr/sbin/uwsgi", "python3"),
        ("", "python3"),
        (None, "python3"),
    ],
)
def test_a_program_with_python_in_it_is_no_interpreter(
    monkeypatch: pytest.MonkeyPatch, given: str | None, found: str
) -> None:
    monkeypatch.setattr(sys, "executable", given)
    assert executable().endswith(found)
    monkeypatch.setattr(sys, "frozen", True, raising=False)
    assert executable() == ""


@pytest.mark.parametrize("options", [["-I"], ["-E", "-s"], ["-S"]])
def test_what_is_started_is_kept_from_the_same_as_this_one(options: list[str]) -> None:
    """Code that this interpreter would start, started under other options, starts a third under the
    same.
    """
    flags = ["isolated", "ignore_environment", "no_user_site", "no_site"]
    print_flags = f"print([getattr(sys.flags, flag) for flag in {flags}])"
    code = (
        f"import milvine.interpreter as i, subprocess; subprocess.run(i.running({print_flags!r}),"
        " check=True)"
    )
    command = running(code)
    started = told([command[0], *options, *command[command.index("-c") :]])
    assert started == told([sys.executable, *options, "-c", f"import sys; {print_flags}"])


def test_a_server_started_by_dash_m_leaves_the_current_folder(tmp_path: Path) -> None:
    (tmp_path / "typer.py").write_text("raise SystemExit('ran')\n")
    command = [sys.executable, "-m", "milvine", "version"]
    root = os.pathsep.join(place for place in sys.path if os.path.isabs(place))
    done = subprocess.run(
        command,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": root},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (0, "")
