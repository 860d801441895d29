"""The JSON text in `extra_params` (specification 2.1)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from milvine.server.operations.refusals import MalformedRequest

PARAMS_KEY = "params"


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


_JSON = json.JSONDecoder(parse_constant=_refuse)


def params_text(pairs: Any) -> str | None:
    """The value of the last pair with key `params`; None when there is none."""
    return next((str(pair.value) for pair in reversed(pairs) if pair.key == PARAMS_KEY), None)


def parse_params(text: str | None) -> object:
    """The JSON value; None for absent text.

    Raises:
        MalformedRequest: it is no JSON.
    """
    if text is None:
        return None
    if text == "{}":
        return {}
    try:
        return _JSON.decode(text)
    except (ValueError, RecursionError):
        raise MalformedRequest.bad_json() from None


def as_mapping(params: object) -> Mapping[str, Any]:
    """The parameters by name; nothing where the JSON value is no object."""
    return params if isinstance(params, dict) else {}
