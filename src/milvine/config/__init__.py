"""Settings and the keys they come from. Nothing here reads the environment or a file: `milvine.cli`
does.
"""

from __future__ import annotations

from dataclasses import fields

from milvine.config.bounded import bounded
from milvine.config.keys import ALL, BY_NAME, DOORS, KEYS, LIVE, SIZES, Key
from milvine.config.settings import Settings
from milvine.config.sources import VARIABLES, Configuration, Given, Origin, Value, resolve, text_of
from milvine.config.values import parse_bool, parse_size, shown
from milvine.redaction import as_shown

__all__ = [
    "ALL", "BY_NAME", "Configuration", "DOORS", "Given", "KEYS", "Key", "LIVE", "Origin",
    "Settings", "VARIABLES",
    "Value", "as_text", "bounded", "default_text", "parse_bool", "parse_size",
    "resolve", "text_of",
]  # fmt: skip


def as_text(settings: Settings) -> dict[str, str]:
    """Key -> value as a configuration file would have it, sizes in the largest whole unit; idle
    keys left out.
    """
    values = {key: shown(getattr(settings, name), key in SIZES) for name, (key, _) in KEYS.items()}
    return {key: as_shown(key, text) for key, text in values.items()}


def default_text(key: Key) -> str:
    """The default of a key as a configuration file would have it."""
    return key.default or (
        shown(getattr(Settings(), key.field), key.name in SIZES) if key.field else ""
    )


assert set(KEYS) | {"background", "index_rows_min"} == {f.name for f in fields(Settings)}
