"""A storage that has no folder, for tests of what the engine asks of any: whole objects by key,
kept in this process, as a bucket keeps them. Who wants a path gets a copy in a folder for a while.
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np

from milvine.errors import StorageFailed
from milvine.storage.base import Sink, Storage
from milvine.types import Bytes


class Bucket:
    """The objects, which outlive the storages that are opened over them."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}


class _Upload:
    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self.position = 0

    def write(self, data: bytes | memoryview) -> int:
        part = bytes(memoryview(data).cast("B"))
        self._parts.append(part)
        self.position += len(part)
        return len(part)

    def whole(self) -> bytes:
        return b"".join(self._parts)


class ObjectStorage:
    """`milvine.storage.base.Storage` over a bucket. Copies for those who want a path lie in
    `scratch`.
    """

    def __init__(self, bucket: Bucket, scratch: Path) -> None:
        self._bucket, self._scratch = bucket, scratch

    @property
    def mapped_folder(self) -> Path | None:
        return None

    def shown(self, name: str) -> str:
        return f"bucket://{name}"

    @contextmanager
    def create(self, name: str) -> Iterator[Sink]:
        upload = _Upload()
        try:
            yield upload
        except OSError as error:
            raise StorageFailed(f"Cannot write {self.shown(name)}: {error}") from error
        self._put(name, upload.whole())

    @contextmanager
    def create_at(self, name: str) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(dir=self._scratch) as folder:
            path = Path(folder) / name
            path.touch()
            yield path
            self._put(name, path.read_bytes())

    def _put(self, name: str, data: bytes) -> None:
        if name in self._bucket.objects:
            raise StorageFailed(f"{self.shown(name)} is there already")
        self._bucket.objects[name] = data

    @contextmanager
    def names_together(self) -> Iterator[Storage]:
        yield self

    def read(self, name: str, scattered: bool = False) -> Bytes:
        return np.frombuffer(self._object(name), np.uint8)

    def _object(self, name: str) -> bytes:
        try:
            return self._bucket.objects[name]
        except KeyError:
            raise StorageFailed(f"Cannot read {self.shown(name)}: no such object") from None

    def open(self, name: str) -> BinaryIO:
        try:
            return io.BytesIO(self._bucket.objects[name])
        except KeyError:
            raise FileNotFoundError(self.shown(name)) from None

    @contextmanager
    def local_file(self, name: str) -> Iterator[Path]:
        data = self._object(name)
        with tempfile.TemporaryDirectory(dir=self._scratch) as folder:
            path = Path(folder) / name
            path.write_bytes(data)
            yield path

    def size(self, name: str) -> int:
        return len(self._bucket.objects.get(name, b""))

    def sizes(self) -> dict[str, int]:
        return {name: len(data) for name, data in self._bucket.objects.copy().items()}

    def names(self) -> list[str]:
        return sorted(self._bucket.objects)

    def remove(self, name: str) -> bool:
        self._bucket.objects.pop(name, None)
        return True

    def check_room(self) -> None:
        return

    def close(self) -> None:
        return
