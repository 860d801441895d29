"""What a listener raises is no result of a call, and one that calls back from the thread that
stores is refused instead of waiting for itself.
"""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import numpy as np
import pytest

from milvine.config import Settings
from milvine.engine.database import Database
from milvine.errors import ReentrantCall
from milvine.events import Event, Events, GroupCommitted, Inserted, JobFailed
from milvine.logs.failures import log
from milvine.types import IndexSetting, IndexType, MetricType

QUIET = Settings(background=False)
ROWS = np.eye(4, dtype=np.float32)


class OfTheProgram(Exception):
    """Of a class that nothing of ours raises."""


def life(folder: Path, events: Events) -> None:
    """Calls that tell events on the caller's thread and on the writer's: all of them go well."""
    with Database.open(folder, QUIET, events) as database:
        database.create_collection("a", 4, 1024, MetricType.L2)
        assert database.collection("a").insert(ROWS, np.arange(4)).tolist() == [0, 1, 2, 3]
        database.collection("a").delete(np.array([0]))
        database.flush()
        database.collection("a").create_index(IndexSetting(IndexType.IVF_FLAT, '{"nlist":1}'))
        hits = database.collection("a").search(ROWS[1:2], 1, {"nprobe": 1})
        assert hits.ids.tolist() == [[1]] and database.collection("a").count() == 3
    with Database.open(folder, QUIET) as again:
        assert again.collection("a").count() == 3


@pytest.mark.parametrize("error", [OfTheProgram, OSError, LookupError, SystemExit])
def test_what_a_listener_raises_changes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], error: type[BaseException]
) -> None:
    told: list[Event] = []

    def fails(event: Event) -> None:
        raise error("of the program")

    life(tmp_path / "data", Events(fails, told.append))
    said = capsys.readouterr().err
    assert {GroupCommitted, Inserted} <= set(map(type, told))
    assert said.count(f"{error.__name__}: of the program") == len(told)  # each is said once
    assert "fails" in said and "what it was told of did not" in said


def test_as_quiet_as_logging(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(event: Event) -> None:
        raise OfTheProgram

    monkeypatch.setattr(logging, "raiseExceptions", False)
    life(tmp_path / "data", Events(fails))
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(logging, "raiseExceptions", True)
    monkeypatch.setattr("sys.stderr", None)
    Events(fails).emit(JobFailed("flush", "no room"))


@contextmanager
def handling(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    before = signal.signal(signal.SIGUSR1, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGUSR1, before)


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="no such signals here")
@pytest.mark.parametrize("error", [OfTheProgram, OSError, TimeoutError, SystemExit])
def test_an_interrupt_passes(error: type[BaseException]) -> None:
    def out_of_time(number: int, frame: FrameType | None) -> None:
        raise error("out of time")

    def listens(event: Event) -> None:
        signal.raise_signal(signal.SIGUSR1)

    with handling(out_of_time), pytest.raises(error, match="out of time"):
        Events(listens).emit(JobFailed("flush", "no room"))


def test_ctrl_c_passes_on_the_main_thread_alone(capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(event: Event) -> None:
        raise KeyboardInterrupt

    emit = Events(interrupted).emit
    with pytest.raises(KeyboardInterrupt):
        emit(JobFailed("flush", "no room"))
    thread = threading.Thread(target=emit, args=(JobFailed("flush", "no room"),))
    thread.start()
    thread.join()
    assert "KeyboardInterrupt" in capsys.readouterr().err


def test_a_log_that_fails(capsys: pytest.CaptureFixture[str]) -> None:
    class Fails(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise OfTheProgram(record.getMessage())

    logger = logging.Logger("failing")
    logger.addHandler(Fails())
    log(logger, logging.ERROR, "%s and %s", 1, 2)
    assert "OfTheProgram: 1 and 2" in capsys.readouterr().err


@pytest.mark.parametrize(
    "call",
    [
        lambda database: database.collection("a").insert(ROWS, np.arange(4)),
        lambda database: database.collection("a").delete(np.array([0])),
        lambda database: database.flush(),
        lambda database: database.create_collection("b", 4, 1024, MetricType.L2),
        lambda database: database.collection("a").drop(),
        lambda database: database.collection("a").create_index(IndexSetting()),
        lambda database: database.collection("a").compact(),
        lambda database: database.close(),
    ],
)
def test_a_listener_that_calls_back_is_refused(
    tmp_path: Path, call: Callable[[Database], object]
) -> None:
    raised: list[BaseException] = []

    def calls(event: Event) -> None:
        if isinstance(event, GroupCommitted) and not raised:
            try:
                call(opened[0])
            except BaseException as error:
                raised.append(error)

    opened: list[Database] = []
    with Database.open(tmp_path / "data", QUIET, Events(calls)) as database:
        opened.append(database)
        database.create_collection("a", 4, 1024, MetricType.L2)
        assert database.collection("a").insert(ROWS, np.arange(4)).tolist() == [0, 1, 2, 3]
        assert [type(error) for error in raised] == [ReentrantCall]
        assert isinstance(raised[0], RuntimeError) and "of your own" in str(raised[0])
        database.collection("a").insert(ROWS, np.arange(4, 8))
        assert database.collection("a").count() == 8


def test_a_listener_may_read(tmp_path: Path) -> None:
    counted: list[int] = []

    def counts(event: Event) -> None:
        if isinstance(event, GroupCommitted):
            counted.append(opened[0].collection("a").count())
            opened[0].collection("a").search(ROWS[:1], 1, {})

    opened: list[Database] = []
    with Database.open(tmp_path / "data", QUIET, Events(counts)) as database:
        opened.append(database)
        database.create_collection("a", 4, 1024, MetricType.L2)
        database.collection("a").insert(ROWS, np.arange(4))
        database.collection("a").insert(ROWS, np.arange(4, 8))
    assert counted == [0, 4]
