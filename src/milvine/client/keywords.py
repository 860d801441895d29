"""Keywords that 1.x takes and ignores: a program that has them goes on, and is told."""

from __future__ import annotations

import difflib
import inspect
import warnings
from collections.abc import Callable, Collection
from typing import Any

from milvine.client.exceptions import ParamError

_CALLER = 4  # of the method that warns


def unknown_keywords(method: Callable[..., Any], unknown: Collection[str]) -> None:
    """Warn of each keyword that `method` was given and does not know, with the known one that it
    looks like.
    """
    if unknown:
        known = [
            name for name in inspect.signature(method).parameters if name not in ("self", "unknown")
        ]
        _warn(method.__name__, unknown, known)


def unknown_arguments(name: str, given: Collection[str], known: Collection[str]) -> None:
    """The same for the constructor of the class `name`, which takes whatever it is `given`."""
    _warn(name, [keyword for keyword in given if keyword not in known], known)


def unknown_keys(method: str, given: Collection[Any], known: Collection[str]) -> None:
    """The same for the keys of a dict that `method` takes."""
    _warn(method, [key for key in given if key not in known], known, "key")


def missing(key: str, given: Collection[Any], known: Collection[str]) -> ParamError:
    """The error for a dict without a key that it needs, with the one `given` that looks like it."""
    unknown = {str(each): each for each in given if each not in known}
    close = difflib.get_close_matches(key, unknown, 1)
    hint = f"; {unknown[close[0]]!r} looks like it" if close else ""
    return ParamError(f"{key} is required{hint}")


def _warn(
    name: str, unknown: Collection[Any], known: Collection[str], kind: str = "keyword"
) -> None:
    for keyword in unknown:
        close = difflib.get_close_matches(str(keyword), known, 1)
        hint = f"; did you mean {close[0]}?" if close else ""
        warnings.warn(
            f"{name}: the {kind} {keyword} has no effect{hint}", UserWarning, stacklevel=_CALLER
        )
