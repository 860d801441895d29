"""One end for a whole call, whatever it tries on the way: lanes, connecting, waiting, sending
again.
"""

from __future__ import annotations

import time


class Deadline:
    """So many `seconds` from now; None: never."""

    __slots__ = ("end",)

    def __init__(self, seconds: float | None) -> None:
        self.end = None if seconds is None else time.monotonic() + seconds

    def left(self) -> float | None:
        """Seconds until then, 0 afterwards; None: no end."""
        return None if self.end is None else max(self.end - time.monotonic(), 0.0)

    def within(self, most: float, part: int = 1) -> float:
        """Seconds for one step that may take `most`, and one in `part` of what is left."""
        left = self.left()
        return most if left is None else min(most, left / part)

    def over(self) -> bool:
        return self.end is not None and time.monotonic() >= self.end
