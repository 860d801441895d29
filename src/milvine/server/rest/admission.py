"""Who may ask what over HTTP: looked at when the route is known and before the body is read."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from milvine.server.operations import GrpcStatus, Refused
from milvine.server.rest.errors import NotAdmitted
from milvine.server.security.gate import AUTHORIZATION, Gate
from milvine.server.security.roles import ROUTES, Role

_STATUS = {
    GrpcStatus.UNAUTHENTICATED: 401,
    GrpcStatus.PERMISSION_DENIED: 403,
    GrpcStatus.RESOURCE_EXHAUSTED: 429,
}


async def admit(request: Request) -> None:
    """A dependency of every route: raises NotAdmitted for who may not take it."""
    gate: Gate | None = request.app.state.gate
    if gate is None:
        return
    path = request.scope["route"].path
    least = ROUTES.get((request.method, path), Role.ADMIN)
    headers = request.headers.getlist(AUTHORIZATION)
    try:
        shown = headers[0] if len(headers) == 1 else ""
        request.state.found = gate.admit(f"{request.method} {path}", least, shown, _host(request))
    except Refused as refused:
        raise _not_admitted(refused) from None


class Admitted:
    """What an endpoint asks when the role depends on more than the route."""

    def __init__(self, request: Request) -> None:
        self._request = request

    def demand(self, what: str, least: Role) -> None:
        """Raises NotAdmitted: the caller has not that role."""
        gate: Gate | None = self._request.app.state.gate
        if gate is None:
            return
        try:
            gate.demand(what, least, self._request.state.found, _host(self._request))
        except Refused as refused:
            raise _not_admitted(refused) from None


async def _admitted(request: Request) -> Admitted:
    return Admitted(request)


Caller = Annotated[Admitted, Depends(_admitted)]
"""The type of an endpoint's parameter that knows who calls."""


def _host(request: Request) -> str:
    return request.client.host if request.client else ""


def _not_admitted(refused: Refused) -> NotAdmitted:
    return NotAdmitted(str(refused), _STATUS[refused.status])
