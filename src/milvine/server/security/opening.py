"""What the settings ask for, put together once for all doors of a server."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass

from milvine.config import Settings
from milvine.events import Events
from milvine.events.server import OpenToOthers
from milvine.server.security.certificates import Certificates, open_certificates
from milvine.server.security.doors import DoorSecurity
from milvine.server.security.gate import Gate, open_gate


@dataclass(frozen=True, slots=True)
class Security:
    """The gate and the certificate, each None where there is none."""

    gate: Gate | None
    certificates: Certificates | None
    streams_max: int

    @classmethod
    def open(cls, settings: Settings, events: Events) -> Security:
        """
        Raises:
            TokensUnusable: the file of the tokens is missing, damaged, or others may write it.
            TlsUnusable: the files of the certificate cannot be used.
        """
        return cls(
            open_gate(settings, events), open_certificates(settings, events), settings.streams_max
        )

    def for_grpc(self) -> DoorSecurity:
        credentials = self.certificates.for_grpc() if self.certificates else None
        return DoorSecurity(self.gate, credentials, self.streams_max)


def tell_if_open(settings: Settings, events: Events, *addresses: str) -> None:
    """Say of each address that others can reach what they may do there, where nothing keeps them
    out.
    """
    tokens, proof = bool(settings.tokens_file), bool(settings.tokens_file or settings.tls_client_ca)
    for address in dict.fromkeys(addresses):
        if is_loopback(address):
            continue
        if not proof:
            reason = "whoever reaches this address may read, change and drop everything"
        elif tokens and not settings.tls_certificate:
            reason = "tokens and rows travel in the clear"
        else:
            continue
        events.emit(OpenToOthers(address, f"{reason}. See docs/security.md"))


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches it. A name other than localhost is taken for one that
    others reach.
    """
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"
