"""Where memory is short one index is built at a time in a process; who waits can be stopped and
holds up nobody.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from milvine.config import Settings
from milvine.engine.database import Database
from milvine.errors import BuildFailed
from milvine.events import BuildProgressed, Event, Events, IndexBuilt, Merged
from milvine.limits import MIB
from milvine.maintenance import build, process
from milvine.maintenance.attempts import Attempts
from milvine.maintenance.build import BuildStopped, build_index
from milvine.maintenance.build_admission import TURNS, Turns
from milvine.maintenance.worker import maintain
from milvine.memory_plan import builder_bytes
from milvine.types import IndexSetting, IndexType, MetricType

PATIENCE = 60
IVF = IndexSetting.of(IndexType.IVF_FLAT, {"nlist": 4})
ROWS = 100
SHORT, PLENTY = 1024 * MIB, 1 << 40


def never() -> bool:
    return False


def short() -> int:
    return SHORT


class Asker:
    """A thread that asks for a turn, and holds it until it is told to end. `refused`: it has asked
    and has to wait.
    """

    def __init__(
        self, turns: Turns, left: Callable[[], int], stop: Callable[[], bool] = never, need: int = 0
    ) -> None:
        self.refused, self.inside = threading.Event(), threading.Event()
        self.over = threading.Event()
        self.granted: bool | None = None
        self._turns, self._left, self._stop, self._need = turns, left, stop, need
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        def stop() -> bool:
            self.refused.set()
            return self._stop()

        with self._turns.turn(self._need, self._left, stop) as mine:
            self.granted = mine
            self.inside.set()
            if mine:
                assert self.over.wait(PATIENCE)

    def end(self) -> None:
        self.over.set()
        self.thread.join(PATIENCE)
        assert not self.thread.is_alive()


def test_the_next_begins_when_the_one_before_it_has_ended() -> None:
    turns = Turns()
    first = Asker(turns, short)
    assert first.inside.wait(PATIENCE)
    second = Asker(turns, short)
    assert second.refused.wait(PATIENCE)
    assert not second.inside.is_set() and not turns.free(0, short)
    first.end()
    assert second.inside.wait(PATIENCE)
    second.end()
    assert turns.free(0, short)


@pytest.mark.parametrize("left", [0, PLENTY])
def test_with_much_memory_or_where_nobody_knows_none_waits(left: int) -> None:
    turns = Turns()
    both = [Asker(turns, lambda: left), Asker(turns, lambda: left)]
    assert all(each.inside.wait(PATIENCE) for each in both)
    for each in both:
        each.end()


def test_what_those_that_build_take_is_not_left_for_others() -> None:
    """They may not have taken it yet."""
    turns, left = Turns(), 8192 * MIB
    with turns.turn(3000 * MIB, lambda: left, never) as mine:
        assert mine
        assert turns.free(1000 * MIB, lambda: left)
        assert not turns.free(2000 * MIB, lambda: left)


def test_who_waits_goes_on_when_memory_has_come() -> None:
    turns, left = Turns(), SHORT
    first = Asker(turns, lambda: left)
    assert first.inside.wait(PATIENCE)
    second = Asker(turns, lambda: left)
    assert second.refused.wait(PATIENCE)
    left = PLENTY
    assert second.inside.wait(PATIENCE)
    for each in (first, second):
        each.end()


def test_who_comes_first_is_served_first() -> None:
    turns, stop = Turns(), threading.Event()
    with turns.turn(0, short, never):
        second = Asker(turns, short, stop.is_set)
        assert second.refused.wait(PATIENCE)
        third = Asker(turns, lambda: PLENTY)  # there is room for it, but others have waited longer
        assert third.refused.wait(PATIENCE)
        assert not second.inside.is_set() and not third.inside.is_set()
    assert second.inside.wait(PATIENCE) and third.inside.wait(PATIENCE)
    for each in (second, third):
        each.end()


def test_who_is_stopped_has_no_turn_and_leaves_none_behind() -> None:
    turns, stop = Turns(), threading.Event()
    with turns.turn(0, short, never):
        second = Asker(turns, short, stop.is_set)
        assert second.refused.wait(PATIENCE)
        third = Asker(turns, short)
        assert third.refused.wait(PATIENCE)
        stop.set()
        second.end()
        third.refused.clear()
        assert second.granted is False
        assert third.refused.wait(PATIENCE) and not third.inside.is_set()
    assert third.inside.wait(PATIENCE)
    third.end()


def test_a_failure_hands_the_turn_on() -> None:
    turns = Turns()
    with pytest.raises(BuildFailed), turns.turn(0, short, never):
        second = Asker(turns, short)
        assert second.refused.wait(PATIENCE)
        raise BuildFailed("as it happens")
    assert second.inside.wait(PATIENCE)
    second.end()


# The same with databases


class Seen(list[Event]):
    """Events, and a way to wait for the first build that waits for its turn."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting = threading.Event()

    def take(self, event: Event) -> None:
        self.append(event)
        if isinstance(event, BuildProgressed) and event.stage == "waiting":
            self.waiting.set()

    def of(self, kind: type[Event]) -> list[Any]:
        return [event for event in self if isinstance(event, kind)]


