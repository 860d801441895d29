"""Bytes in flight: who waits, who passes, who is refused, and that nothing stays counted."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from milvine.errors import OutOfMemory
from milvine.limits import MIB
from milvine.server.admission.budget import SHORT_BYTES, ByteBudget

LARGE = 100 * MIB


def until(what: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not what() and time.monotonic() < end:
        time.sleep(0.002)
    assert what()


def test_who_finds_no_room_waits_for_it() -> None:
    budget = ByteBudget(LARGE, 30)
    budget.take(LARGE)
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(budget.take, LARGE // 2)
        until(lambda: budget.waiting == 1)
        budget.give_back(LARGE)
        waiting.result(30)
    assert (budget.used, budget.waiting) == (LARGE // 2, 0)


def test_first_come_first_served_so_that_large_ones_do_not_starve() -> None:
    budget, order = ByteBudget(LARGE, 30), list[int]()

    def ask(size: int) -> None:
        budget.take(size)
        order.append(size)
        budget.give_back(size)

    budget.take(30 * MIB)
    budget.take(20 * MIB)
    threads = []
    sizes = (
        60 * MIB,
        20 * MIB,
        19 * MIB,
    )  # the first has to wait; the others have room and stand behind it
    for number, size in enumerate(sizes):
        threads.append(threading.Thread(target=ask, args=(size,)))
        threads[-1].start()
        until(lambda number=number: budget.waiting == number + 1)  # type: ignore[misc]
    budget.give_back(20 * MIB)
    until(lambda: bool(order))
    budget.give_back(30 * MIB)
    for thread in threads:
        thread.join(30)
    assert order[0] == sizes[0] and sorted(order) == sorted(sizes)
    assert budget.used == 0


def test_short_requests_pass_the_queue_in_a_bounded_spare_part() -> None:
    budget = ByteBudget(LARGE, 0.01)
    budget.take(LARGE)
    passed = 0
    with pytest.raises(OutOfMemory, match="It waited 0.01 s for room"):
        while passed < 10_000:
            budget.take(SHORT_BYTES)
            passed += 1
    assert 0 < passed * SHORT_BYTES <= LARGE // 8
    with pytest.raises(OutOfMemory):
        budget.take(SHORT_BYTES + 1)
    assert budget.used == LARGE + passed * SHORT_BYTES


def test_larger_than_all_is_refused_at_once_and_nothing_stays_counted() -> None:
    budget = ByteBudget(1000, 30)
    with pytest.raises(
        OutOfMemory, match="the limit is 1000 .network.request_bytes_max.. Send less"
    ) as caught:
        budget.take(1001)
    assert caught.value.code == 24
    assert (budget.used, budget.waiting) == (0, 0)


def test_no_more_waits_than_may_be_in_flight() -> None:
    budget = ByteBudget(LARGE, 30)
    budget.take(LARGE)
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(budget.take, LARGE - MIB)
        until(lambda: budget.waiting == 1)
        with pytest.raises(OutOfMemory, match=f"{LARGE - MIB} bytes are waiting for room already"):
            budget.take(2 * MIB)
        budget.give_back(LARGE)
        waiting.result(30)
    assert (budget.used, budget.waiting) == (LARGE - MIB, 0)


def test_who_gives_up_lets_those_behind_in() -> None:
    async def scene(budget: ByteBudget) -> None:
        budget.take(LARGE // 2)
        first = asyncio.create_task(budget.take_on_loop(LARGE - MIB))
        second = asyncio.create_task(budget.take_on_loop(MIB))
        await asyncio.sleep(0)
        assert budget.waiting == 2
        first.cancel()
        await asyncio.wait_for(second, 30)
        assert (budget.used, budget.waiting) == (LARGE // 2 + MIB, 0)

    asyncio.run(scene(ByteBudget(LARGE, 30)))


def test_who_waited_in_vain_is_told_and_holds_nothing() -> None:
    budget = ByteBudget(LARGE, 0.05)
    budget.take(LARGE // 2)
    with pytest.raises(
        OutOfMemory, match=f"A request of {LARGE} bytes does not fit beside .* It waited 0.05 s"
    ):
        budget.take(LARGE)
    assert (budget.used, budget.waiting) == (LARGE // 2, 0)


def test_a_growing_request_never_waits() -> None:
    budget = ByteBudget(LARGE, 30)
    budget.take_more(LARGE)
    with pytest.raises(OutOfMemory):
        budget.take_more(1)
    assert budget.used == LARGE


def test_on_an_event_loop_others_go_on_and_the_cancelled_hold_nothing() -> None:
    async def scene(budget: ByteBudget) -> None:
        budget.take(LARGE)
        first, second = (asyncio.create_task(budget.take_on_loop(LARGE // 2)) for _ in range(2))
        await asyncio.sleep(0)
        assert budget.waiting == 2
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        budget.give_back(LARGE)
        await asyncio.wait_for(second, 30)
        assert (budget.used, budget.waiting) == (LARGE // 2, 0)
        with pytest.raises(OutOfMemory):
            await ByteBudget(10).take_on_loop(11)

    asyncio.run(scene(ByteBudget(LARGE, 30)))


def test_cancelled_just_when_it_was_granted_gives_back() -> None:
    async def scene(budget: ByteBudget) -> None:
        budget.take(LARGE)
        task = asyncio.create_task(budget.take_on_loop(LARGE))
        await asyncio.sleep(0)
        budget.give_back(LARGE)  # granted; the task has not been told yet
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (budget.used, budget.waiting) == (0, 0)

    asyncio.run(scene(ByteBudget(LARGE, 30)))


def test_many_threads_never_hold_more_than_the_limit() -> None:
    budget, most = ByteBudget(10 * MIB, 30), [0]

    def ask(seed: int) -> None:
        for n in range(50):
            size = (seed * 7 + n * 13) % 5 * MIB + SHORT_BYTES + 1
            budget.take(size)
            most[0] = max(most[0], budget.used)
            budget.give_back(size)

    with ThreadPoolExecutor(8) as threads:
        for done in [threads.submit(ask, seed) for seed in range(8)]:
            done.result(60)
    assert 0 < most[0] <= 10 * MIB
    assert (budget.used, budget.waiting) == (0, 0)
