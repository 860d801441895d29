"""Bodies of requests, paid for before they are held: by Content-Length, or as they arrive where
there is none.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from anyio import fail_after, move_on_after
from fastapi import Request

from milvine.errors import MilvineError, OutOfMemory
from milvine.server.admission.budget import ByteBudget
from milvine.server.rest.errors import TooLarge, TooSlow

_MEMBER = re.compile(rb'\s*\{\s*"([a-z]+)"')
_PASSING_BYTES, _PASSING_SECONDS = 64 << 20, 5.0  # of a refused body that are read on
_PIECE = 1 << 20  # bytes paid for at a time where the length is not known


class Body:
    """`data` of `size` bytes; or the refusal of a body that did not fit, of which nothing
    is kept.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.data = bytearray()
        self.size = 0
        self.refusal: MilvineError | None = None

    def member(self) -> str:
        """The name of the first member of a JSON object, without reading the rest; empty where
        there is none.
        """
        found = _MEMBER.match(self.data)
        return found[1].decode() if found else ""


@asynccontextmanager
async def received(
    request: Request, budget: ByteBudget, most: int = 1 << 62, seconds: float = 3600.0
) -> AsyncIterator[Body]:
    """The body of a request, `most` bytes within `seconds`; they count against the budget until the
    block ends.
    """
    body, taken = Body(_media_type(request)), 0
    try:
        try:
            body.size = _within(_declared(request), most)
            await budget.take_on_loop(body.size)
            taken = body.size
            with fail_after(seconds):
                async for piece in request.stream():
                    if _within(len(body.data) + len(piece), most) > taken:
                        budget.take_more(_PIECE + len(piece))
                        taken += _PIECE + len(piece)
                    body.data += piece
            body.size = len(body.data)
        except (OutOfMemory, TooLarge) as error:
            body.data, body.refusal = bytearray(), error
            await _let_pass(request)
        except TimeoutError:
            budget.give_back(taken)
            body.data, taken = bytearray(), 0
            body.refusal = TooSlow(
                f"The body did not arrive within {seconds:g} seconds (network.http.receive_seconds)"
            )
        yield body
    finally:
        budget.give_back(taken)


async def _let_pass(request: Request) -> None:
    """Takes and forgets a part of a refused body: who is cut off while sending may never see the
    answer.
    """
    passed = 0
    with move_on_after(_PASSING_SECONDS):
        while passed < _PASSING_BYTES:
            message = await request.receive()
            passed += len(message.get("body", b""))
            if not message.get("more_body"):
                return


def _within(size: int, most: int) -> int:
    if size > most:
        raise TooLarge(
            f"A body of {size} bytes or more is over the limit of {most} bytes"
            " (network.http.body_bytes_max)"
        )
    return size


def _declared(request: Request) -> int:
    length = request.headers.get("content-length", "")
    return int(length) if length.isascii() and length.isdigit() else 0


def _media_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()
