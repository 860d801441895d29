"""The command line: one file per command. Nothing else reads the environment."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperGroup

from milvine.cli.streams import open_closed, unwritten
from milvine.storage.open_files import raise_open_files

COMMANDS = (
    "serve", "sizing", "tune", "verify", "backup", "repair", "restore", "bench", "version",
    "config", "token",
)  # fmt: skip
_HOW: dict[str, Any] = {"add_completion": False, "rich_markup_mode": None}


class _Commands(TyperGroup):
    """Each is in the module of its name, and imported when it is asked for: a server needs no
    other.
    """

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        # In the order in which help tells them. Typer compares one that was misspelt with these.
        self.commands: dict[str, Any] = dict.fromkeys(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """None where there is none."""
        if cmd_name not in COMMANDS:
            return None
        found = getattr(import_module(f"milvine.cli.{cmd_name}"), cmd_name)
        if not isinstance(found, typer.Typer):
            alone = typer.Typer(**_HOW)
            alone.command(cmd_name)(found)
            found = alone
        command = typer.main.get_command(found)
        command.name = cmd_name
        return command


app = typer.Typer(
    name="milvine",
    cls=_Commands,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    **_HOW,
)


@app.callback()
def _milvine() -> None:
    """A vector database that speaks Milvus 1.x."""
    # Typer makes a group of an app that has a function for itself, as long as it knows no command.


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
