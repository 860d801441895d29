"""The seam: `call(rpc, request bytes) -> reply bytes`, the same for every door and for the embedded
client.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from functools import partial
from time import perf_counter
from typing import Any, TypeVar

import numpy as np

from milvine.config import Configuration, Settings
from milvine.engine.database import Database
from milvine.errors import ErrorCode, IllegalArgument, MilvineError
from milvine.events import Events
from milvine.events.server import Answered, RequestFailed
from milvine.limits import MIB, REQUEST_BYTES_MAX
from milvine.server.admission.budget import SHORT_BYTES, ByteBudget, Held
from milvine.server.configuration.running import RunningConfiguration
from milvine.server.operations import (
    collections,
    commands,
    indexes,
    partitions,
    rows,
    segments,
    system,
)
from milvine.server.operations.parameters import PARAMS_KEY, parse_params
from milvine.server.operations.refusals import MalformedRequest, UnknownMethod
from milvine.server.operations.running import Running
from milvine.types import Hits
from milvine.wire import schema
from milvine.wire.packed import HitsReply, IdsReply, InsertRequest, Malformed, SearchRequest, parse
from milvine.wire.status import OK_REASON, code_and_reason, set_status

_SUCCESS = int(ErrorCode.SUCCESS)

Answer = Callable[[bytes], bytes]
T = TypeVar("T")

PACKED: dict[str, Callable[[Database, bytes], bytes]] = {
    "Insert": rows.insert,
    "Search": rows.search,
    "SearchInFiles": rows.search_in_files,
    "SearchByID": rows.search_by_id,
    "GetVectorsByID": rows.get_vectors_by_id,
    "GetVectorIDs": rows.get_vector_ids,
    "DeleteByID": rows.delete_by_id,
    "ReloadSegments": segments.reload_segments,
}
"""Operations that take and give bytes."""

MESSAGES: dict[str, Callable[[Database, Any], Any]] = {
    "CreateCollection": collections.create_collection,
    "HasCollection": collections.has_collection,
    "DescribeCollection": collections.describe_collection,
    "CountCollection": collections.count_collection,
    "ShowCollections": collections.show_collections,
    "ShowCollectionInfo": collections.show_collection_info,
    "DropCollection": collections.drop_collection,
    "CreateIndex": indexes.create_index,
    "DescribeIndex": indexes.describe_index,
    "DropIndex": indexes.drop_index,
    "CreatePartition": partitions.create_partition,
    "HasPartition": partitions.has_partition,
    "ShowPartitions": partitions.show_partitions,
    "DropPartition": partitions.drop_partition,
    "PreloadCollection": segments.preload_collection,
    "ReleaseCollection": segments.release_collection,
    "Flush": system.flush,
    "Compact": system.compact,
}
"""Operations that take and give messages; the status of a success is written here."""

NOT_SERVED: frozenset[str] = frozenset()
"""Rpcs of the service that this release answers with UNIMPLEMENTED."""

SERVED = (*PACKED, *MESSAGES, "Cmd")


class Operations:
    """Every rpc of a database. Thread-safe; an error of any kind ends in a reply,
    not in the caller's thread.

    Those that `passes` is true of are raised instead: where the callers are in this process,
    and one was interrupted.
    """

    def __init__(
        self,
        database: Database,
        settings: Settings | None = None,
        events: Events | None = None,
        configuration: Configuration | None = None,
        passes: Callable[[BaseException], bool] = lambda error: False,
    ) -> None:
        settings = settings or Settings()
        self._passes = passes
        self._database = database
        self.configuration = RunningConfiguration(
            database, configuration or Configuration.of(settings)
        )
        self._events = Events() if events is None else events
        self._running = Running()
        self.budget = ByteBudget(settings.request_bytes_max)
        self._answers: dict[str, Answer] = {
            rpc: partial(answer, database) for rpc, answer in PACKED.items()
        }
        for rpc, operation in MESSAGES.items():
            self._answers[rpc] = partial(_answer, rpc, partial(operation, database))
        self.server_answers: dict[str, str] = {}
        """Answers to commands about the server around the database, which writes them here."""
        self._command = partial(
            commands.command,
            self.configuration,
            settings.report_version,
            self._running,
            self.server_answers,
        )
        self._answers["Cmd"] = partial(_answer, "Cmd", self._command)

    def in_flight(self) -> tuple[int, int]:
        """How many requests are being answered, and how many bytes they have."""
        return len(self._running), self.budget.used

    def call(self, method: str, request: bytes) -> bytes:
        """The reply to an rpc, named as in `Insert`. Failures are replies too, with code and
        reason.

        Raises:
            UnknownMethod: no such rpc, or one that is not served.
            MalformedRequest: the bytes are no such request, or its parameters are no JSON.
        """
        answer = self._answers.get(method)
        if answer is None:
            raise UnknownMethod(method)
        try:
            return self.run(method, len(request), partial(answer, request))
        except MalformedRequest:
            raise
        except Malformed as error:
            raise MalformedRequest.undecodable(str(error)) from None
        except Exception as error:
            if self._passes(error):
                raise
            return _failure(method, error)

    def search(self, wanted: SearchRequest, params: object) -> HitsReply:
        """As the rpc Search, for a caller in this process: nothing is encoded, failures are replies
        too, and the vectors, which are his, are not counted among requests in flight.
        """
        try:
            work = partial(self._hits, wanted, params)
            hits = self.run("Search", wanted.rows.elements * 4, work, paid=True)
        except Exception as error:
            if self._passes(error):
                raise
            code, reason = code_and_reason(error)
            return HitsReply(int(code), reason, 0, np.empty(0, np.int64), np.empty(0, np.float32))
        row_num = len(hits.ids) if hits.ids.size else 0
        return HitsReply(0, OK_REASON, row_num, hits.ids.reshape(-1), hits.distances.reshape(-1))

    def insert(self, wanted: InsertRequest) -> IdsReply:
        """As the rpc Insert, for a caller in this process: nothing is encoded, and failures are
        replies too. The rows of `wanted` must not be changed afterwards.
        """
        vectors = wanted.rows.vectors
        size = wanted.ids.nbytes + (0 if vectors is None else vectors.nbytes)
        work = partial(rows.store_rows, self._database, wanted)
        try:
            return IdsReply(0, OK_REASON, self.run("Insert", size, work, paid=size <= SHORT_BYTES))
        except Exception as error:
            if self._passes(error):
                raise
            code, reason = code_and_reason(error)
            return IdsReply(int(code), reason, np.empty(0, np.int64))

    def nearest_of_many(self, wanted: SearchRequest, requests: int) -> Hits | None:
        """The hits of `requests` searches joined into `wanted`; None where it is refused: each is
        answered alone.
        """
        began = perf_counter()
        try:
            work = partial(self._hits, wanted, parse_params(wanted.params))
            hits = self.run("Search", wanted.rows.elements * 4, work)
        except Exception:  # told by `run`, and once more to each of the callers
            return None
        for _ in range(requests - 1 if self._events.busy else 0):
            self._events.emit(Answered("Search", ErrorCode.SUCCESS, 0, perf_counter() - began))
        return hits

    def _hits(self, wanted: SearchRequest, params: object) -> Hits:
        return rows.nearest(self._database, wanted, params, _as_they_are)

    def command(self, text: str) -> str:
        """The answer to a command, as the rpc Cmd gives it.

        Raises:
            MilvineError: see `commands.command`.
        """
        return str(self._command(schema.Command(cmd=text)).string_reply)

    def run(self, method: str, size: int, work: Callable[[], T], paid: bool = False) -> T:
        """The result of `work`, an operation that arrived by any door as a request of `size` bytes.

        It is counted among the running ones, against the byte budget (unless it is `paid`: the door
        took the bytes from `budget` itself while they arrived), and told to the events.

        Raises:
            OutOfMemory: the budget for requests in flight has no room for it.
            MilvineError and whatever else `work` raises.
        """
        began, code, held = perf_counter(), _SUCCESS, Held()
        try:
            self._running.enter(method)
            if not paid:
                self.budget.take(size, held)
            return work()
        except (MalformedRequest, Malformed):
            code = int(ErrorCode.UNEXPECTED_ERROR)
            raise
        except MilvineError as error:
            code = int(error.code)
            raise
        except Exception as error:
            failed, reason = code_and_reason(error)
            code = int(failed)
            self._events.emit(RequestFailed(method, reason, traceback.format_exc()))
            raise
        finally:
            try:
                if not paid:
                    self.budget.let_go(held)
            except BaseException:  # interrupted: what was done is not done twice
                self.budget.let_go(held)
                raise
            self._running.leave()
            if self._events.busy:
                self._events.emit(Answered(method, code, size, perf_counter() - began))


def _answer(rpc: str, operation: Callable[[Any], Any], request: bytes) -> bytes:
    if len(request) > REQUEST_BYTES_MAX:
        raise IllegalArgument(
            f"A {rpc} request of {len(request)} bytes is over the limit of"
            f" {REQUEST_BYTES_MAX // MIB} MB"
        )
    reply = operation(parse(schema.METHODS[rpc][0], request))
    return bytes(set_status(reply).SerializeToString())


def _as_they_are(hits: Hits) -> Hits:
    return hits


def _failure(rpc: str, error: BaseException) -> bytes:
    """A reply that holds the status and nothing else, save the empty parameters that 1.x sends with
    DescribeIndex.
    """
    reply = set_status(schema.METHODS[rpc][1](), *code_and_reason(error))
    if rpc == "DescribeIndex":
        reply.extra_params.add(key=PARAMS_KEY)
    return bytes(reply.SerializeToString())
