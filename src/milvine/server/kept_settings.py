"""`settings.yaml` in a data folder: what set_config changed there while no configuration file was
given.

It belongs to who writes the folder: a server that only reads it takes none of it. A backup does not
hold it, for a restored database is another server's, with other ports and places.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from milvine.config import BY_NAME, Configuration, Given, bounded, resolve
from milvine.config.sources import FOLDER, KEPT_FILE
from milvine.errors import IllegalArgument, StorageFailed
from milvine.memory import memory_limit
from milvine.server.config_file import edited, read_text, values_of
from milvine.storage.durable import write_file

_WHERE = "storage.path"
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
    values = given.values
    return bool(values["cluster.enable"].parsed) and values["cluster.role"].parsed == "ro"


def embedded_configuration(folder: Path) -> Configuration:
    """That of a database in this process: what its folder keeps, and defaults that fit
    into the memory there is. Its notices are those of the file: how its defaults were made to
    fit is no news to every program that opens a folder.

    Raises:
        IllegalArgument: as `with_kept`.
    """
    kept = with_kept(resolve(()), folder).with_path(str(folder))
    return replace(bounded(kept, memory_limit()), notices=kept.notices)


def _held(path: Path) -> tuple[dict[str, Given], list[str]]:
    try:
        held, notices = values_of(path, FOLDER)
    except IllegalArgument as error:
        raise IllegalArgument(
            f"{error}. Mend the file, or remove it: it holds what set_config changed"
        ) from None
    if held.pop(_WHERE, None):
        notices.append(
            f"{path} names another {_WHERE}, which is ignored: a folder cannot say where it is"
        )
    return held, notices


def keep(path: Path, name: str, value: str | list[str]) -> None:
    """Write one value, durably and atomically.

    Raises:
        IllegalArgument: the file is no configuration any more.
        StorageFailed: it cannot be written.
    """
    key = BY_NAME[name]
    old = read_text(path) if path.exists() else _HEAD
    try:
        write_file(path, edited(old, key.section, key.item, value, str(path)).encode(), _MODE)
    except OSError as error:
        reason = error.strerror or os.strerror(error.errno or 0)
        raise StorageFailed(f"Cannot write {path}: {reason}. Nothing was changed") from error
