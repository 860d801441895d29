"""A 1.x `server_config.yaml` as settings and a data folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from milvine.config import Settings
from milvine.errors import IllegalArgument

DATA_FOLDER = "milvine-data"


def read_configuration(path: Path) -> tuple[Settings, str | None]:
    """Settings of the file, and its `storage.path` if it has one.

    Raises:
        IllegalArgument: the file is missing, no YAML of two levels, or a value is out of range.
    """
    sections = {name: items for name, items in _load(path).items() if isinstance(items, Mapping)}
    folder = sections.get("storage", {}).get("path")
    return Settings.from_sections(sections), None if folder is None else str(folder)


def _load(path: Path) -> Mapping[str, Any]:
    try:
        loaded = YAML(typ="safe").load(path)
    except OSError as error:
        raise IllegalArgument(f"Cannot read {path}: {error.strerror}") from None
    except (YAMLError, UnicodeDecodeError) as error:
        raise IllegalArgument(f"{path} is no YAML: {error}") from None
    if not isinstance(loaded or {}, Mapping):
        raise IllegalArgument(f"{path} holds no sections")
    return loaded or {}
