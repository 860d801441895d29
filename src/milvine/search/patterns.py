"""Tag patterns: regular expressions from outside, matched in time that is linear in pattern and
tag.

A backtracking matcher can be kept busy for years by thirty characters such as `(a+)+b`, and holds
the interpreter lock meanwhile. RE2 cannot, and bounds its memory as well. It knows neither
lookaheads nor references to groups; of the two the lookahead at the beginning is what people write
(`(?!draft_).*`), so that is matched as a condition of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from time import monotonic
from typing import Any

import re2

from milvine.errors import IllegalPartition

SECONDS_MAX = 2.0
"""What one request may spend on matching its patterns, 4,096 tags included."""

_LENGTH_MAX = 4096  # characters; compiled ones are kept by their text
_MEMORY_MAX = 1 << 20  # bytes of one compiled pattern
_LOOKAHEADS = {"(?=": True, "(?!": False}

Matcher = Callable[[str], bool]


class PatternClock:
    """Time that the patterns of one request take together."""

    def __init__(self) -> None:
        self._end = monotonic() + SECONDS_MAX

    def check(self, pattern: str) -> None:
        """Raises IllegalPartition when no time is left."""
        if monotonic() > self._end:
            raise IllegalPartition(
                f"Invalid partition tag pattern: {pattern}. It takes more than {SECONDS_MAX:g}"
                " seconds to match"
            )


def matcher(pattern: str) -> Matcher:
    """Whether a tag as a whole matches `pattern`.

    Raises:
        IllegalPartition: it is no regular expression, or one that RE2 does not take.
    """
    if len(pattern) > _LENGTH_MAX:
        raise IllegalPartition(
            f"Invalid partition tag pattern: {pattern[:40]}... It has over {_LENGTH_MAX} characters"
        )
    try:
        conditions, rest = _leading(pattern)
        parts = [(_compiled(text).match, wanted) for text, wanted in conditions]
        whole = _compiled(rest).fullmatch
    except UnicodeError:
        raise IllegalPartition(
            f"Invalid partition tag pattern: {pattern!a}. It is no Unicode text"
        ) from None
    except re2.error as error:
        raise IllegalPartition(
            f"Invalid partition tag pattern: {pattern}. {_reason(error)}"
        ) from None
    return lambda tag: (
        all((part(tag) is not None) is wanted for part, wanted in parts) and whole(tag) is not None
    )


@lru_cache(maxsize=64)
def _compiled(text: str) -> Any:
    options = re2.Options()
    options.log_errors, options.max_mem = False, _MEMORY_MAX
    return re2.compile(text, options=options)


def _reason(error: Exception) -> str:
    told = error.args[0] if error.args else ""
    return told.decode(errors="replace") if isinstance(told, bytes) else str(error)


def _leading(pattern: str) -> tuple[list[tuple[str, bool]], str]:
    """The lookaheads at the beginning as (expression, whether it must match), and what follows
    them.
    """
    found, rest = [], pattern.removeprefix("^")
    while rest[:3] in _LOOKAHEADS:
        end = _closing(rest)
        if end < 0:
            return [], pattern
        found.append((rest[3:end], _LOOKAHEADS[rest[:3]]))
        rest = rest[end + 1 :]
    if not found or _alternatives(rest):  # `(?=a)b|c` looks ahead before b alone
        return [], pattern
    return found, rest


def _closing(text: str) -> int:
    """Where the group closes that `text` begins with; -1 when it does not."""
    return next(
        (at for at, depth, char in _outside_classes(text) if char == ")" and depth == 0), -1
    )


def _alternatives(text: str) -> bool:
    return any(char == "|" and depth == 0 for _, depth, char in _outside_classes(text))


def _outside_classes(text: str) -> Iterator[tuple[int, int, str]]:
    """(position, depth of groups behind it, character) of what is neither escaped nor within
    brackets.
    """
    at, depth, bracket = 0, 0, -1
    while at < len(text):
        char = text[at]
        if char == "\\":
            at += 2
            continue
        if bracket >= 0:
            if char == "]" and at > bracket + 1 + (text[bracket + 1 : bracket + 2] == "^"):
                bracket = -1
        elif char == "[":
            bracket = at
        else:
            depth += (char == "(") - (char == ")")
            yield at, depth, char
        at += 1
