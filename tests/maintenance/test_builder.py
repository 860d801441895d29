"""The builder's process: what it tells on the way, and that it ends whatever its library does."""

import signal
import subprocess
import sys
import threading
from dataclasses import replace

import numpy as np
import pytest

from milvine.config import Settings
from milvine.engine.database import Database
from milvine.engine.opening import open_parts
from milvine.errors import BuildFailed, BuildStarved, DiskFull, StorageFailed
from milvine.events import (
    BuildGivenUp,
    BuildProgressed,
    BuildStalled,
    Events,
    IndexBuilt,
    JobFailed,
)
from milvine.maintenance import build, process
from milvine.maintenance.attempts import ATTEMPTS_MAX, BACKOFF_SECONDS, Attempts
from milvine.maintenance.build import build_segment, stall_seconds
from milvine.maintenance.process import PROGRAM, run_builder
from milvine.maintenance.worker import maintain
from milvine.memory_plan import BUILDER_BYTES
from milvine.types import IndexSetting, IndexType, MetricType
from tests.builders import INSTEAD, start_builders

SETTINGS = Settings(background=False, build_threads=1)
IVF = IndexSetting.of(IndexType.IVF_FLAT, {"nlist": 16})
ROWS = 4200
LOOPS = INSTEAD.format("while True: pass")


def rows(count=ROWS, seed=1):
    return np.random.default_rng(seed).random((count, 8), dtype=np.float32)


def filled(folder, seen, settings=SETTINGS):
    database = Database.open(folder, settings, Events(seen.append))
    database.create_collection("c", 8, 1024, MetricType.L2)
    database.collection("c").insert(rows(), np.arange(ROWS))
    return database


def of(kind, seen):
    return [event for event in seen if isinstance(event, kind)]


@pytest.mark.parametrize("in_subprocess", [True, False])
def test_progress_is_told_stage_by_stage(tmp_path, in_subprocess):
    seen = []
    settings = Settings(background=False, build_threads=1, build_in_subprocess=in_subprocess)
    with filled(tmp_path, seen, settings) as database:
        running = []
        database.stores.events.subscribe(lambda _: running.extend(database.stores.builds.values()))
        database.collection("c").create_index(IVF)
        (segment,) = database.collection("c").state.segments
        assert not database.stores.builds
    told = of(BuildProgressed, seen)
    assert list(dict.fromkeys(event.stage for event in told)) == [
        "starting",
        "reading",
        "training",
        "adding",
        "writing",
        "calibrating",
    ]
    assert {(e.segment_id, e.index_type, e.rows) for e in told} == {(segment, "IVF_FLAT", ROWS)}
    assert set(told) <= set(running)
    assert all(0 <= event.done <= ROWS and event.seconds >= 0 for event in told)


@pytest.mark.skipif(not hasattr(signal, "SIGXCPU"), reason="this system has no limit of CPU time")
def test_a_builder_that_loops_is_ended_and_rows_stay_exact(tmp_path, monkeypatch):
    start_builders(monkeypatch, LOOPS)
    monkeypatch.setattr(build, "stall_seconds", lambda *_: 0)
    seen = []
    with filled(tmp_path, seen) as database:
        with pytest.raises(BuildFailed, match="no further in 0 s of CPU time"):
            database.collection("c").create_index(IVF)
        (event,) = of(BuildStalled, seen)
        assert (event.index_type, event.stage) == ("IVF_FLAT", "training")
        assert not database.stores.builds
        assert database.collection("c").search(rows()[:3], 1, {"nprobe": 1}).ids[:, 0].tolist() == [
            0,
            1,
            2,
        ]
        monkeypatch.undo()
        database.collection("c").create_index(IVF)  # asked once more, it is tried once more
        assert of(IndexBuilt, seen)
    assert not list(tmp_path.glob("segments/*.tmp"))


def test_a_stage_may_take_as_long_as_its_work_needs():
    million = stall_seconds(1_000_000, 128, IndexSetting.of(IndexType.IVF_FLAT, {"nlist": 16384}))
    assert (
        million
        > 10 * 3600
        > stall_seconds(1_000_000, 128, IndexSetting.of(IndexType.HNSW, {"M": 16}))
    )
    odd = IndexSetting(IndexType.HNSW, '{"M":16,"note":"text","huge":1e999,"less":-5}')
    assert 120 < stall_seconds(4096, 8, IVF) < 180 < stall_seconds(4096, 8, odd) < 50_000


