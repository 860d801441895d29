"""The door of lanes: what `lanes/server.py` takes from the sockets, given to the gate and to the
operations.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from milvine.lanes.agreement import LaneAddress
from milvine.lanes.server import LanePort
from milvine.lanes.server_connections import UNSENT_BYTES_MAX
from milvine.lanes.server_protocol import Refusal, Request
from milvine.server.doors.door import INTERNAL_ERROR, Call, end_of, target, tell_of_error
from milvine.server.doors.listening import listen
from milvine.server.operations import GrpcStatus, Refused
from milvine.server.security.gate import AUTHORIZATION, Gate
from milvine.server.tracing.opening import Observe

AnswerBatch = Callable[[Sequence[bytes]], list[bytes | Refused]]

_WAITING_MAX = 128  # connections that nobody has accepted yet


class LaneDoor:
    """Listens from the moment it is made. `answer_batch` answers searches that arrived at the same
    moment; None: each is answered by `call`, as all else.

    Args:
        unsent_max: bytes of replies that it keeps for callers who are slow to take them.

    Attributes:
        address: where lanes begin, and which run of the server this is.

    Raises:
        DoorFailed: the address is taken or not ours.
    """

    name = "lane"

    def __init__(
        self,
        call: Call,
        answer_batch: AnswerBatch | None,
        address: str,
        port: int,
        observe: Observe | None = None,
        gate: Gate | None = None,
        unsent_max: int = UNSENT_BYTES_MAX,
    ) -> None:
        service = OperationsOfLanes(call, answer_batch, observe, gate)
        listening = listen(address, port, _WAITING_MAX)
        self._lanes = LanePort(listening, service, answer_batch is not None, unsent_max)
        self.address: LaneAddress = self._lanes.connections.address
        self.port = self._lanes.port

    def start(self) -> None:
        self._lanes.start()

    @property
    def ended(self) -> str:
        return "" if self._lanes.closed else end_of(self._lanes.threads)

    def stop(self, grace: float | None) -> None:
        self._lanes.stop(grace)


class OperationsOfLanes:
    """A `lanes.server.Service` over the operations of a server."""

    def __init__(
        self,
        call: Call,
        answer_batch: AnswerBatch | None,
        observe: Observe | None,
        gate: Gate | None,
    ) -> None:
        self._call, self._answer_batch, self._observe, self._gate = (
            call,
            answer_batch,
            observe,
            gate,
        )

    def admit(self, request: Request, peer: tuple[str, int]) -> Refusal | None:
        metadata = ((AUTHORIZATION, request.authorization),) if request.authorization else ()
        try:
            if self._observe:
                self._observe(metadata)
            if self._gate:
                self._gate.check_call(request.rpc, request.message, metadata, target(*peer))
        except Refused as refused:
            return _refusal(refused)
        except Exception:
            return self._unforeseen()
        return None

    def answer(self, request: Request) -> bytes | Refusal:
        try:
            return self._call(request.rpc, request.message)
        except Refused as refused:
            return _refusal(refused)
        except Exception:
            return self._unforeseen()

    def answer_batch(self, searches: Sequence[Request]) -> Sequence[bytes | Refusal]:
        assert self._answer_batch is not None
        try:
            replies = self._answer_batch([request.message for request in searches])
        except Exception:
            return [self._unforeseen()] * len(searches)
        return [_refusal(each) if isinstance(each, Refused) else each for each in replies]

    def tell_of_error(self) -> None:
        tell_of_error()

    def _unforeseen(self) -> Refusal:
        tell_of_error()
        return Refusal(GrpcStatus.UNKNOWN, INTERNAL_ERROR)


def _refusal(refused: Refused) -> Refusal:
    return Refusal(int(refused.status), str(refused))
