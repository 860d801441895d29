"""A PostgreSQL of its own for tests: in a temporary folder, on a free port of this machine, and
gone afterwards.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Any

_PLACES = "/usr/lib/postgresql"
_SECONDS = 60.0
_USERS = ("postgres", "nobody")
"""PostgreSQL refuses to run as root."""


def programs() -> Path | None:
    """The folder of `initdb` and `postgres`, the newest; None where they are not installed."""
    found = shutil.which("initdb")
    places = sorted(Path(_PLACES).glob("*/bin"), key=lambda path: float(path.parent.name))
    there = [
        path
        for path in (Path(found).resolve().parent if found else None, *reversed(places))
        if path
    ]
    return next(
        (path for path in there if (path / "postgres").exists() and (path / "initdb").exists()),
        None,
    )


class Cluster:
    """A running server. `uri` is that of a database with nothing in it; `PASSWORD` is in it and
    must show nowhere.
    """

    PASSWORD = "never-to-be-shown"

    def __init__(self) -> None:
        bin_folder = programs()
        assert bin_folder is not None, "PostgreSQL is not installed"
        self._bin, self._folder = bin_folder, Path(tempfile.mkdtemp(prefix="milvine-postgres-"))
        self._as: dict[str, Any] = {}
        if os.name == "posix" and os.geteuid() == 0:
            self._as = {"user": _own(self._folder), "extra_groups": []}
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        made = [
            "initdb",
            "-D",
            "data",
            "-U",
            "milvine",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--locale=C",
            "--no-sync",
        ]
        self._run(made, check=True)
        self.start()

    @property
    def uri(self) -> str:
        return f"postgresql://milvine:{self.PASSWORD}@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        """Start the server and wait until it answers."""
        options = [
            "-k",
            str(self._folder),
            "-c",
            "listen_addresses=127.0.0.1",
            "-c",
            "shared_buffers=16MB",
        ]
        with open(self._folder / "log", "ab") as log:
            self._server = subprocess.Popen(
                [str(self._bin / "postgres"), "-D", "data", "-p", str(self.port), *options],
                cwd=self._folder, stdout=log, stderr=log, **self._as,
            )  # fmt: skip
        deadline = time.monotonic() + _SECONDS
        while not self._answers():
            if self._server.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError((self._folder / "log").read_text(errors="replace"))
            time.sleep(0.05)

    def stop(self) -> None:
        """Stop the server: sessions end at once, what is committed stays."""
        self._server.send_signal(signal.SIGINT)
        self._server.wait(_SECONDS)

    def close(self) -> None:
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def sql(self, statement: str) -> list[Any]:
        """Run a statement of one's own."""
        import psycopg

        with psycopg.connect(self.uri, autocommit=True) as connection:
            answer = connection.execute(statement)  # type: ignore[call-overload, unused-ignore]
            return list(answer.fetchall()) if answer.description else []

    def end_sessions(self) -> int:
        """End the sessions of all catalogs, as a lost network would."""
        every = (
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name"
            " LIKE 'milvine-%'"
        )
        return len(self.sql(every))

    def _answers(self) -> bool:
        ready = ["pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port)]
        return self._run(ready).returncode == 0

    def _run(self, command: list[str], check: bool = False) -> subprocess.CompletedProcess[bytes]:
        words = [str(self._bin / command[0]), *command[1:]]
        return subprocess.run(words, cwd=self._folder, check=check, capture_output=True, **self._as)

    def __enter__(self) -> Cluster:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.close()


def _own(folder: Path) -> str:
    """Give the folder to one of those that PostgreSQL may run as."""
    for user in _USERS:
        try:
            shutil.chown(folder, user)
        except LookupError:
            continue
        return user
    raise RuntimeError(f"there is none of the users {', '.join(_USERS)}")
