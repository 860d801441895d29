"""grpcio behind the native door: services that it cannot serve itself go over a Unix socket to a server made here."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc

_THREADS = 8
_STOP_SECONDS = 0.1


class Fallback:
    """Serves `handlers` at the Unix socket `path`, from the moment it is made until `stop`."""

    def __init__(self, handlers: Sequence[Any]) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="milvine-"))  # for this user alone
        self.path = str(self._folder / "door")
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="milvine-fallback")
        self._server = grpc.server(self._threads, handlers=tuple(handlers))
        self._server.add_insecure_port(f"unix:{self.path}")
        self._server.start()

    def stop(self) -> None:
        """What is still open is cancelled."""
        self._server.stop(_STOP_SECONDS).wait()
        self._threads.shutdown(wait=False)
        shutil.rmtree(self._folder, ignore_errors=True)
