"""`milvine config`: what the settings are and where they come from, and whether a file is fine."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from milvine.cli.configuration import configure
from milvine.cli.memory import plan_as_object, print_columns, print_plan
from milvine.config import ALL, Configuration, Key
from milvine.errors import MilvineError
from milvine.memory_plan import plan_here
from milvine.redaction import as_shown

config = typer.Typer(
    help="Show and check the configuration.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)


@config.command()
def show(
    config: Annotated[
        Path | None, typer.Option(help="A 1.x server_config.yaml.", show_default="$MILVINE_CONFIG")
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="Data folder, which keeps settings as well.", show_default="storage.path"
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object, for programs.")] = False,
) -> None:
    """Print every key with its value, where that comes from, and whether it can change while the
    server runs; then the memory plan that follows from them.
    """
    found = _configured(config, data)
    rows, plan = [_row(key, found) for key in ALL], plan_here(found.settings)
    if as_json:
        keys: dict[str, object] = {
            row["key"]: {k: v for k, v in row.items() if k != "key"} for row in rows
        }
        print(json.dumps(keys | {"memory_plan": plan_as_object(plan, found)}, indent=2))
    else:
        _print_table(rows)
        print()
        print_plan(plan, found)
    _tell(found)


@config.command()
def check(file: Annotated[Path, typer.Argument(help="A 1.x server_config.yaml.")]) -> None:
    """Read a file as `milvine serve` would, with the environment; ends with 1 when the server would
    not start.
    """
    found = _configured(file)
    _tell(found)
    print(f"{file} is fine")


def _configured(file: Path | None, folder: Path | None = None) -> Configuration:
    try:
        return configure(file=file, folder=folder)
    except MilvineError as error:
        print(f"milvine: {error}", file=sys.stderr)
        raise typer.Exit(1) from None


def _tell(found: Configuration) -> None:
    for notice in found.notices:
        print(f"milvine: {notice}", file=sys.stderr)


def _row(key: Key, found: Configuration) -> dict[str, str]:
    value = found.values[key.name]
    live = "live" if key.live else "restart" if key.settable else "no"
    return {
        "key": key.name,
        "value": as_shown(key.name, value.text),
        "source": value.origin.kind,
        "where": value.origin.where,
        "set_config": live,
        "meaning": key.meaning,
    }


def _print_table(rows: list[dict[str, str]]) -> None:
    lines = [("KEY", "VALUE", "FROM", "SET", "MEANING")]
    for row in rows:
        value = row["value"] or '""'
        lines.append(
            (row["key"], value, row["where"] or row["source"], row["set_config"], row["meaning"])
        )
    print_columns(lines)
