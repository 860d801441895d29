"""The JSON text in `extra_params` (specification 2.1)."""

from __future__ import annotations

import json
import re
from functools import lru_cache
from typing import Any

from milvine.errors import CallerError
from milvine.server.operations.refusals import MalformedRequest

PARAMS_KEY = "params"


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


_SHORT_TEXT = 256
_JSON = json.JSONDecoder(parse_constant=_refuse)


def params_text(pairs: Any) -> str | None:
    """The value of the last pair with key `params`; None when there is none."""
    return next((str(pair.value) for pair in reversed(pairs) if pair.key == PARAMS_KEY), None)


def parse_params(text: str | None) -> object:
    """The JSON value, not to be changed; None for absent text.

    Raises:
        MalformedRequest: it is no JSON.
    """
    if text is None:
        return None
    try:
        return _value_of(text) if len(text) <= _SHORT_TEXT else _JSON.decode(text)
    except (ValueError, RecursionError):
        raise MalformedRequest.bad_json() from None


@lru_cache(maxsize=64)  # a program searches with the same few parameters
def _value_of(text: str) -> object:
    return _JSON.decode(text)


def file_number(text: str) -> int:
    """A file id as 1.x reads it: blanks in front and whatever follows the digits are ignored.

    Raises:
        CallerError: no number, or none of 64 bits; in the words of 1.x, the name of its conversion.
    """
    digits = re.match(r"[ \t\n\v\f\r]*\+?([0-9]{1,20})(?![0-9])", text)
    if digits is None or int(digits[1]) >= 1 << 64:
        raise CallerError("stoul")
    return int(digits[1])
