"""`milvine repair`: a damaged data folder opens again."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from milvine.cli.configuration import log_of
from milvine.cli.options import ConfigFile, LogFolder
from milvine.errors import MilvineError

_NOT_REPAIRED, _COULD_NOT = 1, 2


def repair(
    folder: Annotated[Path, typer.Argument(help="Data folder. No server may be running on it.")],
    yes: Annotated[
        bool, typer.Option("--yes", help="Do it, instead of only saying what would be done.")
    ] = False,
    skip_log_damage: Annotated[
        bool,
        typer.Option(
            "--skip-log-damage", help="Use the log's records behind damaged ones as well."
        ),
    ] = False,
    ignore_format: Annotated[
        bool,
        typer.Option(
            "--ignore-format",
            help="Go on though FORMAT says that a newer Milvine wrote the folder.",
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    config: ConfigFile = None,
    log: LogFolder = None,
) -> None:
    """Rebuild what is lost, set aside what is broken, delete nothing. Ends with 0 when nothing is
    left to do, 1 when a plan waits for --yes, 2 when it could not be repaired."""
    from milvine.offline.repair import repair as mend
    from milvine.offline.repair import summary
    from milvine.offline.verify import verify

    try:
        log_folder = log_of(folder, config, log)
        outcome = mend(folder.absolute(), skip_log_damage, not yes, ignore_format, log_folder)
        clean = not yes or verify(folder.absolute(), log=log_folder).clean
    except (MilvineError, OSError) as error:
        print(f"milvine: {error}", file=sys.stderr)
        raise typer.Exit(_COULD_NOT) from None
    if as_json:
        print(json.dumps(outcome.as_dict(), indent=1))
    elif not outcome.steps:
        print(f"{folder}: nothing to repair")
    else:
        print(*(finding for finding in outcome.findings if finding.damage), sep="\n")
        print(*(f"{'done' if yes else 'plan'}: {step}" for step in outcome.steps), sep="\n")
        print(f"{folder}: {summary(outcome)}{'' if yes else '; say --yes to do it'}")
    if not clean:
        print(f"milvine: {folder} is still damaged, see milvine verify", file=sys.stderr)
        raise typer.Exit(_COULD_NOT)
    raise typer.Exit(_NOT_REPAIRED if outcome.steps and not yes else 0)
