"""`settings.yaml` in a data folder: what set_config changed there while no configuration file was
given.

It belongs to who writes the folder: a server that only reads it takes none of it. A backup does not
hold it, for a restored database is another server's, with other ports and places.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

from milvine.config import BY_NAME, Configuration, Given, Settings, Value, bounded, resolve
from milvine.config.sources import FOLDER, KEPT_FILE
from milvine.errors import IllegalArgument, StorageFailed, Unsupported
from milvine.storage.durable import write_file

_WHERE = "storage.path"
_IN_FOLDER = Settings().meta_uri  # where a catalog is unless somebody says so
_READERS = {"cluster.enable": True, "cluster.role": "ro"}
_HEAD = """# What set_config changed while there was no configuration file. `milvine config show`
# tells what counts. Options, the environment and a file of --config win over it. It may be
# edited, or removed, while nobody has the folder open.
"""
_MODE = 0o600  # it may hold the password of the catalog


def with_kept(given: Configuration, folder: Path, *sources: dict[str, Given]) -> Configuration:
    """The values of all keys where those that `folder` keeps count for less than
    `sources`, which gave `given`.

    Raises:
        IllegalArgument: the file is damaged, or holds a value that is malformed or out of range.
    """
    if only_reads(given):
        return given
    path = folder / KEPT_FILE
    held, notices = _held(path) if path.exists() else ({}, [])
    found = resolve((*sources, held), given.file)
    return Configuration(found.values, given.file, path, (*given.notices, *notices))


def only_reads(given: Configuration) -> bool:
    """Whether a server with these values reads the folder of another: it keeps nothing there."""
    return all(given.values[name].parsed == value for name, value in _READERS.items())


def embedded_configuration(folder: Path) -> Configuration:
    """That of a database in this process: what its folder keeps, and defaults that fit
    into the memory there is. Its notices are those of the file: how its defaults were made to
    fit is no news to every program that opens a folder.

    Raises:
        IllegalArgument: as `with_kept`.
    """
    kept = with_kept(resolve(()), folder).with_path(str(folder))
    return replace(bounded(kept), notices=kept.notices)


def _held(path: Path) -> tuple[dict[str, Given], list[str]]:
    try:
        held, notices = yaml_files().values_of(path, FOLDER)
    except IllegalArgument as error:
        raise IllegalArgument(
            f"{error}. Mend the file, or remove it: it holds what set_config changed"
        ) from None
    if held.pop(_WHERE, None):
        notices.append(
            f"{path} names another {_WHERE}, which is ignored: a folder cannot say where it is"
        )
    return held, notices


def check_kept(values: Mapping[str, Value], name: str, value: object) -> None:
    """Whether a folder that keeps `value` beside its other `values` can be opened again, and
    written to.

    Raises:
        Unsupported: it cannot.
    """
    before = values[name].parsed
    if value == before:
        return
    if name == "general.meta_uri" and _IN_FOLDER in (value, before):
        raise Unsupported(
            f"{name} stays as it is: the folder has its catalog, and does not open with another."
            f" Take an empty folder, and name the catalog with --config or in its {KEPT_FILE}"
        )
    if name == "wal.path":
        raise Unsupported(
            f"{name} stays as it is while the folder is open: its log would not move along. Close"
            f" it, move the *.wal files, and write the new place into {KEPT_FILE} in the data"
            " folder, or start with --config FILE"
        )
    changed = {each: values[each].parsed for each in _READERS} | {name: value}
    if name in _READERS and changed == _READERS:
        raise Unsupported(
            f"{name} stays as it is: who writes this folder keeps its settings here, and would only"
            " read it. Start another server, with --config FILE or --set, as the reader"
        )


def with_places(configuration: Configuration, text: str) -> str:
    """The text of an error, with the lines of the folder's own file whose keys it names."""
    places = [
        f"{name} is from {value.origin}"
        for name, value in configuration.values.items()
        if value.origin.kind == FOLDER and re.search(rf"\b{re.escape(name)}\b", text)
    ]
    return f"{text} ({'; '.join(places)})" if places else text


def keep(path: Path, name: str, value: str | list[str]) -> None:
    """Write one value, durably and atomically.

    Raises:
        IllegalArgument: the file is no configuration any more.
        StorageFailed: it cannot be written.
    """
    key = BY_NAME[name]
    yaml = yaml_files()
    old = yaml.read_text(path) if path.exists() else _HEAD
    try:
        write_file(path, yaml.edited(old, key.section, key.item, value, str(path)).encode(), _MODE)
    except OSError as error:
        reason = error.strerror or os.strerror(error.errno or 0)
        raise StorageFailed(f"Cannot write {path}: {reason}. Nothing was changed") from error


def yaml_files() -> Any:
    """What reads and edits such files, imported where there is one: most programs that open a
    database have none, and would wait for it.
    """
    return import_module("milvine.server.configuration.config_file")
