"""`milvine verify`: every checksum, count and reference of a data folder."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from milvine.cli.configuration import catalog_of, kept_findings, log_of
from milvine.cli.options import ConfigFile, LogFolder
from milvine.errors import MilvineError
from milvine.limits import MIB

_DAMAGED, _COULD_NOT_LOOK = 1, 2


def verify(
    folder: Annotated[Path, typer.Argument(help="Data folder. A server may be running on it.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
    rate: Annotated[
        float | None, typer.Option(help="Read at most so many MiB a second.", min=0.1)
    ] = None,
    indexes: Annotated[bool, typer.Option(help="Open every index and count its rows.")] = True,
    config: ConfigFile = None,
    log: LogFolder = None,
) -> None:
    """Check a data folder and change nothing. Ends with 0 when it is clean, 1 when something is
    damaged, 2 when it could not be looked at."""
    from milvine.offline.verify import verify as look

    try:
        places = catalog_of(folder, config), log_of(folder, config, log)
        report = look(folder.absolute(), rate * MIB if rate else None, indexes, *places)
        report = replace(report, findings=(*report.findings, *kept_findings(folder)))
    except (MilvineError, OSError) as error:
        print(f"milvine: {error}", file=sys.stderr)
        raise typer.Exit(_COULD_NOT_LOOK) from None
    if as_json:
        print(json.dumps(report.as_dict(), indent=1))
    else:
        for finding in report.findings:
            print(finding)
        damaged = sum(finding.damage for finding in report.findings)
        odd = f" ({report.nonfinite_rows} that no search finds)" if report.nonfinite_rows else ""
        print(
            f"{folder}: {report.collections} collections, {report.segments} segments, "
            f"{report.rows} rows in segments{odd}, {report.log_records} log records, "
            f"{report.files} files of {report.bytes / MIB:.1f} MiB read in {report.seconds:.1f} s: "
            f"{f'{damaged} damaged' if damaged else 'clean'}"
        )
    raise typer.Exit(0 if report.clean else _DAMAGED)
