"""`AsyncMilvus` is `Milvus` with coroutines: the same methods, arguments, results and errors."""

from __future__ import annotations

import asyncio
import inspect
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from milvine.client.exceptions import ClientClosedError
from milvus import AsyncMilvus, Milvus, NotConnectError, ParamError, __version__
from tests.client.fakes import FakeTransport, reply_of

OWN = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "src")}
REMOVED = {"connect", "disconnect", "connected", "set_hook"}  # by 1.x: they only raise
PLAIN = {"client_version"}


def methods(kind: type) -> dict[str, Any]:
    return {
        name: method
        for name, method in inspect.getmembers(kind, inspect.isfunction)
        if not name.startswith("_") or name == "_cmd"
    }


def test_every_method_of_milvus_is_a_coroutine() -> None:
    theirs, ours = methods(Milvus), methods(AsyncMilvus)
    assert set(ours) == set(theirs) - REMOVED
    for name, method in ours.items():
        assert inspect.signature(method) == inspect.signature(theirs[name]), name
        assert inspect.iscoroutinefunction(method) == (name not in PLAIN), name


def test_a_life(database_address: str) -> None:
    async def life() -> None:
        async with eval(f"AsyncMilvus({database_address})", {"AsyncMilvus": AsyncMilvus}) as milvus:
            assert (await milvus.create_collection({"collection_name": "a", "dimension": 2})).OK()
            many = [milvus.insert("a", [[float(n), 0.0]], [n]) for n in range(50)]
            assert all(status.OK() for status, _ in await asyncio.gather(*many))
            assert await milvus.count_entities("a") == (0, 50)
            status, result = await milvus.search("a", 1, [[7.0, 0.0]], params={})
            assert status.OK() and result.id_array == [[7]]
            with pytest.raises(ParamError):
                await milvus.insert("a", [])
            with pytest.raises(ParamError, match="Await the call"):
                await milvus.flush(["a"], _async=True)
            assert (await milvus.drop_collection("a")).OK()

    asyncio.run(life())


def test_calls_run_at_the_same_time() -> None:
    together = threading.Barrier(8)

    class Meets(FakeTransport):
        def call(self, method: str, request: bytes, timeout: float | None) -> bytes:
            together.wait(10)
            return super().call(method, request, timeout)

    async def meet() -> None:
        milvus = AsyncMilvus(transport=Meets(Compact=reply_of("Compact")), try_connect=False)
        assert all(
            status.OK() for status in await asyncio.gather(*[milvus.compact("a") for _ in range(8)])
        )
        await milvus.close()

    asyncio.run(meet())


def test_nothing_is_opened_before_the_first_call(tmp_path: Path) -> None:
    async def opened() -> None:
        milvus = AsyncMilvus(uri=(tmp_path / "data").as_uri())
        assert not (tmp_path / "data").exists() and milvus.client_version() == __version__
        assert (await milvus.list_collections())[1] == []
        assert (tmp_path / "data").exists()
        await milvus.close()
        await milvus.close()
        with pytest.raises(ClientClosedError):
            await milvus.list_collections()

    asyncio.run(opened())


def test_asyncio_is_not_loaded_before_it_is_needed() -> None:
    code = "import sys, milvus; sys.exit('asyncio' in sys.modules or 'grpc' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", code], env=OWN, timeout=60, check=False).returncode
        == 0
    )


def test_nobody_listens() -> None:
    async def connect() -> None:
        async with AsyncMilvus(host="127.0.0.1", port=1, max_retry=1, wait_timeout=0.2):
            raise AssertionError("connected")

    with pytest.raises(NotConnectError):
        asyncio.run(connect())


