"""The command line: one file per command. Nothing else reads the environment."""

from __future__ import annotations

import sys

import typer

from milvine.cli.backup import backup
from milvine.cli.bench import bench
from milvine.cli.config import config
from milvine.cli.repair import repair
from milvine.cli.restore import restore
from milvine.cli.serve import serve
from milvine.cli.sizing import sizing
from milvine.cli.streams import open_closed, unwritten
from milvine.cli.token import token
from milvine.cli.tune import tune
from milvine.cli.verify import verify
from milvine.cli.version import version
from milvine.storage.open_files import raise_open_files

app = typer.Typer(
    name="milvine",
    help="A vector database that speaks Milvus 1.x.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(config, name="config")
app.add_typer(token, name="token")
app.command()(serve)
app.command()(sizing)
app.command()(tune)
app.command()(verify)
app.command()(backup)
app.command()(repair)
app.command()(restore)
app.command()(bench)
app.command()(version)


def main() -> None:
    """Entry point of `milvine` and of `python -m milvine`."""
    open_closed()
    raise_open_files()
    try:
        app()
    except SystemExit:
        refused = unwritten()
        if refused is None:
            raise
        raise SystemExit(_refused(refused)) from None
    except OSError as error:
        unwritten()
        raise SystemExit(_refused(error)) from None


def _refused(error: OSError) -> int:
    """A command that could not say what it was asked fails in one sentence. A reader who has
    read enough needs none."""
    if not isinstance(error, BrokenPipeError):
        what = (
            str(error)
            if error.filename
            else f"cannot write to standard output or error: {error.strerror}"
        )
        print(f"milvine: {what}", file=sys.stderr)
        unwritten()
    return 1
