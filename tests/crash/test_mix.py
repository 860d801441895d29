"""What the harnesses mix: rows, shapes, places of the log, interrupts. A seed says all of it."""

from __future__ import annotations

import argparse
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from random import Random

import numpy as np
import pytest

from milvine.config import Settings
from milvine.errors import CollectionExists
from milvine.testing.by_name import DatabaseByName
from milvine.testing.crash.interrupting import Interrupter
from milvine.testing.crash.journal import Action, History, Journal, perform, tried_in
from milvine.testing.crash.verify import Checker, Report
from milvine.testing.mix import EVERYTHING, Mix, add_options, from_options
from milvine.testing.place import data_of, make_place, readdress, settings_in
from milvine.testing.sample_rows import CONTENTS, findable, same_rows, vectors_of
from milvine.types import MetricType

QUIET = Settings(background=False)


@pytest.mark.parametrize("metric", [MetricType.L2, MetricType.IP, MetricType.HAMMING])
@pytest.mark.parametrize("content", CONTENTS)
def test_rows_follow_from_their_seed(metric: MetricType, content: str) -> None:
    rows = vectors_of(7, 40, 16, metric, content)
    assert rows.shape == (40, 16) and rows.dtype == metric.dtype
    assert same_rows(rows, vectors_of(7, 40, 16, metric, content)).all()
    distinct = {"plain": 40, "copies": 1, "zeros": 1, "nonfinite": 40}[content]
    assert len({row.tobytes() for row in rows}) == distinct
    assert findable(rows).all() == (content != "nonfinite" or metric.is_binary)


def test_rows_are_compared_by_their_bytes() -> None:
    rows = np.array([[np.nan, 1], [2, 3]], np.float32)
    assert same_rows(rows, rows.copy()).tolist() == [True, True]
    assert same_rows(rows, np.array([[np.nan, 2], [2, 3]], np.float32)).tolist() == [False, True]
    assert same_rows(rows[:0], rows[:0]).tolist() == []


def test_options_pin_what_is_mixed() -> None:
    parser = argparse.ArgumentParser()
    add_options(parser)
    assert from_options(parser.parse_args([])) == EVERYTHING
    words = "--dimension 9 --rows zeros plain --log elsewhere --no-forks --no-signals"
    pinned = from_options(parser.parse_args(words.split()))
    assert pinned == Mix((9,), ("zeros", "plain"), ("elsewhere",), forks=False, signals=False)
    assert Mix.from_json(pinned.to_json()) == pinned
    assert {pinned.shape(Random(n)) for n in range(9)} == {(9, MetricType.L2), (9, MetricType.IP)}
    assert str(pinned) == "dimensions 9; rows zeros plain; log elsewhere"
    assert {metric.is_binary for _, metric in (EVERYTHING.shape(Random(n)) for n in range(50))} == {
        True,
        False,
    }


def test_a_copied_disk_is_one_that_was_always_there(tmp_path: Path) -> None:
    before, now = tmp_path / "before", tmp_path / "now"
    make_place(before, "elsewhere")
    with DatabaseByName.open(data_of(before), settings_in(before, QUIET)) as db:
        db.create_collection("c", 2, 1, MetricType.L2)
        db.collection("c").insert(np.ones((3, 2), np.float32), np.arange(3))
    before.rename(now)
    readdress(now, before, now)
    with DatabaseByName.open(data_of(now), settings_in(now, QUIET)) as db:
        assert db.collection("c").count() == 3
    assert not (data_of(now) / "wal").exists()


@pytest.mark.parametrize("content", CONTENTS)
def test_an_insert_with_generated_ids_is_known_again(tmp_path: Path, content: str) -> None:
    """Whatever else its rows are, and without it being sent again: the folder stays as it was."""
    with DatabaseByName.open(tmp_path / "db", QUIET) as db:
        db.create_collection("c", 2, 1, MetricType.L2)
        checker = Checker(db, History(), Report())
        one, other = (Action(n, 0, "insert", "c", rows=9, content=content) for n in (3, 6))
        assert checker.applied(one) == (False, None)
        made = perform(db, other)
        assert made is not None
        assert checker.applied(one) == (False, None)
        applied, ids = checker.applied(other)
        assert applied and np.array_equal(ids, made) and checker.report.ok
        db.collection("c").delete(made[4:])
        assert checker.applied(other)[0] and checker.report.half == 1
        assert db.collection("c").count() == 4


def test_a_journal_tells_what_was_tried(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    made = Action(1, 0, "create_collection", "c", setting=(16, 1, int(MetricType.HAMMING)))
    zeros = Action(2, 0, "insert", "c", rows=3, ids=((5, 3),), content="zeros")
    for action in (made, zeros):
        journal.do(action)
        journal.interrupted(action)
        journal.done(action, None)
    journal.close()
    text = (tmp_path / "journal").read_bytes()
    assert tried_in(text) == {
        "calls interrupted": 2,
        "collections made": 1,
        "inserts of zeros rows": 1,
    }
    history = History.read(text)
    assert history.acknowledged == 2
    assert history.model.get("c", np.array([6]))[1].tolist() == [[0, 0]]


@pytest.fixture
def interrupter() -> Iterator[Interrupter]:
    if not hasattr(signal, "setitimer"):
        pytest.skip("no timers that send signals")
    before = signal.getsignal(signal.SIGALRM)
    yield Interrupter(1, share=1.0)
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def test_an_interrupted_call_is_made_again(interrupter: Interrupter) -> None:
    """Whether it happened or not: here it always has, when it is made again."""
    told, again, action = list[Action](), list[bool](), Action(1, 0, "create_collection", "c")

    def perform() -> None:
        if told:
            again.append(True)
            raise CollectionExists()
        while True:  # until a signal comes
            os.getpid()

    assert interrupter.call(action, perform, told.append) is None
    assert told == [action] and again == [True]
    assert signal.getitimer(signal.ITIMER_REAL)[0] == 0


def test_a_call_that_ends_before_its_interrupt_leaves_no_timer(interrupter: Interrupter) -> None:
    late, left = Interrupter(1, share=1.0, seconds=(1e6,)), list[float]()
    late.call(
        Action(1, 0, "flush"),
        lambda: left.append(signal.getitimer(signal.ITIMER_REAL)[0]),
        lambda action: None,
    )
    assert left[0] > 0
    assert signal.getitimer(signal.ITIMER_REAL)[0] == 0
