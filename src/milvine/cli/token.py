"""`milvine token`: make, list and revoke the tokens of a server. It reads its file anew, so that
all act at once.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from enum import Enum
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from milvine.cli.configuration import configure
from milvine.errors import IllegalArgument, MilvineError

token = typer.Typer(
    help="Make, list and revoke the tokens that clients show. A running server knows at once.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)

_UNITS = {"m": 1, "h": 60, "d": 1440}
T = TypeVar("T")


class RoleChoice(str, Enum):
    read = "read"
    write = "write"
    admin = "admin"


_Tokens = Annotated[
    Path | None,
    typer.Option("--tokens", help="The file of the tokens.", show_default="network.tokens_file"),
]
_Config = Annotated[
    Path | None, typer.Option(help="A server_config.yaml.", show_default="$MILVINE_CONFIG")
]


@token.command()
def create(
    name: Annotated[
        str, typer.Option(help="Whose it is: letters, digits, dots, _, @ or -, at most 64.")
    ],
    role: Annotated[
        RoleChoice, typer.Option(help="What it allows. Each allows what the ones before it do.")
    ],
    expires: Annotated[
        str | None, typer.Option(help="After so long: 90m, 12h or 30d.", show_default="never")
    ] = None,
    tokens_file: _Tokens = None,
    config: _Config = None,
) -> None:
    """Make a token and print it. It is shown this once: the file keeps its hash alone."""
    from milvine.server.security import tokens

    made = _or_exit(
        lambda: tokens.create(_file(tokens_file, config), name, role.value, _until(expires))
    )
    print(made)


@token.command("list")
def list_(tokens_file: _Tokens = None, config: _Config = None) -> None:
    """Print the name, role, beginning and end of every token."""
    from milvine.server.security import tokens

    entries = _or_exit(lambda: tokens.read_tokens(_file(tokens_file, config)))
    lines = [("NAME", "ROLE", "CREATED", "EXPIRES")]
    for entry in entries:
        until = (entry.expires or "never") + (" (expired)" if entry.ended() else "")
        lines.append((entry.name, entry.role, entry.created, until))
    widths = [max(len(line[column]) for line in lines) for column in range(4)]
    for line in lines:
        print(
            "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        )


@token.command()
def revoke(
    name: Annotated[str, typer.Argument(help="Name of the token.")],
    tokens_file: _Tokens = None,
    config: _Config = None,
) -> None:
    """Forget a token. Requests that are being answered are answered; the next one is refused."""
    from milvine.server.security import tokens

    _or_exit(lambda: tokens.revoke(_file(tokens_file, config), name))
    print(f"{name} is revoked")


def _file(given: Path | None, config: Path | None) -> Path:
    named = str(given) if given else configure(file=config).settings.tokens_file
    if not named:
        raise IllegalArgument(
            "Which file of tokens? Name it with --tokens FILE, or set network.tokens_file"
        )
    return Path(named).absolute()


def _until(expires: str | None) -> datetime | None:
    if expires is None:
        return None
    match = re.fullmatch(r"([0-9]{1,6})([mhd])", expires)
    if match is None or match[1].strip("0") == "":
        raise IllegalArgument(
            f"Invalid --expires {expires}. Expected minutes, hours or days: 90m, 12h or 30d"
        )
    return datetime.now(timezone.utc) + timedelta(minutes=int(match[1]) * _UNITS[match[2]])


def _or_exit(work: Callable[[], T]) -> T:
    try:
        return work()
    except MilvineError as error:
        print(f"milvine: {error}", file=sys.stderr)
        raise typer.Exit(1) from None
