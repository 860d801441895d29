"""The certificate of the server: read, tried out before it is used, and taken anew when its files
have changed.
"""

from __future__ import annotations

import os
import ssl
import threading
from dataclasses import dataclass
from typing import Any

import grpc

from milvine.config import Settings
from milvine.errors import OperatorError
from milvine.events import Events
from milvine.events.server import CertificateRefused, CertificateRenewed


class TlsUnusable(OperatorError):
    """The files of `network.tls.*` are missing, damaged, expired, or do not belong together."""


@dataclass(frozen=True, slots=True)
class Pems:
    """Contents of the files, `client_ca` empty without one."""

    certificate: bytes
    key: bytes
    client_ca: bytes


class Certificates:
    """Three files, of which the last may be left out. New connections get what the files hold then.

    A certificate and its key are two files, not replaced at one moment: until they fit, the ones
    before are kept.
    """

    def __init__(self, certificate: str, key: str, client_ca: str, events: Events) -> None:
        """Raises TlsUnusable: the files cannot be used; the text names the file and what is wrong
        with it.
        """
        self._files, self._events = (certificate, key, client_ca), events
        self._seen, self._refused = self._signature(), ""
        self.pems = _read(self._files)
        self.context = _tried(self._files)
        self._lock = threading.Lock()

    @property
    def needs_client(self) -> bool:
        """Whether clients must show a certificate, too."""
        return bool(self._files[2])

    def renew(self) -> bool:
        """Look at the files again; whether there is something new. Never raises: a failure is told
        to the events.
        """
        if self._signature() == self._seen:
            return False
        with self._lock:
            seen = self._signature()
            if seen == self._seen:
                return False
            self._seen = seen
            try:
                pems, context = _read(self._files), _tried(self._files)
            except TlsUnusable as error:
                if str(error) != self._refused:
                    self._refused = str(error)
                    self._events.emit(CertificateRefused(self._files[0], str(error)))
                return False
            self.pems, self.context, self._refused = pems, context, ""
        self._events.emit(CertificateRenewed(self._files[0]))
        return True

    def for_grpc(self) -> Any:
        """Credentials of grpcio, which asks for news at every handshake."""

        def configuration() -> Any:
            pems = self.pems
            return grpc.ssl_server_certificate_configuration(
                [(pems.key, pems.certificate)], pems.client_ca if self.needs_client else None
            )

        return grpc.dynamic_ssl_server_credentials(
            configuration(), lambda: configuration() if self.renew() else None, self.needs_client
        )

    def for_http(self) -> ssl.SSLContext:
        """A context whose connections get the newest certificate. Who may connect is settled when
        it is made.
        """

        def choose(connection: Any, name: str | None, context: ssl.SSLContext) -> None:
            self.renew()
            connection.context = self.context

        first = _context(self._files)
        first.sni_callback = choose
        return first

    def _signature(self) -> tuple[tuple[int, int, int], ...]:
        found = []
        for file in self._files:
            try:
                seen = os.stat(file) if file else None
            except OSError:
                seen = None
            found.append((seen.st_mtime_ns, seen.st_ino, seen.st_size) if seen else (0, 0, 0))
        return tuple(found)


def open_certificates(settings: Settings, events: Events) -> Certificates | None:
    """The certificate that the settings name; None without one.

    Raises:
        TlsUnusable: the files cannot be used, or some are named without the others.
    """
    named = (settings.tls_certificate, settings.tls_key, settings.tls_client_ca)
    if not any(named):
        return None
    if not (named[0] and named[1]):
        raise TlsUnusable("TLS needs both network.tls.certificate and network.tls.key")
    return Certificates(*named, events)


def _read(files: tuple[str, str, str]) -> Pems:
    contents = []
    for file in files:
        try:
            with open(file, "rb") if file else open(os.devnull, "rb") as opened:
                contents.append(opened.read())
        except OSError as error:
            raise TlsUnusable(f"Cannot read {file}: {error.strerror or error}") from None
        if file and b"-----BEGIN " not in contents[-1]:
            raise TlsUnusable(f"{file} holds nothing in PEM form")
    return Pems(*contents)


def _context(files: tuple[str, str, str]) -> ssl.SSLContext:
    certificate, key, client_ca = files
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key, password=_no_password)
    except (ssl.SSLError, OSError, ValueError) as error:
        raise TlsUnusable(
            f"{certificate} and {key} are no certificate with its key: {_reason(error)}"
        ) from None
    if client_ca:
        try:
            context.load_verify_locations(client_ca)
        except (ssl.SSLError, OSError) as error:
            raise TlsUnusable(f"{client_ca} holds no certificate: {_reason(error)}") from None
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def _tried(files: tuple[str, str, str]) -> ssl.SSLContext:
    """The server's side, after a handshake in memory with a client that trusts this certificate:
    dates and key fit.
    """
    context = _context(files)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(files[0], files[1], password=_no_password)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    try:
        client.load_verify_locations(files[0])
        _shake_hands(server, client)
    except ssl.SSLError as error:
        raise TlsUnusable(f"{files[0]} cannot be used: {_reason(error)}") from None
    return context


def _shake_hands(server: ssl.SSLContext, client: ssl.SSLContext) -> None:
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = [
        client.wrap_bio(to_client, to_server),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    while sides:
        for side in tuple(sides):
            try:
                side.do_handshake()
                sides.remove(side)
            except ssl.SSLWantReadError:
                continue


def _no_password() -> str:
    raise ValueError(
        "the key is protected by a password. Give one without, readable by the server alone"
    )


def _reason(error: Exception) -> str:
    if isinstance(error, ssl.SSLCertVerificationError):
        return error.verify_message
    if isinstance(error, ssl.SSLError) and not error.reason:
        return "not in PEM form, or in the wrong order"
    return (
        str(getattr(error, "reason", None) or getattr(error, "strerror", None) or error)
        .replace("_", " ")
        .lower()
    )
