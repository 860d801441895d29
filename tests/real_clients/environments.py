"""Environments of their own for clients from PyPI: made once, kept in `.cache/real-clients`."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
CACHE = ROOT / ".cache" / "real-clients"
# What the old clients import. Their own pins name a grpcio that no current Python has wheels for.
# Beside the pins: their generated code needs the old protobuf, and pkg_resources is no longer in
# setuptools.
_IMPORTS = ("protobuf<3.21", "grpcio", "ujson", "requests", "numpy", "setuptools<81")
_BEST_FIRST = ("3.11", "3.10", "3.12", "3.13")


class Unavailable(Exception):
    """No interpreter, or no registry, to make the environment with."""


def python_with(client: str) -> Path:
    """The interpreter of an environment that has `client`, e.g. "pymilvus==1.1.2".

    Raises:
        Unavailable: it could not be made; the text says why.
    """
    reasons = ["no Python 3.10 to 3.13 was found"]
    for version, interpreter in _interpreters():
        name = f"{client.replace('==', '-')}-py{version.replace('.', '')}"
        python = CACHE / name / "bin" / "python"
        if python.exists():
            return python
        try:
            _make(CACHE / name, interpreter, client)
            return python
        except (subprocess.SubprocessError, OSError) as error:
            reasons.append(f"Python {version}: {_last_lines(error)}")
    raise Unavailable(f"{client} could not be installed: {'; '.join(reasons[1:] or reasons)}")


def _interpreters() -> Iterator[tuple[str, str]]:
    listing = subprocess.run(
        ["sh", str(ROOT / "scripts" / "pythons")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    ).stdout
    found = dict(line.split(" ", 1) for line in listing.splitlines())
    return ((version, found[version]) for version in _BEST_FIRST if version in found)


def _make(folder: Path, interpreter: str, client: str) -> None:
    """Made aside and moved into place whole, so that an interrupted run leaves nothing
    half done.
    """
    CACHE.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE) as aside:
        _run(interpreter, "-m", "venv", f"{aside}/env")
        pip = (
            f"{aside}/env/bin/python",
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
        )
        _run(*pip, "--no-deps", client)
        _run(*pip, *_IMPORTS)
        _run(f"{aside}/env/bin/python", "-c", "import milvus")
        if not folder.exists():
            shutil.move(f"{aside}/env", folder)


def _run(*command: str) -> None:
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in ("PYTHONPATH", "PYTHONHOME")
    }
    subprocess.run(
        command, check=True, capture_output=True, text=True, timeout=600, env=environment
    )


def _last_lines(error: Exception) -> str:
    text = str(getattr(error, "stderr", "") or error).strip().splitlines()
    return " ".join(text[-2:]) if text else repr(error)
