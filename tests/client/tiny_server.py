"""A gRPC server that answers each rpc from a table of functions, bytes to bytes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc

Answer = Callable[[bytes], bytes]
_UNLIMITED = (
    ("grpc.max_send_message_length", -1),
    ("grpc.max_receive_message_length", -1),
    ("grpc.so_reuseport", 0),
)


class _Handlers(grpc.GenericRpcHandler):
    def __init__(self, answers: dict[str, Answer]) -> None:
        self._answers = answers

    def service(self, details: Any) -> Any:
        answer = self._answers.get(details.method.rpartition("/")[2])
        return answer and grpc.unary_unary_rpc_method_handler(
            lambda request, context: answer(request)
        )


@contextmanager
def serving(answers: dict[str, Answer], port: int = 0, host: str = "127.0.0.1") -> Iterator[int]:
    """The port of a server that is gone, connections and all, when the block ends."""
    server = grpc.server(ThreadPoolExecutor(4), handlers=[_Handlers(answers)], options=_UNLIMITED)
    bound = server.add_insecure_port(f"{host}:{port}")
    server.start()
    try:
        yield bound
    finally:
        server.stop(None).wait()
