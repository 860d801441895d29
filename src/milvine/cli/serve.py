"""`milvine serve`: from flags and file to a running server, and to its clean end."""

from __future__ import annotations

import logging
import os
import sys
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import milvine
from milvine.cli.configuration import DATA_FOLDER, configure, flag, pairs
from milvine.cli.stopping import StopSignals
from milvine.cli.streams import unwritten, write_now
from milvine.config import Configuration
from milvine.errors import MilvineError
from milvine.events import Events
from milvine.server.configuration.kept_settings import with_places

if TYPE_CHECKING:
    from milvine.server.app import Server

_GRACE_SECONDS = 30.0  # for calls in flight when the server is told to stop
_LOOK_SECONDS = 1.0  # between two looks at whether all that serves is alive
_LOGGER = logging.getLogger("milvine")


class LogLevel(str, Enum):
    debug = "debug"
    info = "info"
    warning = "warning"
    error = "error"
    fatal = "fatal"


class DoorChoice(str, Enum):
    grpc = "grpc"
    native = "native"
    auto = "auto"


_PORT = {"min": 0, "max": 65535}


def serve(
    host: Annotated[
        str | None, typer.Option(help="Address to listen on.", show_default="127.0.0.1")
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(**_PORT, help="gRPC port; 0 takes a free one.", show_default="19530"),
    ] = None,
    http_port: Annotated[
        int | None,
        typer.Option(**_PORT, help="REST port; 0 takes a free one.", show_default="19121"),
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Data folder, created if need be.", show_default=DATA_FOLDER)
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            help="A 1.x server_config.yaml. Flags and environment win over it.",
            show_default="$MILVINE_CONFIG",
        ),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Any key, such as cache.cache_size=2GB."),
    ] = None,
    tls_cert: Annotated[
        Path | None, typer.Option(help="PEM file: the server's certificate. TLS alone is served.")
    ] = None,
    tls_key: Annotated[
        Path | None, typer.Option(help="PEM file: the key of that certificate.")
    ] = None,
    tls_client_ca: Annotated[
        Path | None,
        typer.Option(help="PEM file: who signs the certificates that clients must have."),
    ] = None,
    tokens: Annotated[
        Path | None, typer.Option(help="File of the tokens that clients must show.")
    ] = None,
    door: Annotated[DoorChoice | None, typer.Option(help="Which gRPC server answers.")] = None,
    report_version: Annotated[
        str | None,
        typer.Option(help="Version told to clients, which check it.", show_default="1.1.1"),
    ] = None,
    log_level: Annotated[
        LogLevel | None, typer.Option(help="Least level that is logged.", show_default="warning")
    ] = None,
) -> None:
    """Serve a data folder to Milvus 1.x clients until SIGTERM, SIGINT or SIGHUP."""
    flags = {
        "network.bind.address": flag("--host", host),
        "network.bind.port": flag("--port", port, final=True),
        "network.http.port": flag("--http-port", http_port, final=True),
        "network.tls.certificate": flag("--tls-cert", _absolute(tls_cert)),
        "network.tls.key": flag("--tls-key", _absolute(tls_key)),
        "network.tls.client_ca": flag("--tls-client-ca", _absolute(tls_client_ca)),
        "network.tokens_file": flag("--tokens", _absolute(tokens)),
        "storage.path": flag("--data", data and str(data), final=True),
        "network.door": flag("--door", door and door.value),
        "network.report_version": flag("--report-version", report_version),
        "logs.level": flag("--log-level", log_level and log_level.value),
    }
    try:
        given = {name: each for name, each in flags.items() if each.value is not None}
        _run(configure({**pairs(set_ or []), **given}, config))
    except MilvineError as error:
        print(f"milvine: {error}", file=sys.stderr)
        raise typer.Exit(1) from None


def _absolute(path: Path | None) -> str | None:
    return str(path.absolute()) if path else None


def _run(configuration: Configuration) -> None:
    # Here as below, so that --help and `version` need not wait for numpy.
    from milvine.logs.places import set_up_logging

    stops = StopSignals()
    settings, folder = configuration.settings, Path(configuration.values["storage.path"].text)
    listener = set_up_logging(settings)
    for notice in configuration.notices:
        _LOGGER.warning("%s", notice)
    # What grpcio's core says on stderr, milvine says in its own words.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    from milvine.server.app import Server  # this waits for faiss

    try:
        server = Server.start(folder, settings, Events(listener), configuration)
    except MilvineError as error:
        raise MilvineError(with_places(configuration, str(error))) from error
    stops.serving()
    missing = ", no http (pip install 'milvine[server]')" if settings.http_enable else ""
    http = f", http {server.http_address}" if server.http_address else missing
    _say_ready(f"Milvine {milvine.__version__} ready: grpc {server.address}{http}, data {folder}")
    dead = _wait_to_end(stops, server)
    server.stop(0 if dead else _GRACE_SECONDS)
    unwritten()  # nobody reads the log any more: no reason to end with an error
    if dead:
        raise typer.Exit(1)


def _say_ready(line: str) -> None:
    try:
        write_now(line)
    except OSError as error:
        # Whoever waits for the line is gone, or the disk of its file is full: clients come anyhow.
        _LOGGER.warning(
            "standard output cannot be written (%s), so this is said here: %s", error.strerror, line
        )


def _wait_to_end(stops: StopSignals, server: Server) -> bool:
    """Waits for a signal; True when the server is to end because it no longer does
    what it is there for."""
    while not stops.wait(_LOOK_SECONDS):
        if server.look_after():
            return True
    return False
