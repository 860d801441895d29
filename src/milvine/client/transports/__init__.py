"""Ways to reach a database, each imported when an address first asks for it: a server's client
loads no engine.
"""

from __future__ import annotations

from importlib import import_module

from milvine.client.address import FolderAddress, HttpAddress, ServerAddress
from milvine.client.transports.base import InProcess, Transport, TransportFailed

__all__ = ["InProcess", "Transport", "TransportFailed", "open_transport"]

_MODULES: dict[type, str] = {
    ServerAddress: "remote",
    HttpAddress: "http",
    FolderAddress: "embedded",
}


def open_transport(
    address: ServerAddress | HttpAddress | FolderAddress,
    wait_timeout: float,
    max_retry: int,
    pre_ping: bool,
) -> Transport:
    """A transport to `address`.

    `wait_timeout` (seconds) and `max_retry` bound the wait for a server; with `pre_ping` a call to
    a server that is gone waits for it again.
    """
    module = import_module(f"{__name__}.{_MODULES[type(address)]}")
    transport: Transport = module.open_transport(address, wait_timeout, max_retry, pre_ping)
    return transport
