"""Where the database is: a server's host and port, or a folder of this machine
(specification 5.2).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit
from urllib.request import url2pathname

from milvine.client.credentials import NONE, Credentials, warn_of_clear_token
from milvine.client.exceptions import ParamError
from milvine.redaction import without_secrets

_HOST, _PORT, _HTTP_PORT = "127.0.0.1", 19530, 19121
_INCOMPLETE = (
    "Param is not complete. Please invoke as follow:\n\t(host = ${HOST}, port = ${PORT})\n\t(uri ="
    " ${URI})\n"
)


@dataclass(frozen=True, slots=True)
class ServerAddress:
    host: str
    port: int
    credentials: Credentials = NONE

    def __str__(self) -> str:
        return _host_and_port(self.host, self.port)


@dataclass(frozen=True, slots=True)
class HttpAddress:
    """A server's RESTful API; `secure` is https."""

    host: str
    port: int
    secure: bool = False
    credentials: Credentials = NONE

    def __str__(self) -> str:
        return _host_and_port(self.host, self.port)


def _host_and_port(host: str, port: int) -> str:
    """An IPv6 address in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@dataclass(frozen=True, slots=True)
class FolderAddress:
    """The data folder of an embedded database."""

    folder: Path

    def __str__(self) -> str:
        return str(self.folder)


def parse_address(
    host: Any = None, port: Any = None, uri: Any = None
) -> ServerAddress | FolderAddress:
    """The address that the arguments of the constructor name; `host` wins over `uri`.

    `uri` is `file:///path` for a folder; with any other scheme, as in `tcp://host:port`, only host
    and port count here.

    Raises:
        ParamError: a port without a host, an illegal host, port or uri.
    """
    if host is not None:
        return _server(host, _PORT if port is None else port)
    if port is not None:
        raise ParamError(_INCOMPLETE)
    if uri is None or uri == "":
        return ServerAddress(_HOST, _PORT)
    return _parse_uri(uri)


def parse_http_address(
    host: Any = None, port: Any = None, uri: Any = None
) -> HttpAddress | FolderAddress:
    """As `parse_address`, for `handler="HTTP"`: port 19121 if left out, https for an https uri or
    the port 443.

    Raises:
        ParamError: as `parse_address`.
    """
    if host is not None and port is None:
        port = _HTTP_PORT
    if host is None and port is None and not uri:
        host, port = _HOST, _HTTP_PORT
    found = parse_address(host, port, uri)
    if isinstance(found, FolderAddress):
        return found
    secure = found.port == 443 if host is not None else urlsplit(uri).scheme == "https"
    return HttpAddress(found.host, found.port, secure)


def with_credentials(
    address: ServerAddress | HttpAddress | FolderAddress, credentials: Credentials
) -> ServerAddress | HttpAddress | FolderAddress:
    """The address with what its server is shown.

    Raises:
        ParamError: credentials for a folder.
    """
    if credentials == NONE:
        return address
    if isinstance(address, FolderAddress):
        raise ParamError("TLS and tokens are for servers: whoever may read a folder needs none")
    secure = credentials.secure or (isinstance(address, HttpAddress) and address.secure)
    if credentials.token and not secure:
        warn_of_clear_token(address.host)
    if isinstance(address, HttpAddress):
        return replace(address, secure=secure, credentials=credentials)
    return replace(address, credentials=credentials)


def _server(host: Any, port: Any) -> ServerAddress:
    illegal = ParamError(f"host {host} or port {port} is illegal")
    if not isinstance(host, str) or not host:
        raise illegal
    try:
        number = int(port)
    except (TypeError, ValueError):
        raise illegal from None
    if not 1 <= number <= 65535:
        raise illegal
    return ServerAddress(host, number)


def _parse_uri(uri: Any) -> ServerAddress | FolderAddress:
    if not isinstance(uri, str):
        raise ParamError(f"uri is illegal: {uri!r} is not a str")
    try:
        parts = urlsplit(uri)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise ParamError(f"uri is illegal: {error}") from None
    if parts.scheme == "file":
        return _folder(uri, parts)
    if not host or port is None:
        raise ParamError(
            f"uri is illegal: {without_secrets(uri)!r} has no host or no port. Expected"
            " tcp://host:port or file:///path"
        )
    return _server(host, port)


def _folder(uri: str, parts: SplitResult) -> FolderAddress:
    if (
        parts.netloc not in ("", "localhost")
        or not parts.path.startswith("/")
        or not parts.path.strip("/")
        or parts.query
        or parts.fragment
    ):
        raise ParamError(
            f"uri is illegal: {without_secrets(uri)!r} names no folder of this machine. Expected"
            " file:///path"
        )
    return FolderAddress(Path(url2pathname(parts.path)))