def test_what_libraries_print_does_no_harm(tmp_path, monkeypatch):
    noise = (
        "print('3');print('warning');print('[1]');"
        "print('x'*200000);print('y'*200000,file=sys.stderr);"
    )
    start_builders(monkeypatch, noise + PROGRAM)
    seen = []
    with filled(tmp_path, seen) as database:
        database.collection("c").create_index(IVF)
    assert of(IndexBuilt, seen)


@pytest.mark.parametrize(
    ("in_subprocess", "place", "error"),
    [
        (False, "build", RuntimeError("faiss said no")),
        (False, "build", MemoryError()),
        (False, "build", StorageFailed("no room for it")),
        (True, "run_builder", OSError(11, "no more processes")),
    ],
)
def test_whatever_a_build_fails_of_it_is_a_failed_build(
    tmp_path, monkeypatch, in_subprocess, place, error
):
    def fail(*_):
        raise error

    settings = Settings(background=False, build_threads=1, build_in_subprocess=in_subprocess)
    with filled(tmp_path, [], settings) as database:
        monkeypatch.setattr(build, place, fail)
        monkeypatch.setattr(process.Builders, "run", lambda self, *_, another=False: fail())
        with pytest.raises(
            BuildFailed, match=f"Cannot build the index of segment.*{type(error).__name__}"
        ) as failed:
            database.collection("c").create_index(IVF)
        assert (failed.value.code, failed.value.__cause__) == (21, error)
        assert not database.stores.builds
        assert database.collection("c").search(rows()[:1], 1, {"nprobe": 1}).ids.tolist() == [[0]]


def test_a_failed_build_waits_longer_each_time_and_is_given_up(tmp_path):
    seen, now = [], [0.0]
    with filled(tmp_path, seen) as database:
        database.flush()
        state = database.collection("c").state
        (segment,) = state.segments
        attempts = Attempts(Events(seen.append), lambda: now[0])
        for attempt in range(ATTEMPTS_MAX):
            assert attempts.due(state, (segment,)) and attempts.due(state, (segment, 1))
            attempts.failed(state, "build", (segment,), ValueError("cannot"))
            assert not attempts.due(state, (segment,))
            now[0] += BACKOFF_SECONDS * 2**attempt - 1
            assert not attempts.due(state, (segment,)) and attempts.waiting(state) == (
                attempt < ATTEMPTS_MAX - 1
            )
            now[0] += 1
        assert not attempts.due(state, (segment,))
        (event,) = of(BuildGivenUp, seen)
        assert (event.segment_id, event.attempts, event.reason) == (segment, ATTEMPTS_MAX, "cannot")
        assert len(of(JobFailed, seen)) == ATTEMPTS_MAX
        state.set_index(IVF)  # another setting is another job
        assert attempts.due(state, (segment,))
        attempts.failed(state, "merge", (1, 2), ValueError("gone"))
        assert not attempts.waiting(state), "segments that are gone are forgotten"


def test_a_full_disk_never_gives_a_build_up(tmp_path):
    seen, now = [], [0.0]
    with filled(tmp_path, seen) as database:
        database.flush()
        state = database.collection("c").state
        (segment,) = state.segments
        attempts = Attempts(Events(seen.append), lambda: now[0])
        for _ in range(3 * ATTEMPTS_MAX):
            assert attempts.due(state, (segment,))
            attempts.failed(state, "build", (segment,), BuildStarved("No space left on device"))
            assert not attempts.due(state, (segment,)) and attempts.waiting(state)
            now[0] += BACKOFF_SECONDS
        assert not of(BuildGivenUp, seen)


def test_a_builder_says_that_the_disk_is_full(tmp_path, monkeypatch):
    start_builders(monkeypatch, "sys.exit('DiskFull: Cannot write f: No space left on device')")
    with filled(tmp_path, []) as database, pytest.raises(DiskFull, match="No space left on device"):
        database.collection("c").create_index(IVF)


HNSW = IndexSetting.of(IndexType.HNSW, {"M": 16, "efConstruction": 40})


def test_a_build_that_cannot_fit_is_refused_before_it_begins(tmp_path, monkeypatch):
    monkeypatch.setattr(build, "memory_left", lambda: BUILDER_BYTES + (100 << 10))
    seen = []
    with filled(tmp_path, seen) as database:
        with pytest.raises(
            BuildFailed,
            match=r"HNSW over 4200 rows takes about \d+ MB of memory, and 0 MB are left",
        ):
            database.collection("c").create_index(HNSW)
        assert not of(BuildProgressed, seen) and not database.stores.builds
        assert database.collection("c").search(rows()[:3], 1, {"ef": 10}).ids[:, 0].tolist() == [
            0,
            1,
            2,
        ]
        state, now = database.collection("c").state, [0.0]
        attempts = Attempts(database.stores.events, lambda: now[0])
        assert maintain(database.stores, state, True, attempts) is False
        monkeypatch.setattr(build, "memory_left", lambda: 1 << 30)
        assert maintain(database.stores, state, True, attempts) is False, "not at once"
        now[0] = BACKOFF_SECONDS
        assert maintain(database.stores, state, True, attempts) is True
        assert len(of(JobFailed, seen)) == 1 and of(IndexBuilt, seen)


