"""Flags, environment and file, put together. This is the only place that reads the environment for
settings.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from milvine.config import BY_NAME, VARIABLES, Configuration, Given, Origin, bounded, resolve
from milvine.config.renamed import hint
from milvine.config.sources import DEFAULT, ENVIRONMENT, FILE, FLAG, KEPT_FILE
from milvine.errors import IllegalArgument
from milvine.offline.findings import Finding, damage
from milvine.server.configuration.config_file import values_of
from milvine.server.configuration.kept_settings import with_kept

DATA_FOLDER = "milvine-data"
FILE_VARIABLE = "MILVINE_CONFIG"

_SECTIONS = tuple({f"MILVINE_{key.section.upper()}_" for key in BY_NAME.values()})


def configure(
    flags: Mapping[str, Given] | None = None,
    file: Path | None = None,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
    memory: int | None = None,
) -> Configuration:
    """The values of all keys: flags (by key) win over the environment, that over the file, that
    over what the data folder keeps (`settings.yaml`), that over the defaults.

    Defaults that would take more memory than there is are made smaller, and a notice says which.

    Args:
        file: a 1.x `server_config.yaml`; when None, the one that MILVINE_CONFIG names, if any.
        environment: the process's own when None.
        folder: the data folder; when None, the one that `storage.path` names.
        memory: bytes that this process may take; None: what the system says.

    Raises:
        IllegalArgument: a file cannot be read, is for another version, or a value is malformed or
            out of range.
    """
    environment = os.environ if environment is None else environment
    file = file or (Path(environment[FILE_VARIABLE]) if environment.get(FILE_VARIABLE) else None)
    variables, notices = _variables(environment)
    written: dict[str, Given] = {}
    if file is not None:
        written, file_notices = values_of(file, FILE)
        notices += file_notices
    sources = dict(flags or {}), variables, written
    given = resolve(sources, file)
    root = (folder or Path(given.values["storage.path"].text)).absolute()
    found = with_kept(given, root, *sources).with_path(str(root))
    return bounded(replace(found, notices=(*notices, *found.notices, *_idle(found))), memory)


def catalog_of(folder: Path, file: Path | None) -> str:
    """The `general.meta_uri` to look at a data folder with: the one configured where its catalog is
    in PostgreSQL.

    Raises:
        IllegalArgument: as `configure`.
    """
    from milvine.catalog.note import NOTE
    from milvine.catalog.place import IN_FOLDER

    return (
        configure(file=file, folder=folder).settings.meta_uri
        if (folder / NOTE).exists()
        else IN_FOLDER
    )


def kept_findings(folder: Path) -> list[Finding]:
    """What is wrong with the settings that a data folder keeps: no database opens there then."""
    try:
        with_kept(resolve(()), folder)
    except IllegalArgument as error:
        return [damage(KEPT_FILE, None, str(error))]
    return []


def log_of(folder: Path, file: Path | None, given: Path | None) -> Path | None:
    """Where to look for the log of a data folder when it is not where that says: `given`, or the
    configured `wal.path`.

    Raises:
        IllegalArgument: as `configure`.
    """
    from milvine.storage.log_notes import LOG_NOTE

    if given is not None:
        return given.absolute()
    wanted = (
        configure(file=file, folder=folder).settings.wal_path
        if (folder / LOG_NOTE).exists()
        else ""
    )
    return Path(wanted) if wanted else None


def flag(name: str, value: object, final: bool = False) -> Given:
    """A value given by a flag; `final`: it is checked already."""
    return Given(value, Origin(FLAG, name), final)


def pairs(words: list[str]) -> dict[str, Given]:
    """Values of `--set KEY=VALUE`.

    Raises:
        IllegalArgument: not of this form, or no such key.
    """
    found = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not equals or name not in BY_NAME:
            clause = hint(name)
            raise IllegalArgument(
                f"Invalid --set {name}. Expected KEY=VALUE{f' ({clause})' if clause else ''}"
            )
        found[name] = flag("--set", value)
    return found


def _variables(environment: Mapping[str, str]) -> tuple[dict[str, Given], list[str]]:
    found = {
        key: Given(environment[v], Origin(ENVIRONMENT, v))
        for v, key in VARIABLES.items()
        if v in environment
    }
    strange = sorted(v for v in environment if v.startswith(_SECTIONS) and v not in VARIABLES)
    return found, [
        f"Unknown variables of the environment are ignored: {', '.join(strange)}"
    ] if strange else []


def _idle(found: Configuration) -> list[str]:
    """Keys that were given and do nothing here, in one sentence."""
    names = [
        name
        for name, value in found.values.items()
        if value.origin.kind != DEFAULT and BY_NAME[name].idle
    ]
    return [f"Accepted, and without effect in Milvine: {', '.join(names)}"] if names else []