def test_close_waits_for_calls() -> None:
    begun, release = threading.Event(), threading.Event()

    class Waits(FakeTransport):
        def call(self, method: str, request: bytes, timeout: float | None) -> bytes:
            begun.set()
            assert release.wait(10)
            assert not self.closed
            return super().call(method, request, timeout)

    async def close() -> None:
        transport = Waits(Compact=reply_of("Compact"))
        milvus = AsyncMilvus(transport=transport, try_connect=False)
        call = asyncio.create_task(milvus.compact("a"))
        await asyncio.to_thread(begun.wait, 10)
        closing = asyncio.create_task(milvus.close())
        await asyncio.sleep(0.05)
        assert not closing.done()
        release.set()
        await closing
        assert (await call).OK() and transport.closed == 1

    asyncio.run(close())


class Hangs(FakeTransport):
    """A server that does not answer before it is hung up on."""

    def __init__(self) -> None:
        super().__init__(Compact=reply_of("Compact"), Cmd=reply_of("Cmd", string_reply="1.1.1"))
        self.begun, self.hung_up = threading.Event(), threading.Event()

    def call(self, method: str, request: bytes, timeout: float | None) -> bytes:
        self.begun.set()
        assert self.hung_up.wait(30)
        return super().call(method, request, timeout)

    def close(self) -> None:
        super().close()
        self.hung_up.set()


@pytest.mark.parametrize("connects", [True, False])
def test_close_does_not_wait_for_a_call_that_was_cancelled(connects: bool) -> None:
    """Whether it hangs in the call itself or while it connects; nor do those that wait for it."""

    async def close() -> None:
        transport = Hangs()
        milvus = AsyncMilvus(transport=transport, try_connect=connects)
        calls = [asyncio.create_task(milvus.compact("a")) for _ in range(40)]
        await asyncio.to_thread(transport.begun.wait, 10)
        for call in calls:
            call.cancel()
        assert {type(each) for each in await asyncio.gather(*calls, return_exceptions=True)} == {
            asyncio.CancelledError
        }
        await asyncio.wait_for(milvus.close(), 10)
        assert transport.closed >= 1

    asyncio.run(close())


def test_a_call_that_is_cancelled_while_close_waits_for_it() -> None:
    async def close() -> None:
        transport = Hangs()
        milvus = AsyncMilvus(transport=transport, try_connect=False)
        call = asyncio.create_task(milvus.compact("a"))
        await asyncio.to_thread(transport.begun.wait, 10)
        closing = asyncio.create_task(milvus.close())
        await asyncio.sleep(0.05)
        assert not closing.done() and not transport.closed
        call.cancel()
        await asyncio.wait_for(closing, 10)
        assert transport.closed == 1

    asyncio.run(close())


def test_calls_of_a_loop_that_ended_are_not_waited_for() -> None:
    """Its tasks were cancelled with it."""
    transport = Hangs()
    milvus = AsyncMilvus(transport=transport, try_connect=False)

    async def begin() -> None:
        asyncio.get_running_loop().create_task(milvus.compact("a"))
        await asyncio.to_thread(transport.begun.wait, 10)

    async def close() -> None:
        await asyncio.wait_for(milvus.close(), 10)

    asyncio.run(begin())
    asyncio.run(close())
    assert transport.closed == 1


def test_a_timeout_of_asyncio_and_the_end_of_the_block(tmp_path: Path) -> None:
    """The usual way to it, in a process that has to end as well."""
    code = (
        "import asyncio, socket\n"
        "from milvus import AsyncMilvus\n"
        "async def main():\n"
        "    with socket.socket() as silent:\n"
        "        silent.bind(('127.0.0.1', 0))\n"
        "        silent.listen()\n"
        "        port = silent.getsockname()[1]\n"
        "        for handler in ('GRPC', 'HTTP'):\n"
        "            milvus = AsyncMilvus(host='127.0.0.1', port=port, handler=handler)\n"
        "            try:\n"
        "                await asyncio.wait_for(milvus.list_collections(timeout=None), 0.5)\n"
        "            except asyncio.TimeoutError:\n"
        "                await milvus.close()\n"
        "                print('closed')\n"
        "asyncio.run(main())\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=OWN, timeout=60, capture_output=True, text=True
    )
    assert done.stdout == "closed\nclosed\n" and done.returncode == 0, done.stderr[-2000:]