@pytest.mark.parametrize(
    ("left", "allowed"),
    [(0, 0), (1 << 30, (768 << 20) - BUILDER_BYTES), (BUILDER_BYTES + (2 << 20), 1)],
)
def test_a_builder_is_told_what_it_may_use(tmp_path, monkeypatch, left, allowed):
    told = []
    monkeypatch.setattr(build, "memory_left", lambda: left)

    def run(spec, report, stop):
        told.append(spec.memory)
        return run_builder(spec, report, stop)

    with filled(tmp_path, seen := []) as database:
        database.flush()
        state = database.stores.names["c"]
        state.set_index(IVF)
        (segment,) = state.segments
        assert build_segment(database.stores, state, segment, lambda: False, run)
    assert told == [allowed] and of(IndexBuilt, seen)


def test_one_segment_that_fails_does_not_keep_back_the_others(tmp_path, monkeypatch):
    from milvine.maintenance import worker

    seen = []
    with filled(tmp_path, seen) as database:
        database.flush()
        database.collection("c").insert(rows(seed=2), np.arange(ROWS, 2 * ROWS))
        database.flush()
        state = database.collection("c").state
        state.set_index(IVF)
        first, second = state.segments
        real = worker.build_segment

        def failing(stores, state, segment_id, stop):
            if segment_id == first:
                raise BuildFailed("cannot")
            return real(stores, state, segment_id, stop)

        monkeypatch.setattr(worker, "build_segment", failing)
        attempts = Attempts(database.stores.events)
        assert maintain(database.stores, state, True, attempts) is True
        assert maintain(database.stores, state, True, attempts) is False
        assert [event.segment_id for event in of(IndexBuilt, seen)] == [second]
        assert len(of(JobFailed, seen)) == 1
        with pytest.raises(BuildFailed):
            maintain(database.stores, state, True)


@pytest.mark.parametrize("caller", ["create_index", "maintain"])
def test_an_index_that_is_dropped_just_before_its_build_fails_nothing(
    tmp_path, monkeypatch, caller
):
    from milvine.engine import indexing
    from milvine.maintenance import worker

    seen, dropped = [], []
    with filled(tmp_path, seen) as database:
        database.flush()
        state = database.collection("c").state
        module, real = (indexing if caller == "create_index" else worker), worker.build_segment

        def build_segment(*args):
            dropped.append(state.set_index(IndexSetting()))
            return real(*args)

        monkeypatch.setattr(module, "build_segment", build_segment)
        if caller == "create_index":
            database.collection("c").create_index(IVF)
        else:
            state.set_index(IVF)
            assert maintain(database.stores, state, True, Attempts(database.stores.events)) is False
    assert dropped and not of(JobFailed, seen) and not of(IndexBuilt, seen)


def test_an_interrupted_build_is_resumed_though_somebody_was_at_work_at_first(
    tmp_path, monkeypatch
):
    """Which is more than is due without: a segment of this size waits to be merged."""
    with monkeypatch.context() as patch, filled(tmp_path, []) as database:
        start_builders(patch, "sys.exit('interrupted')")
        with pytest.raises(BuildFailed):
            database.collection("c").create_index(IVF)
    settings, built = replace(SETTINGS, background=True), threading.Event()
    parts = open_parts(tmp_path, settings, Events(), False)
    parts.stores.events.subscribe(lambda _: built.set(), IndexBuilt)
    lock = parts.stores.names["c"].maintaining = Busy()
    with Database(parts, settings) as database:
        assert lock.refused.wait(60) and not built.is_set()
        lock.release()
        database.flush()  # wakes who looks for work
        assert built.wait(60)


class Busy:
    """A lock that somebody else holds at first. `refused`: another wanted it meanwhile."""

    def __init__(self):
        self.refused, self._lock = threading.Event(), threading.Lock()
        self._lock.acquire()

    def acquire(self, blocking=True):
        mine = self._lock.acquire(blocking)
        if not mine:
            self.refused.set()
        return mine

    def release(self):
        self._lock.release()


def test_the_builder_ends_with_its_parent():
    code = "import milvine.maintenance.builder as b; b._die_with_parent()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE) as child:
        child.stdin.close()
        assert child.wait(30) == 1
