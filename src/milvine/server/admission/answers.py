"""How many bytes of answers may be in memory at once, from the search or the reading of rows to the
encoded reply.

It bounds what the process takes, so it is counted for the process: by the part of the memory plan
for this, not by a setting. All databases of a process have the same part, and so one budget.
Answers as short as most are do not count.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from types import TracebackType
from typing import Generic, TypeVar

from milvine.errors import OutOfMemory
from milvine.limits import MIB
from milvine.server.admission.budget import SHORT_BYTES, ByteBudget, Held

T_co = TypeVar("T_co", covariant=True)

AS_TEXT = 4
"""How many times as much an answer counts where the reply is JSON."""


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
def budget(most: int) -> AnswerBudget:
    """That of this process for databases whose memory plan has `most` bytes of answers."""
    return AnswerBudget(most)


class _HeldAnswer(Held):
    """Of one answer. An interrupt may keep the `with` from its end; what then dies with it
    is let go all the same."""

    def __init__(self, budget: AnswerBudget) -> None:
        self.budget = budget

    def __del__(self) -> None:
        if not self.over:
            self.budget.let_go(self)


class Answer(Generic[T_co]):
    """`with` it, what `make` returns; there is room for its `size` bytes among the `most` of all
    answers until the end of the `with`.

    Raises:
        OutOfMemory: on the way in, where there is no room, or none in time.
    """

    __slots__ = ("_held", "_make", "_most", "_size")

    def __init__(self, most: int, size: int, make: Callable[[], T_co]) -> None:
        self._most, self._size, self._make = most, size if size > SHORT_BYTES else 0, make
        self._held: _HeldAnswer | None = None

    def __enter__(self) -> T_co:
        if not self._size:
            return self._make()
        self._held = held = _HeldAnswer(budget(self._most))
        try:
            held.budget.take(self._size, held)
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
            self._held.budget.let_go(self._held)
