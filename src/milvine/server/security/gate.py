"""The gate in front of the doors: who is calling, may he, and not too often. Errors never hold a
token.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from milvine.config import Settings
from milvine.events import Event, Events
from milvine.events.server import AccessRefused, TokensRefused
from milvine.server.operations import GrpcStatus, Refused
from milvine.server.security.peers import Rates, host_of
from milvine.server.security.roles import RPCS, Role, role_of
from milvine.server.security.tokens import NO_TOKEN, Found, Tokens

AUTHORIZATION = "authorization"
_BEARER = "bearer "
FAILURES_AT_ONCE = 20.0
_FAILURES_PER_SECOND = 1.0
_REPORTS_PER_SECOND, _REPORTS_AT_ONCE = 0.1, 5.0
_TOKEN_BYTES_MAX = 512


class Gate:
    """Tells callers apart by their tokens, where there are any, and their address.

    A caller whose tokens fail more than `failures_at_once`, or once a second, is answered without
    being looked at more closely until he shows a good one: a good token always counts, so nobody
    can lock out a neighbour.
    """

    def __init__(
        self,
        tokens: Tokens | None,
        requests_per_second: int,
        events: Events,
        failures_at_once: float = FAILURES_AT_ONCE,
    ) -> None:
        self._tokens, self._events = tokens, events
        self._per_second = requests_per_second
        self._rates = (
            Rates(requests_per_second, requests_per_second) if requests_per_second else None
        )
        self._failures = Rates(_FAILURES_PER_SECOND, failures_at_once)
        self._reports = Rates(_REPORTS_PER_SECOND, _REPORTS_AT_ONCE)
        self._unreported, self._trouble = 0, ""
        self._lock = threading.Lock()

    def admit(self, what: str, least: Role, authorization: str, peer: str) -> Found:
        """Who wants to do `what`, which `least` may; `authorization` is the header of that name,
        empty for none.

        `peer` is his address, as gRPC tells it or without a port.

        Raises:
            Refused: UNAUTHENTICATED, PERMISSION_DENIED or RESOURCE_EXHAUSTED, with a sentence for
                the caller.
        """
        if least is Role.OPEN:
            return Found(Role.OPEN)
        if self._rates and not self._rates.take(host_of(peer)):
            self._report(what, peer, Found(Role.OPEN, trouble="too many requests"))
            text = f"Too many requests: one address may make {self._per_second} in a second"
            raise Refused(GrpcStatus.RESOURCE_EXHAUSTED, text)
        if self._tokens is None:
            return Found(Role.ADMIN)
        found = self._identify(self._tokens, authorization)
        if found.trouble:
            self._refuse_stranger(what, peer, found)
        self.demand(what, least, found, peer)
        return found

    def demand(self, what: str, least: Role, found: Found, peer: str) -> None:
        """Refuse who may not do `what`.

        Raises:
            Refused: PERMISSION_DENIED.
        """
        if found.role < least:
            self._report(
                what,
                peer,
                Found(found.role, found.name, f"role {found.role.word}, needs {least.word}"),
            )
            text = f"{what} needs a token of role {least.word}; this one has role {found.role.word}"
            raise Refused(GrpcStatus.PERMISSION_DENIED, text)

    def admit_call(self, rpc: str, metadata: Iterable[tuple[str, Any]], peer: str) -> Found:
        """As `admit`, for a call of gRPC."""
        return self.admit(rpc, RPCS.get(rpc, Role.ADMIN), bearer_of(metadata), peer)

    def check_call(
        self, rpc: str, request: bytes, metadata: Iterable[tuple[str, Any]], peer: str
    ) -> None:
        """As `admit_call`, with a request that may need more than its rpc does."""
        found = self.admit_call(rpc, metadata, peer)
        if rpc == "Cmd" and found.role < Role.ADMIN:
            self.demand("This command", role_of(rpc, request), found, peer)

    def welcomes(self, rpc: str, metadata: Iterable[tuple[str, Any]]) -> bool:
        """Whether his token would do for the rpc. Nothing is counted or told."""
        least = RPCS.get(rpc, Role.ADMIN)
        return (
            least is Role.OPEN
            or self._tokens is None
            or self._identify(self._tokens, bearer_of(metadata)).role >= least
        )

    def _identify(self, tokens: Tokens, authorization: str) -> Found:
        scheme, token = authorization[: len(_BEARER)], authorization[len(_BEARER) :].strip()
        if scheme.lower() != _BEARER or not token or len(token) > _TOKEN_BYTES_MAX:
            found = NO_TOKEN
        else:
            found = tokens.find(token)
        if tokens.trouble != self._trouble:
            self._trouble = tokens.trouble
            if tokens.trouble:
                self._events.emit(TokensRefused(tokens.trouble))
        return found

    def _refuse_stranger(self, what: str, peer: str, found: Found) -> None:
        self._report(what, peer, found)
        if not self._failures.take(host_of(peer)):
            raise Refused(
                GrpcStatus.RESOURCE_EXHAUSTED,
                "Too many requests without a valid token. Try again later",
            )
        if found is NO_TOKEN:
            text = "A token is needed: send it as `authorization: Bearer TOKEN`"
        else:
            text = (
                "The token has expired"
                if found.trouble == "token expired"
                else "The token is not valid"
            )
        raise Refused(GrpcStatus.UNAUTHENTICATED, text)

    def _report(self, what: str, peer: str, found: Found) -> None:
        """At most five events of one address at once, one in ten seconds; later ones count those
        between.
        """
        event: Event | None = None
        host = host_of(peer)
        with self._lock:
            if self._reports.take(host):
                event = AccessRefused(what, host, found.name, found.trouble, self._unreported)
                self._unreported = 0
            else:
                self._unreported += 1
        if event:
            self._events.emit(event)


def bearer_of(metadata: Iterable[tuple[str, Any]]) -> str:
    """The header `authorization`; nothing where there is none or more than one."""
    found = [value for key, value in metadata if key == AUTHORIZATION]
    return found[0] if len(found) == 1 and isinstance(found[0], str) else ""


def open_gate(settings: Settings, events: Events) -> Gate | None:
    """The gate that the settings ask for; None where everybody may come in as often as he likes.

    Raises:
        TokensUnusable: the file of the tokens is missing, damaged, or others may write it.
    """
    if not settings.tokens_file and not settings.requests_per_second:
        return None
    tokens = Tokens(Path(settings.tokens_file)) if settings.tokens_file else None
    return Gate(tokens, settings.requests_per_second, events)
