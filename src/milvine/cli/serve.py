"""`milvine serve`: from flags and file to a running server, and to its clean end."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

import milvine
from milvine.cli.configuration import DATA_FOLDER, read_configuration
from milvine.config import Settings
from milvine.errors import MilvineError
from milvine.events import Events
from milvine.logs import set_up_logging

_GRACE_SECONDS = 30.0  # for calls in flight when the server is told to stop


class LogLevel(str, Enum):
    debug = "debug"
    info = "info"
    warning = "warning"
    error = "error"


class DoorChoice(str, Enum):
    grpc = "grpc"
    native = "native"
    auto = "auto"


_PORT = {"min": 0, "max": 65535}


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on.", show_default="127.0.0.1")] = None,
    port: Annotated[
        int | None, typer.Option(**_PORT, help="gRPC port; 0 takes a free one.", show_default="19530")
    ] = None,
    http_port: Annotated[
        int | None,
        typer.Option(**_PORT, help="Port for the REST API, which no release serves yet.", show_default="19121"),
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Data folder, created if need be.", show_default=DATA_FOLDER)
    ] = None,
    config: Annotated[Path | None, typer.Option(help="A 1.x server_config.yaml. Flags win over it.")] = None,
    door: Annotated[DoorChoice | None, typer.Option(help="Which gRPC server answers.")] = None,
    report_version: Annotated[
        str | None, typer.Option(help="Version told to clients, which check it.", show_default="1.1.1")
    ] = None,
    log_level: Annotated[
        LogLevel | None, typer.Option(help="Least level that is logged.", show_default="warning")
    ] = None,
) -> None:
    """Serve a data folder to Milvus 1.x clients until SIGTERM or SIGINT."""
    try:
        settings, folder = (Settings(), None) if config is None else read_configuration(config)
        flags = {"address": host, "port": port, "http_port": http_port, "report_version": report_version}
        flags["door"] = None if door is None else door.value
        flags["log_level"] = None if log_level is None else log_level.value
        settings = replace(settings, **{name: value for name, value in flags.items() if value is not None})  # type: ignore[arg-type]
        _run(Path(data or folder or DATA_FOLDER), settings)
    except MilvineError as error:
        print(f"milvine: {error}", file=sys.stderr)
        raise typer.Exit(1) from None


def _run(folder: Path, settings: Settings) -> None:
    listener = set_up_logging(settings)
    wait = _stop_signals()
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # what grpcio's core says on stderr, milvine says in its own words
    from milvine.server.app import Server  # here, so that --help need not wait for faiss

    server = Server.start(folder, settings, Events(listener))
    print(f"Milvine {milvine.__version__} ready: grpc {server.address}, data {folder}", flush=True)
    wait()
    server.stop(_GRACE_SECONDS)


def _stop_signals() -> Callable[[], None]:
    """Catches SIGTERM and SIGINT from now on; the result waits for the first. A second one ends the process."""
    reader, writer = os.pipe()
    caught = (signal.SIGTERM, signal.SIGINT)

    def note(number: int, frame: object) -> None:
        for each in caught:
            signal.signal(each, signal.SIG_DFL)
        os.write(writer, b".")

    for each in caught:
        signal.signal(each, note)

    def wait() -> None:
        os.read(reader, 1)

    return wait