def rows(count: int = ROWS) -> Any:
    return np.random.default_rng(1).random((count, 8), dtype=np.float32)


@contextmanager
def filled(
    folder: Path, seen: Seen, in_subprocess: bool = False, names: tuple[str, ...] = ("c",)
) -> Iterator[Database]:
    settings = Settings(
        background=False,
        build_threads=1,
        build_in_subprocess=in_subprocess,
        index_rows_min=ROWS // 2,
    )
    with Database.open(folder, settings, Events(seen.take)) as database:
        for name in names:
            database.create_collection(name, 8, 1024, MetricType.L2)
            database.collection(name).insert(rows(), np.arange(ROWS))
            database.flush([name])
        yield database


def in_threads(*steps: Callable[[], object]) -> list[threading.Thread]:
    threads = [threading.Thread(target=step, daemon=True) for step in steps]
    for thread in threads:
        thread.start()
    return threads


def ended(threads: list[threading.Thread]) -> bool:
    for thread in threads:
        thread.join(PATIENCE)
    return not any(thread.is_alive() for thread in threads)


def instead_of_builds(monkeypatch: pytest.MonkeyPatch, step: Callable[[Any], None]) -> None:
    """Every build calls `step` with its specification before it begins, in this process."""
    run, in_process = process.Builders.run, build.build

    def running(self: process.Builders, spec: Any, *rest: Any, **more: Any) -> bool:
        step(spec)
        return run(self, spec, *rest, **more)

    def building(spec: Any, *rest: Any) -> None:
        step(spec)
        in_process(spec, *rest)

    monkeypatch.setattr(process.Builders, "run", running)
    monkeypatch.setattr(build, "build", building)


