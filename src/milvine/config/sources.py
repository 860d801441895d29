"""Where values come from, and which of them wins: flag, environment, file, data folder, default."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from milvine.config.keys import ALL, BY_NAME, SIZES, Key
from milvine.config.settings import Settings
from milvine.config.values import raw, shown
from milvine.errors import IllegalArgument

FLAG, ENVIRONMENT, FILE, FOLDER, DEFAULT = "flag", "environment", "file", "folder", "default"
KEPT_FILE = "settings.yaml"
"""In a data folder: what set_config changed while there was no configuration file."""


@dataclass(frozen=True, slots=True)
class Origin:
    """`kind` is FLAG, ENVIRONMENT, FILE, FOLDER or DEFAULT; `where` names flag,
    variable, or file and line."""

    kind: str
    where: str = ""

    def __str__(self) -> str:
        return self.where or self.kind


@dataclass(frozen=True, slots=True)
class Given:
    """A value that somebody gave. `final`: it is parsed and checked already."""

    value: object
    origin: Origin
    final: bool = False


@dataclass(frozen=True, slots=True)
class Value:
    """The value of a key: `text` as a file has it, `parsed` as Settings do."""

    text: str
    parsed: Any
    origin: Origin


@dataclass(frozen=True)
class Configuration:
    """All keys with their values; `notices` are sentences to log once.

    Attributes:
        file: where values can be changed for good: the configuration file that was given.
        kept: where else, without such a file: in the data folder. None where
            nothing is to be written there.
    """

    values: Mapping[str, Value]
    file: Path | None = None
    kept: Path | None = None
    notices: tuple[str, ...] = field(default=())

    @property
    def settings(self) -> Settings:
        given = {key.field: self.values[key.name] for key in ALL if key.field}
        return Settings(**{name: value.parsed for name, value in given.items()})

    @classmethod
    def of(cls, settings: Settings) -> Configuration:
        """The configuration of a database that was opened with `settings` and without a file."""
        return cls({key.name: _default(key, settings) for key in ALL})

    def with_path(self, folder: str) -> Configuration:
        """The same, with the data folder as it was found in the end."""
        path = replace(self.values["storage.path"], text=folder, parsed=folder)
        return replace(self, values={**self.values, "storage.path": path})


def resolve(sources: Sequence[Mapping[str, Given]], file: Path | None = None) -> Configuration:
    """The values of all keys; earlier sources win over later ones. Names that are no keys are left
    alone.

    Raises:
        IllegalArgument: a value is malformed or out of range, even one that another source hides;
            the text names key,
            value, range and where it stands.
    """
    settings, values = Settings(), {}
    for key in ALL:
        found = [_checked(key, source[key.name]) for source in sources if key.name in source]
        values[key.name] = found[0] if found else _default(key, settings)
    return Configuration(values, file)


def _checked(key: Key, given: Given) -> Value:
    if given.final:
        return Value(shown(given.value, key.name in SIZES), given.value, given.origin)
    try:
        parsed = key.parse(key.name, given.value)
    except IllegalArgument as error:
        raise IllegalArgument(f"{error} ({given.origin})") from None
    return Value(text_of(key, given.value), parsed, given.origin)


def text_of(key: Key, value: object) -> str:
    """A checked value as 1.x shows it: as it was written, `Off` as `Off`; a
    switch of no text is off."""
    return raw(key.name, value) or ("false" if key.parse(key.name, value) is False else "")


def _default(key: Key, settings: Settings) -> Value:
    if not key.field:
        return Value(key.default, key.default, Origin(DEFAULT))
    parsed = getattr(settings, key.field)
    unset = key.default and parsed == getattr(Settings(), key.field)
    return Value(
        key.default if unset else shown(parsed, key.name in SIZES), parsed, Origin(DEFAULT)
    )


VARIABLES = {"MILVINE_" + name.upper().replace(".", "_"): name for name in BY_NAME}
"""Variable of the environment -> key."""
