"""What holds for every path: CORS headers on each answer, OPTIONS, HEAD, trailing slashes, the
words for no mapping.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any

from fastapi import Request, Response
from starlette.routing import BaseRoute, Match

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

CORS = {
    "Access-Control-Allow-Methods": "GET, POST, OPTIONS, PUT, DELETE",
    "Access-Control-Allow-Headers": (
        "DNT, User-Agent, X-Requested-With, If-Modified-Since, Cache-Control, Content-Type, Range,"
        " Authorization, Idempotency-Key, traceparent, tracestate"
    ),
    "Access-Control-Max-Age": "1728000",
}
ANY = "*"
"""Every origin, as in 1.x."""
_ALLOW = b"access-control-allow-origin"
_CORS_RAW = [(name.lower().encode(), value.encode()) for name, value in CORS.items()]
_FOREIGN = (
    b'{"message":"Pages of this origin may not ask here (network.http.cors_origins)","code":3}'
)
_NO_MAPPING = (
    "server=oatpp/1.0.1\ncode=404\ndescription=Not Found\nmessage=Current url has no mapping\n"
)


async def no_mapping(request: Request, error: Exception) -> Response:
    """The answer to an unknown path or a method it does not have (specification 1)."""
    return Response(_NO_MAPPING, 404, {"Connection": "close"}, "text/plain")


class Edges:
    """Wraps the application."""

    def __init__(
        self, app: App, routes: Sequence[BaseRoute], origins: Sequence[str] = (ANY,)
    ) -> None:
        self._app, self._routes, self._origins = app, routes, frozenset(origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        path = scope["path"].rstrip("/") or "/"
        wants_head_alone = scope["method"] == "HEAD"
        method = "GET" if wants_head_alone else scope["method"]
        scope = {**scope, "path": path, "raw_path": path.encode(), "method": method}

        cors = self._cors(scope)

        async def send_with_cors(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *cors]
            elif wants_head_alone:
                message = {**message, "body": b""}  # whose length the head has told
            await send(message)

        if self._is_foreign(scope):
            await Response(_FOREIGN, 403, media_type="application/json")(
                scope, receive, send_with_cors
            )
        elif method == "OPTIONS" and (methods := self._methods(scope)):
            await Response(status_code=204, headers={"Allow": methods})(
                scope, receive, send_with_cors
            )
        else:
            await self._app(scope, receive, send_with_cors)

    def _cors(self, scope: Scope) -> list[tuple[bytes, bytes]]:
        """Never with credentials: a browser sends no token of its own accord."""
        if ANY in self._origins:
            return [*_CORS_RAW, (_ALLOW, b"*")]
        origin = _header(scope, b"origin")
        allowed = (
            [*_CORS_RAW, (_ALLOW, origin.encode("latin-1"))] if origin in self._origins else []
        )
        return [*allowed, (b"vary", b"Origin")]

    def _is_foreign(self, scope: Scope) -> bool:
        """A request that a page of another site makes, where sites are named: a browser sends some
        without asking.
        """
        origin = _header(scope, b"origin")
        if not origin or ANY in self._origins or origin in self._origins:
            return False
        return origin.partition("://")[2] != _header(scope, b"host")

    def _methods(self, scope: Scope) -> str:
        """What a path takes, for the header Allow; empty for a path that does not exist."""
        found = [
            method
            for method in ("GET", "POST", "PUT", "DELETE")
            if self._has({**scope, "method": method})
        ]
        also = ["HEAD", "OPTIONS"] if "GET" in found else ["OPTIONS"]
        return ", ".join(found + also) if found else ""

    def _has(self, scope: Scope) -> bool:
        return any(route.matches(scope)[0] is Match.FULL for route in self._routes)


def _header(scope: Scope, wanted: bytes) -> str:
    return next((value.decode("latin-1") for name, value in scope["headers"] if name == wanted), "")
