"""Memory for rows that the system may write out when it needs room: mapped files without a name.

For more rows than there is memory for, as a log may hold that is read back under a smaller limit
than it was written.
"""

from __future__ import annotations

import mmap
import os
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike, NDArray

from milvine.storage.durable import refusal

_ALIGNMENT = 64


class SwappedMemory:
    """Arrays in files in `folder`, each of `region_bytes` at least, which go when no array needs
    them. Where files cannot be reserved, plain memory.
    """

    def __init__(self, folder: Path, region_bytes: int = 16 << 20) -> None:
        self._folder, self._region_bytes = folder, region_bytes
        self._region = np.empty(0, np.uint8)
        self._used = 0

    def empty(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[np.generic]:
        """An array of zeros.

        Raises:
            StorageFailed: there is no room on the disk.
        """
        kind = np.dtype(dtype)
        size = int(np.prod(shape)) * kind.itemsize
        if self._used + size > len(self._region):
            self._region, self._used = self._reserve(max(size, self._region_bytes)), 0
        array = self._region[self._used : self._used + size].view(kind).reshape(shape)
        self._used += size + -size % _ALIGNMENT
        return array

    def _reserve(self, size: int) -> NDArray[np.uint8]:
        if not hasattr(os, "posix_fallocate"):
            return np.zeros(size, np.uint8)
        try:
            with tempfile.TemporaryFile(dir=self._folder) as file:
                # Else a full disk would end the process later on.
                os.posix_fallocate(file.fileno(), 0, size)
                return np.frombuffer(mmap.mmap(file.fileno(), size), np.uint8)
        except OSError as error:
            raise refusal(f"reserve {size} bytes in {self._folder}", error) from error
