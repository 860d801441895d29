"""Options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ConfigFile = Annotated[
    Path | None,
    typer.Option(
        help="The server's configuration, for `wal.path` and a catalog in PostgreSQL.",
        show_default="$MILVINE_CONFIG",
    ),
]
LogFolder = Annotated[
    Path | None,
    typer.Option(help="Folder of the log, if it was moved together with the data folder."),
]
