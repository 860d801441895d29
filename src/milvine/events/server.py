"""What the server tells the world: calls and callers, doors and certificates, what stands beside
them.
"""

from __future__ import annotations

from dataclasses import dataclass

from milvine.events.delivery import Event


@dataclass(frozen=True, slots=True)
class Answered(Event):
    """A call was answered, by whatever door. `code` is the wire code; `size` counts the bytes of
    the request.
    """

    rpc: str
    code: int
    size: int
    seconds: float


@dataclass(frozen=True, slots=True)
class RequestFailed(Event):
    """A request met an error that nobody foresaw; the caller got code 1 and the server goes on."""

    rpc: str
    reason: str
    traceback: str


@dataclass(frozen=True, slots=True)
class AccessRefused(Event):
    """A caller at `host` wanted to do `what` and was refused. `token` is the name of his token, if
    it is a known one.

    Of many refusals few are told; `left_out` counts those before this one that were not.
    """

    what: str
    host: str
    token: str
    reason: str
    left_out: int = 0


@dataclass(frozen=True, slots=True)
class TokensRefused(Event):
    """The file of the tokens was changed to one that cannot be used: nobody gets in until it is
    mended.
    """

    reason: str


@dataclass(frozen=True, slots=True)
class OpenToOthers(Event):
    """The server listens where others than this machine may reach it, and lets them do what
    `reason` says.
    """

    address: str
    reason: str


@dataclass(frozen=True, slots=True)
class CertificateRenewed(Event):
    """The files of the certificate were changed; new connections get the new one."""

    file: str


@dataclass(frozen=True, slots=True)
class CertificateRefused(Event):
    """The files of the certificate were changed to some that cannot be used; the certificate before
    is kept.
    """

    file: str
    reason: str


@dataclass(frozen=True, slots=True)
class Serving(Event):
    """The server takes requests at `address`, by the door named."""

    address: str
    door: str


@dataclass(frozen=True, slots=True)
class Stopping(Event):
    """The server takes no more requests and waits for those in flight."""


@dataclass(frozen=True, slots=True)
class HttpMissing(Event):
    """`network.http.enable` is on and the REST API cannot be served, for want of packages."""

    reason: str


@dataclass(frozen=True, slots=True)
class MetricsMissing(Event):
    """`metric.enable` is on and metrics cannot be pushed, for want of packages."""

    reason: str


@dataclass(frozen=True, slots=True)
class PushFailed(Event):
    """The Pushgateway takes no metrics. Told once; metrics are pushed again as soon as it does."""

    address: str
    reason: str


@dataclass(frozen=True, slots=True)
class PushResumed(Event):
    """The Pushgateway takes metrics again."""

    address: str
