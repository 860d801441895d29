"""`from milvus.client.exceptions import ...`, as in pymilvus 1.x, and
the two that Milvine adds.
"""

from milvine.client.exceptions import (
    ClientClosedError,
    ConnectError,
    ConnectionPoolError,
    DeprecatedError,
    FutureTimeoutError,
    NotConnectError,
    ParamError,
    RepeatingConnectError,
    TransportFailed,
    VersionError,
)

__all__ = [
    "ParamError",
    "ConnectError",
    "NotConnectError",
    "RepeatingConnectError",
    "ConnectionPoolError",
    "FutureTimeoutError",
    "DeprecatedError",
    "VersionError",
    "ClientClosedError",
    "TransportFailed",
]
