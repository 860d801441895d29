"""Room for answers: what is counted, who waits, who is refused, and that all of it is
given back.
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest

from milvine.errors import OutOfMemory
from milvine.limits import MIB
from milvine.memory_plan import UNBOUNDED, MemoryPlan
from milvine.server.admission import answers
from milvine.server.admission.answers import Answer, AnswerBudget
from milvine.server.admission.budget import SHORT_BYTES, Held
from milvine.wire.packed import Rows, SearchRequest, encode_ids_request, encode_search
from tests.server.calling import Caller

TIMEOUT = 30
ROWS = 10_000


@pytest.fixture
def memory() -> MemoryPlan:
    return replace(UNBOUNDED, answers=MIB)


@pytest.fixture
def budget(monkeypatch: pytest.MonkeyPatch) -> AnswerBudget:
    """1 MB, and nobody waits for long."""
    small = AnswerBudget(MIB, 0.05)
    monkeypatch.setattr(answers, "budget", lambda most: small)
    return small


@pytest.fixture
def stocked(caller: Caller) -> Caller:
    caller.create()
    caller.insert(np.random.default_rng(1).random((ROWS, 4)), np.arange(ROWS))
    return caller


def test_an_answer_is_counted_until_it_is_done_with(budget: AnswerBudget) -> None:
    made = Answer(MIB, SHORT_BYTES + 1, lambda: budget.used)
    assert budget.used == 0
    with made as used:
        assert used == budget.used == SHORT_BYTES + 1
    with Answer(MIB, SHORT_BYTES, lambda: budget.used) as used:
        assert used == 0
    with pytest.raises(KeyError), Answer(MIB, MIB, {}.popitem):
        pass
    with pytest.raises(ZeroDivisionError), Answer(MIB, MIB, lambda: 0):
        raise ZeroDivisionError
    assert budget.used == 0


def test_who_finds_no_room_waits_and_is_refused(budget: AnswerBudget) -> None:
    with (
        pytest.raises(OutOfMemory, match=r"would take 2 MB; the limit is 1 MB\. Send fewer"),
        Answer(MIB, 2 * MIB, int),
    ):
        pass
    with Answer(MIB, MIB, int), ThreadPoolExecutor(1) as other:
        refused = other.submit(Answer(MIB, MIB, int).__enter__).exception(TIMEOUT)
    assert isinstance(refused, OutOfMemory)
    assert (
        refused.message
        == "An answer of 1048576 bytes does not fit beside 1048576 bytes of others; the limit is"
        " 1048576. Ask for less at a time or try again later. It waited 0.05 s for room"
    )
    assert budget.used == 0


def test_who_waits_comes_when_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    patient = AnswerBudget(MIB, TIMEOUT)
    monkeypatch.setattr(answers, "budget", lambda most: patient)
    begun = threading.Event()

    def second() -> int:
        begun.set()
        with Answer(MIB, MIB, lambda: 7) as answer:
            return answer

    with ThreadPoolExecutor(1) as other:
        with Answer(MIB, MIB, int):
            late = other.submit(second)
            assert begun.wait(TIMEOUT)
            while not patient.waiting:
                assert not late.done()
        assert late.result(TIMEOUT) == 7
    assert patient.used == 0


def test_every_call_with_a_long_answer_is_counted(
    stocked: Caller, budget: AnswerBudget, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[int] = []

    def noted(size: int, held: Held) -> None:
        taken.append(size)
        AnswerBudget.take(budget, size, held)

    monkeypatch.setattr(budget, "take", noted)
    vectors = np.random.default_rng(2).random((8, 4), dtype=np.float32)
    call = stocked.operations.call
    call("Search", encode_search("c", vectors, 1_000, (), "{}"))
    stocked.ok("SearchByID", collection_name="c", id_array=range(8), topk=800)
    call("Search", encode_search("c", vectors[:1], 7_000, (), "{}"))
    stocked.operations.search(SearchRequest("c", (), Rows(8, 32, vectors), 700, None), {})
    call("GetVectorsByID", encode_ids_request("c", np.arange(1_000)))  # of 16 bytes each: short
    stocked.ok("Flush", collection_name_array=["c"])
    segment = stocked.operations._database.collection("c").stats().partitions[0].segments[0].name
    stocked.ok("GetVectorIDs", collection_name="c", segment_name=segment)
    wide = np.zeros((100, 1_000), np.float32)
    stocked.create("wide", 1_000)
    ids = np.array(stocked.insert(wide, name="wide"))
    call("GetVectorsByID", encode_ids_request("wide", ids))
    assert taken == [96_000, 76_800, 84_000, 67_200, 8 * ROWS, 400_000]
    assert budget.used == 0


def test_answers_too_long_for_all_together_are_refused_in_words(
    stocked: Caller, budget: AnswerBudget
) -> None:
    vectors = np.zeros((20, 4), np.float32)
    refused = stocked.search(vectors, 5_000)
    assert (refused.code, refused.reason) == (
        24,
        (
            "The answer to 20 queries with 5000 hits each would take 1 MB; the limit is 1 MB. "
            "Send fewer queries at a time or ask for fewer hits"
        ),
    )
    assert stocked.search(vectors, 4_000).code == 0
    with Answer(MIB, MIB, int):
        assert stocked.search(vectors, 4_000).code == 24
        assert stocked.search(vectors, 100).code == 0  # short
    assert budget.used == 0
