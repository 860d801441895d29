#!/usr/bin/env bash
# grpcio: a call on a channel that somebody closed raises ValueError, UsageError or RpcError.
#
# Whoever catches `grpc.RpcError` around a call, as the guides have it, is safe until another part
# of the program closes the channel. Then a new call raises a bare ValueError, one of `grpc.aio`
# raises `UsageError`, which is no ValueError and no RpcError, and only a call that was under way
# gets an RpcError, with CANCELLED, as if the server or the caller had cancelled it. A new stub can
# be made from the closed channel without a word.
#
# It matters to us because clients are shared between threads: `close` has to be told from a
# server's answer, so it is to be asked for before the call and after it, not read from the
# exception's class.
set -euo pipefail
cd "$(mktemp -d)"
trap 'rm -rf "$PWD"' EXIT
python3 -m venv venv
venv/bin/python -m pip --quiet --disable-pip-version-check install \
    grpcio==1.85.3 typing_extensions==4.16.0
cat > look.py <<'PY'
import asyncio
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import grpc

print("grpcio", grpc.__version__)
arrived, leave = threading.Event(), threading.Event()


def wait(request, context):
    arrived.set()
    leave.wait(20)
    return request


methods = {"wait": grpc.unary_unary_rpc_method_handler(wait)}
server = grpc.server(ThreadPoolExecutor(1))
server.add_generic_rpc_handlers([grpc.method_handlers_generic_handler("s", methods)])
place = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
server.start()


def error_of(call):
    try:
        call()
    except Exception as error:
        print(f"{type(error).__name__}: {error}".splitlines()[0])
        return error


async def in_asyncio():
    channel = grpc.aio.insecure_channel(place)
    call = channel.unary_unary("/s/wait")
    await channel.close()
    await call(b"", timeout=20)


channel = grpc.insecure_channel(place)
call = channel.unary_unary("/s/wait")
under_way = call.future(b"", timeout=20)
arrived.wait(20)
channel.close()
cancelled = error_of(under_way.result)
new = error_of(lambda: channel.unary_unary("/s/wait")(b"", timeout=20))
other = error_of(lambda: asyncio.run(in_asyncio()))
leave.set()
server.stop(None).wait()
as_described = (
    isinstance(cancelled, grpc.RpcError)
    and cancelled.code() == grpc.StatusCode.CANCELLED
    and type(new) is ValueError
    and isinstance(other, grpc.aio.UsageError)
    and not isinstance(other, (ValueError, grpc.RpcError))
)
sys.exit(None if as_described else "this has changed")
PY
venv/bin/python look.py
