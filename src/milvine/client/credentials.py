"""What a client shows of itself and whom it trusts: TLS and tokens, additions of Milvine to the
constructor.
"""

from __future__ import annotations

import ipaddress
import re
import ssl
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from milvine.client.exceptions import ParamError

SECURE_SCHEMES = ("tcps", "https")
_PEMS = ("server_pem_path", "client_pem_path", "client_key_path")
_ARGUMENTS = ("secure", "server_name", "token", *_PEMS)
_TOKEN = re.compile(r"[\x21-\x7e]+")


@dataclass(frozen=True, slots=True)
class Credentials:
    """Files are named by their paths; empty is none. With `secure` the connection is TLS."""

    secure: bool = False
    server_pem_path: str = ""
    client_pem_path: str = ""
    client_key_path: str = ""
    server_name: str = ""
    token: str = field(default="", repr=False)

    @property
    def authorization(self) -> str:
        """The value of the header of that name; empty without a token."""
        return f"Bearer {self.token}" if self.token else ""

    def pem(self, name: str) -> bytes | None:
        """Contents of one of the files, named as its argument; None for none.

        Raises:
            ParamError: it cannot be read.
        """
        path = getattr(self, name)
        if not path:
            return None
        try:
            return Path(path).read_bytes()
        except OSError as error:
            raise ParamError(f"{name} {path} cannot be read: {error.strerror or error}") from None

    def context(self) -> ssl.SSLContext:
        """For TLS by Python's own library.

        Raises:
            ParamError: a file cannot be read or is none of its kind.
        """
        try:
            context = ssl.create_default_context(cafile=self.server_pem_path or None)
            # Trusts a server's own certificate, as gRPC does.
            context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
            if self.client_pem_path:
                context.load_cert_chain(self.client_pem_path, self.client_key_path)
        except (OSError, ValueError) as error:  # an ssl.SSLError is an OSError
            files = " ".join(
                filter(None, (self.server_pem_path, self.client_pem_path, self.client_key_path))
            )
            raise ParamError(f"{files} cannot be used for TLS: {error}") from None
        return context


NONE = Credentials()


def credentials_of(arguments: Mapping[str, Any], host: Any, uri: Any) -> Credentials:
    """What the constructor's arguments say. `tcps` and `https` in `uri`, and each of the files, ask
    for TLS.

    Raises:
        ParamError: an argument of another type, a client's certificate without its key, or files
            with `secure=False`.
    """
    given = {name: arguments[name] for name in _ARGUMENTS if arguments.get(name) is not None}
    secure = given.pop("secure", None)
    for name, value in given.items():
        given[name] = str(value) if name in _PEMS and isinstance(value, Path) else value
        if not isinstance(given[name], str) or not given[name]:
            raise ParamError(f"{name} is illegal: it must be a str that is not empty")
    if not isinstance(secure, (bool, type(None))):
        raise ParamError(f"secure is illegal: {secure!r} is not a bool")
    if "token" in given and not _TOKEN.fullmatch(given["token"]):
        raise ParamError("token is illegal: it holds blanks or what is not ASCII")
    if ("client_pem_path" in given) != ("client_key_path" in given):
        raise ParamError("client_pem_path and client_key_path go together")
    by_uri = host is None and isinstance(uri, str) and _scheme(uri) in SECURE_SCHEMES
    asked = by_uri or any(name in given for name in (*_PEMS, "server_name"))
    if secure is False and asked:
        raise ParamError("secure is False, and other arguments ask for TLS")
    return Credentials(secure=bool(secure) or asked, **given)


def warn_of_clear_token(host: str) -> None:
    """A token without TLS is for this machine alone."""
    try:
        near = ipaddress.ip_address(host).is_loopback
    except ValueError:
        near = host == "localhost"
    if not near:
        warnings.warn(
            f"The token travels to {host} in the clear. Use tcps:// or secure=True",
            UserWarning,
            stacklevel=4,
        )


def _scheme(uri: str) -> str:
    try:
        return urlsplit(uri).scheme
    except ValueError:
        return ""
