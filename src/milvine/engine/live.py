"""Settings that change while the database is open."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from milvine.config import BY_NAME
from milvine.errors import Unsupported
from milvine.state.stores import Stores


def set_live(stores: Stores, key: str, value: str) -> None:
    """Replace the settings by some with another value for `key`, one of KEYS.

    Raises:
        IllegalArgument: the value is malformed or out of range.
        Unsupported: the setting is used once, at the start.
    """
    setting = BY_NAME[key]
    parsed: Any = setting.parse(key, value)
    if not setting.live:
        raise Unsupported(
            f"{key} cannot be changed while the server runs. Set it in the file given to `milvine"
            " serve --config` and start the server again"
        )

    def run() -> None:
        stores.settings = replace(stores.settings, **{setting.field: parsed})
        stores.files.bytes_max = stores.settings.cache_size

    stores.writer.call(run)
