"""How many bytes of answers may be in memory at once, from the search or the reading of rows to the
encoded reply.

It bounds what the process takes, so it is counted for the process: by the part of its memory that
it may use for this, not by a setting. Answers as short as most are do not count.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from types import TracebackType
from typing import Generic, TypeVar

from milvine.config.bounded import LEAST_BYTES, PROGRAM_BYTES
from milvine.errors import OutOfMemory
from milvine.limits import MIB, RESULT_BYTES_MAX
from milvine.memory import memory_limit
from milvine.server.admission.budget import SHORT_BYTES, ByteBudget, Held

T_co = TypeVar("T_co", covariant=True)

_SHARE = 16
"""The part of the memory that may be taken, as a divisor: an answer takes four times its size
before it is sent.
"""
AS_TEXT = 4
"""How many times as much that is where the reply is JSON."""


def answer_bytes_max(limit: int) -> int:
    """Bytes of answers at once in a process that may take `limit` bytes of memory; 0:
    nobody knows.
    """
    return (
        min(RESULT_BYTES_MAX, max((limit - PROGRAM_BYTES) // _SHARE, LEAST_BYTES))
        if limit
        else RESULT_BYTES_MAX
    )


class AnswerBudget(ByteBudget):
    """Thread-safe."""

    def _refusal(self, size: int, waited: str = "") -> OutOfMemory:
        if size > self._max:
            return OutOfMemory(
                f"The answer would take {size // MIB} MB; the limit is {self._max // MIB} MB. "
                "Send fewer queries at a time or ask for fewer hits"
            )
        return OutOfMemory(
            f"An answer of {size} bytes does not fit beside {self._used} bytes of others; the limit"
            f" is {self._max}. Ask for less at a time or try again later{waited}"
        )


@cache
def budget() -> AnswerBudget:
    """That of this process."""
    return AnswerBudget(answer_bytes_max(memory_limit()))


class _HeldAnswer(Held):
    """Of one answer. An interrupt may keep the `with` from its end; what then dies with it
    is let go all the same."""

    def __del__(self) -> None:
        if not self.over:
            budget().let_go(self)


class Answer(Generic[T_co]):
    """`with` it, what `make` returns; there is room for its `size` bytes until the end of the
    `with`.

    Raises:
        OutOfMemory: on the way in, where there is no room, or none in time.
    """

    __slots__ = ("_held", "_make", "_size")

    def __init__(self, size: int, make: Callable[[], T_co]) -> None:
        self._size, self._make = size if size > SHORT_BYTES else 0, make
        self._held: _HeldAnswer | None = None

    def __enter__(self) -> T_co:
        if not self._size:
            return self._make()
        self._held = _HeldAnswer()
        try:
            budget().take(self._size, self._held)
            return self._make()
        except BaseException:
            self._let_go()
            raise

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        if self._held:
            self._let_go()

    def _let_go(self) -> None:
        if self._held:
            budget().let_go(self._held)
