"""Settings that change while the database is open."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from milvine.config import KEYS, LIVE
from milvine.errors import Unsupported
from milvine.ingest.stores import Stores


def set_live(stores: Stores, key: str, value: str) -> None:
    """Replace the settings by some with another value for `key`, one of KEYS.

    Raises:
        IllegalArgument: the value is malformed or out of range.
        Unsupported: the setting is used once, at the start.
    """
    name, parse = next((name, parse) for name, (known, parse) in KEYS.items() if known == key)
    parsed: Any = parse(key, value)
    if key not in LIVE:
        raise Unsupported(
            f"{key} cannot be changed while the server runs. Set it in the file given to `milvine serve --config` "
            "and start the server again"
        )

    def run() -> None:
        stores.settings = replace(stores.settings, **{name: parsed})

    stores.writer.call(run)
