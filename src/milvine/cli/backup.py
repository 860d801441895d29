"""`milvine backup`: of a data folder that may be in use."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from milvine.cli.configuration import catalog_of, log_of
from milvine.cli.options import ConfigFile, LogFolder
from milvine.errors import MilvineError
from milvine.limits import MIB

if TYPE_CHECKING:
    from milvine.offline.manifest import Manifest


def backup(
    folder: Annotated[
        Path, typer.Argument(help="Data folder, or with --list the folder of backups.")
    ],
    destination: Annotated[
        Path | None, typer.Argument(help="Folder of backups; each gets a folder in it.")
    ] = None,
    link: Annotated[
        bool, typer.Option(help="Share files with the database by hard link instead of copying.")
    ] = False,
    indexes: Annotated[bool, typer.Option(help="Copy index files as well.")] = True,
    list_: Annotated[bool, typer.Option("--list", help="List the backups in a folder.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    config: ConfigFile = None,
    log: LogFolder = None,
) -> None:
    """Back up a data folder while the database is in use. What an earlier backup there has is not
    copied again.
    """
    from milvine.offline.backup import backup as make
    from milvine.offline.manifest import backups

    if not list_ and destination is None:
        print("milvine: name the folder that the backup goes to", file=sys.stderr)
        raise typer.Exit(2)
    try:
        if list_:
            found = backups(destination or folder)
        else:
            assert destination is not None
            places = catalog_of(folder, config), log_of(folder, config, log)
            found = [make(folder.absolute(), destination.absolute(), link, indexes, *places)]
    except (MilvineError, OSError) as error:
        print(f"milvine: {error}", file=sys.stderr)
        raise typer.Exit(1) from None
    if as_json:
        manifests = [asdict(each) for each in found]
        print(json.dumps(manifests if list_ else manifests[0], indent=1))
        return
    print(*(_line(each) for each in found), sep="\n", end="\n" if found else "")


def _line(manifest: Manifest) -> str:
    return (
        f"{manifest.folder}: {manifest.made}, {manifest.collections} collections, {manifest.rows}"
        f" rows in segments, {manifest.log_records} log records, {len(manifest.files)} files of"
        f" {manifest.bytes / MIB:.1f} MiB, {manifest.new_bytes / MIB:.1f} MiB of them new"
    )
