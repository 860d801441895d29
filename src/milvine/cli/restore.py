"""`milvine restore`: a backup becomes a data folder."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from milvine.errors import MilvineError


def restore(
    source: Annotated[
        Path, typer.Argument(help="A backup, or a folder of backups, of which the newest is taken.")
    ],
    folder: Annotated[
        Path, typer.Argument(help="Data folder to make; it must be empty or not there.")
    ],
    indexes: Annotated[
        bool,
        typer.Option(
            help="Take over index files. Only where nobody else could write to the backup."
        ),
    ] = False,
) -> None:
    """Check a backup and make a data folder of it. Indexes are built anew when a server
    opens it.
    """
    from milvine.offline.restore import restore as make

    try:
        manifest = make(source.absolute(), folder.absolute(), indexes)
    except (MilvineError, OSError) as error:
        print(f"milvine: {error}", file=sys.stderr)
        raise typer.Exit(1) from None
    print(
        f"{folder}: {manifest.collections} collections as of {manifest.made}, from"
        f" {manifest.folder}"
    )