@pytest.mark.parametrize("in_subprocess", [True, False])
def test_short_of_memory_two_builds_never_overlap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_subprocess: bool
) -> None:
    """And the second is told what is left when its turn has come."""
    seen, specs, left, overlapped = Seen(), [], SHORT, []
    monkeypatch.setattr(build, "memory_left", lambda: left)

    def step(spec: Any) -> None:
        nonlocal left
        specs.append(spec)
        assert seen.waiting.wait(PATIENCE)  # the other wants to build by now
        others = [
            now.stage for key, now in database.stores.builds.items() if key != spec.segment_id
        ]
        overlapped.extend(stage for stage in others if stage != "waiting")
        left = SHORT // 2

    instead_of_builds(monkeypatch, step)
    with filled(tmp_path, seen, in_subprocess, ("c", "d")) as database:
        assert ended(
            in_threads(
                *(lambda n=name: database.collection(n).create_index(IVF) for name in ("c", "d"))
            )
        )
        assert len(seen.of(IndexBuilt)) == 2 and not database.stores.builds
    assert not overlapped
    assert [spec.memory for spec in specs] == [builder_bytes(some) for some in (SHORT, SHORT // 2)]


@pytest.mark.parametrize("in_subprocess", [True, False])
def test_with_much_memory_two_builds_overlap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_subprocess: bool
) -> None:
    seen, both = Seen(), threading.Barrier(2, timeout=PATIENCE)
    monkeypatch.setattr(build, "memory_left", lambda: PLENTY)
    instead_of_builds(monkeypatch, lambda _: both.wait() and None)
    with filled(tmp_path, seen, in_subprocess, ("c", "d")) as database:
        assert ended(
            in_threads(
                *(lambda n=name: database.collection(n).create_index(IVF) for name in ("c", "d"))
            )
        )
        assert len(seen.of(IndexBuilt)) == 2 and not both.broken
    assert not seen.waiting.is_set()


def test_a_build_that_fails_hands_the_turn_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, failed, first = Seen(), [], []
    monkeypatch.setattr(build, "memory_left", short)

    def step(spec: Any) -> None:
        assert seen.waiting.wait(PATIENCE)
        if not first:
            first.append(spec)
            raise BuildFailed("as it happens")

    def create(database: Database, name: str) -> None:
        try:
            database.collection(name).create_index(IVF)
        except BuildFailed as error:
            failed.append(str(error))

    instead_of_builds(monkeypatch, step)
    with filled(tmp_path, seen, names=("c", "d")) as database:
        assert ended(in_threads(lambda: create(database, "c"), lambda: create(database, "d")))
    assert failed == ["as it happens"] and len(seen.of(IndexBuilt)) == 1


@pytest.mark.parametrize("end", ["close", "drop_index", "drop"])
def test_who_waits_can_be_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    """While somebody else in this process goes on building."""
    seen = Seen()
    monkeypatch.setattr(build, "memory_left", short)
    with filled(tmp_path, seen) as database:

        def create() -> None:
            try:
                database.collection("c").create_index(IVF)
            except Exception as error:
                assert end == "drop", error

        with TURNS.turn(0, short, never):
            threads = in_threads(create)
            assert seen.waiting.wait(PATIENCE)
            assert database.collection("c").count() == ROWS
            database.close() if end == "close" else getattr(database.collection("c"), end)()
            assert ended(threads)
        assert not database.stores.builds and not seen.of(IndexBuilt)


def test_a_build_that_is_stopped_before_its_turn_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = Seen()
    monkeypatch.setattr(build, "memory_left", short)
    with filled(tmp_path, seen) as database, TURNS.turn(0, short, never):
        state = database.collection("c").state
        (segment,) = state.segments.values()
        with pytest.raises(BuildStopped):
            build_index(
                database.stores,
                replace(state.collection, index=IVF),
                segment.segment.record,
                seen.waiting.is_set,
            )


def test_the_thread_for_all_collections_does_not_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It leaves builds, and merges that end with one, for later, and does what else there
    is to do.
    """
    seen = Seen()
    monkeypatch.setattr(build, "memory_left", lambda: PLENTY)
    with filled(tmp_path, seen) as database:
        stores, state = database.stores, database.collection("c").state
        for _ in range(3):
            database.collection("c").create_index(IVF)
            database.collection("c").insert(rows(), np.arange(ROWS))
            database.flush()
        database.collection("c").create_index(IVF)
        attempts = Attempts(stores.events)
        monkeypatch.setattr(build, "memory_left", short)
        files = set(tmp_path.glob("segments/*"))
        with TURNS.turn(0, short, never):
            assert maintain(stores, state, True, attempts) is None
            assert set(tmp_path.glob("segments/*")) == files
            database.collection("c").drop_index()
            assert maintain(stores, state, True, attempts) is True  # the merge alone
            database.collection("c").state.set_index(IVF)
            assert maintain(stores, state, True, attempts) is None
        assert len(seen.of(Merged)) == 1 and not seen.waiting.is_set()
        assert maintain(stores, state, True, attempts) is True
        assert maintain(stores, state, True, attempts) is False
