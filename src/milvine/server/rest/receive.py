"""Bodies of requests, paid for before they are held: by Content-Length, or as they arrive where there is none."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import Request

from milvine.errors import OutOfMemory
from milvine.server.budget import ByteBudget

_PIECE = 1 << 20  # bytes paid for at a time where the length is not known


class Body:
    """`data` of `size` bytes; or the refusal of a body that did not fit, of which nothing is kept."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.data = bytearray()
        self.size = 0
        self.refusal: OutOfMemory | None = None


@asynccontextmanager
async def received(request: Request, budget: ByteBudget) -> AsyncIterator[Body]:
    """The body of a request; its bytes count against the budget until the block ends."""
    body, taken = Body(_media_type(request)), 0
    try:
        try:
            body.size = _declared(request)
            budget.take(body.size)
            taken = body.size
            async for piece in request.stream():
                if len(body.data) + len(piece) > taken:
                    budget.take(_PIECE + len(piece))
                    taken += _PIECE + len(piece)
                body.data += piece
            body.size = len(body.data)
        except OutOfMemory as error:
            body.data, body.refusal = bytearray(), error
        yield body
    finally:
        budget.give_back(taken)


def _declared(request: Request) -> int:
    length = request.headers.get("content-length", "")
    return int(length) if length.isascii() and length.isdigit() else 0


def _media_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()
