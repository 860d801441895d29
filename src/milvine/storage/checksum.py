"""CRC32C of any buffer, without copying it."""

from __future__ import annotations

import google_crc32c
import numpy as np

from milvine.types import Bytes


def crc32c(*parts: bytes | memoryview | Bytes, start: int = 0) -> int:
    """CRC32C over `parts` in order, going on from `start`."""
    value = start
    for part in parts:
        if isinstance(part, bytes):
            value = google_crc32c.extend(value, part)
        elif part.nbytes:  # the library takes arrays, but no memoryview
            value = google_crc32c.extend(value, np.frombuffer(part, np.uint8))
    return int(value)
