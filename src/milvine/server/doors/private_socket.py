"""A Unix socket in a folder that is open to this user alone."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path


class PrivateSocket:
    """The folder is made at once, the socket by whoever listens at `path`; `target` is what grpcio
    calls it.
    """

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="milvine-"))
        self.path = str(self._folder / "door")
        self.target = f"unix:{self.path}"

    def remove(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)
