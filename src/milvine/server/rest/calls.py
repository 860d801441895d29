"""From the event loop to the operations and back: blocking work runs in threads of its own, never
on the loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import Annotated, Any, TypeVar

import orjson
from fastapi import Depends, Request, Response
from fastapi.responses import JSONResponse

from milvine.config import Settings
from milvine.engine.database import Database
from milvine.server.doors.door import WAITING_CALLS_MAX
from milvine.server.operations import Operations
from milvine.server.rest.receive import Body, received

T = TypeVar("T")
_JSON_OPTIONS = orjson.OPT_SERIALIZE_NUMPY


class Json(JSONResponse):
    """Takes JSON that is written already."""

    def render(self, content: Any) -> bytes:
        return bytes(content)


def reply(value: Any, status: int = 200) -> Json:
    """`value` as JSON; numpy arrays are written as they lie. Made where the operation runs, not on
    the loop.
    """
    return Json(orjson.dumps(value, option=_JSON_OPTIONS), status)


def status_reply(status: int = 200, message: str = "OK", code: int = 0) -> Json:
    """A status object."""
    return reply({"message": message, "code": code}, status)


def gone() -> Response:
    """The answer to a drop: 204 and no body."""
    return Response(status_code=204)


class Calls:
    """What endpoints work with: the operations, the database behind them, and threads to run them
    on.
    """

    def __init__(self, operations: Operations, database: Database, settings: Settings) -> None:
        self.operations, self.database, self.settings = operations, database, settings
        self._threads = ThreadPoolExecutor(WAITING_CALLS_MAX, thread_name_prefix="milvine-rest")

    async def run(self, rpc: str, work: Callable[[], T], size: int = 0, paid: bool = False) -> T:
        """The result of `work` on another thread, counted and told as the rpc it amounts to.

        Raises:
            MilvineError and whatever else `work` raises.
        """
        task = partial(copy_context().run, self.operations.run, rpc, size, work, paid)
        return await asyncio.get_running_loop().run_in_executor(self._threads, task)

    async def run_with_body(
        self, rpc: str | Callable[[Body], str], request: Request, work: Callable[[Body], T]
    ) -> T:
        """As `run`, with the body of the request, whose bytes are paid for from their arrival to
        the end of `work`.

        `rpc` may depend on the body; it only gives the call its name.
        """
        most, seconds = self.settings.http_body_bytes_max, self.settings.http_receive_seconds
        async with received(request, self.operations.budget, most, seconds) as body:
            name = rpc if isinstance(rpc, str) else rpc(body)
            if body.refusal is not None:
                return await self.run(name, partial(_raise, body.refusal), body.size, paid=True)
            return await self.run(name, partial(work, body), body.size, paid=True)


def _raise(error: Exception) -> Any:
    raise error


async def calls_of(request: Request) -> Calls:
    calls: Calls = request.app.state.calls
    return calls


Here = Annotated[Calls, Depends(calls_of)]
"""The type of an endpoint's parameter that gets the calls of its application."""
