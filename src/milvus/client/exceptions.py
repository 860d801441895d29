"""`from milvus.client.exceptions import ...`, as in pymilvus 1.x."""

from milvine.client.exceptions import (
    ConnectError,
    ConnectionPoolError,
    DeprecatedError,
    FutureTimeoutError,
    NotConnectError,
    ParamError,
    RepeatingConnectError,
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
]
