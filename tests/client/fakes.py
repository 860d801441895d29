"""A transport that answers from a table, so that the client can be tested without a database."""

from __future__ import annotations

from typing import Any

from milvine.wire import schema


class FakeTransport:
    """`replies` maps an rpc to its reply message, or to the exception that the call raises."""

    def __init__(self, **replies: Any) -> None:
        self.replies = replies
        self.sent: list[tuple[str, bytes, float | None]] = []
        self.closed = 0

    def call(self, method: str, request: bytes, timeout: float | None) -> bytes:
        self.sent.append((method, request, timeout))
        reply = self.replies[method]
        if isinstance(reply, BaseException):
            raise reply
        return bytes(reply.SerializeToString())

    def close(self) -> None:
        self.closed += 1

    def last(self) -> Any:
        """The latest request as a message."""
        method, request, _ = self.sent[-1]
        return schema.METHODS[method][0].FromString(request)


def reply_of(rpc: str, code: int = 0, reason: str = "OK", **fields: Any) -> Any:
    """A reply message of `rpc` with this status."""
    message_class = schema.METHODS[rpc][1]
    if message_class is schema.Status:
        return schema.Status(error_code=code, reason=reason)
    return message_class(status=schema.Status(error_code=code, reason=reason), **fields)
