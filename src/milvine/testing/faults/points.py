"""A kill, or a refusal of the disk, at every point of the write path; a disk that is full from some
call on.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from milvine.errors import DiskFull, MilvineError, OperatorError
from milvine.offline.verify import verify
from milvine.storage import failpoints
from milvine.storage.log_place import log_folder
from milvine.testing.by_name import DatabaseByName
from milvine.testing.crash.journal import Action, History, Journal
from milvine.testing.crash.verify import Checker, Report, check
from milvine.testing.faults.process import ARMED, arm, in_process, kill
from milvine.testing.faults.script import SMALL, finish, leftovers, live, make, steps
from milvine.testing.mix import LOGS
from milvine.testing.place import data_of, make_place, remove_place, settings_in
from milvine.wal.log import log_files

_OPENING = "open."
Case = tuple[str, int]


def hits(work: Path) -> dict[str, int]:
    """How often the workload comes to each point."""

    folder = work / "count"

    def count() -> dict[str, int]:
        seen = dict.fromkeys(failpoints.POINTS, 0)

        def note(point: str) -> None:
            seen[point] += 1

        live(
            folder,
            opened=lambda: failpoints.armed.update({each: partial(note, each) for each in seen}),
        )
        return seen

    make_place(folder, LOGS[0])
    status, seen = in_process(count, work / "answer")
    assert status == 0, seen
    remove_place(folder)
    return {str(point): int(times) for point, times in seen.items()}


def cases(seen: dict[str, int], each: int, disk: bool) -> Iterator[Case]:
    """Up to `each` of the times that the workload comes to a point, spread evenly; all when 0."""
    for point, fallible in failpoints.POINTS.items():
        times = seen[point]
        if disk and not fallible:
            continue
        if point.startswith(_OPENING):
            times = 0 if disk else 1
        chosen = (
            range(times) if not each or times <= each else (times * n // each for n in range(each))
        )
        yield from ((point, 1 + number) for number in chosen)


def run(work: Path, what: str, each: int, logs: Sequence[str] = LOGS) -> tuple[int, Report]:
    """All cases of `kill`, `refuse` or `full`; how many there were.

    Folders that went wrong stay in `work`. The log is in the places `logs` in turn.
    """
    total = Report()
    if what == "full":
        chosen: list[Case] = [("disk", number) for number in range(1, 1 + sum(1 for _ in steps()))]
        chosen = chosen[:: max(1, len(chosen) // each)] if each else chosen
    else:
        chosen = list(cases(hits(work), each, what == "refuse"))
    one = {"kill": _killed, "refuse": _refused, "full": _full}[what]
    for number, (point, hit) in enumerate(chosen):
        folder = work / f"{point}-{hit}"
        make_place(folder, logs[number % len(logs)])
        report = one(folder, point, hit)
        report.notes = [f"{folder}: {note}" for note in report.notes]
        total.add(report)
        if report.ok:
            remove_place(folder)
    (work / "answer").unlink(missing_ok=True)
    return len(chosen), total


def _killed(folder: Path, point: str, hit: int) -> Report:
    if point.startswith(_OPENING):
        _torn(folder)
        status, result = in_process(lambda: _open(folder, point), folder.parent / "answer")
    else:
        status, result = in_process(
            lambda: _live_until(folder, point, hit), folder.parent / "answer"
        )
    if status != -9:
        return Report(
            failures=1, notes=[f"failures: it was to be killed and ended with {status}: {result}"]
        )
    return _checked(folder)


def _live_until(folder: Path, point: str, hit: int) -> None:
    live(folder, opened=lambda: arm(point, hit, kill))
    os._exit(ARMED)


def _open(folder: Path, point: str) -> None:
    arm(point, 1, kill)
    DatabaseByName.open(data_of(folder), settings_in(folder, SMALL))
    os._exit(ARMED)


def _torn(folder: Path) -> None:
    """A folder with something for the next opening to do: files in no commit, and a log that ends
    in half a record.
    """
    status, result = in_process(
        lambda: _live_until(folder, "flush.written", 4), folder.parent / "answer"
    )
    assert status == -9, result
    with open(max(log_files(log_folder(data_of(folder)))), "ab") as log:
        log.write(b"\xff" * 40)


def _refused(folder: Path, point: str, hit: int) -> Report:
    return _survived(folder, lambda: arm(point, hit, partial(_refuse, errno.EIO)), _persist)


def _full(folder: Path, _: str, number: int) -> Report:
    def fill() -> None:
        for point, fallible in failpoints.POINTS.items():
            if fallible and point != "file.remove":
                failpoints.armed[point] = partial(_refuse, errno.ENOSPC)

    def act(
        db: DatabaseByName, history: History, journal: Journal, action: Action, report: Report
    ) -> None:
        if action.number == number:
            fill()
        _persist(db, history, journal, action, report, failpoints.armed.clear)

    return _survived(folder, lambda: None, act)


def _refuse(number: int) -> None:
    raise OSError(number, os.strerror(number))


def _nothing() -> None:
    return


_Persist = Callable[[DatabaseByName, History, Journal, Action, Report], None]


def _survived(folder: Path, opened: Callable[[], None], persist: _Persist) -> Report:
    """A whole life with refusals in it, and a look from another process afterwards."""

    def work() -> dict[str, Any]:
        report = Report()
        live(
            folder,
            lambda db, history, journal, action: persist(db, history, journal, action, report),
            opened,
        )
        return asdict(report)

    status, result = in_process(work, folder.parent / "answer")
    if status:
        return Report(failures=1, notes=[f"failures: the process ended with {status}: {result}"])
    report = Report(**result)
    report.add(_checked(folder))
    return report


def _persist(
    db: DatabaseByName,
    history: History,
    journal: Journal,
    action: Action,
    report: Report,
    mend: Callable[[], None] = _nothing,
) -> None:
    """Make a call; when the disk refuses, everything must be readable at once, and the call must
    work the next time.
    """
    try:
        return make(db, history, journal, action)
    except MilvineError as error:
        if not isinstance(error, OperatorError):
            report.note(
                "failures", f"{action.kind} {action.number}: {type(error).__name__}: {error}"
            )
        if mend is not _nothing and not isinstance(error, DiskFull):
            report.note(
                "failures",
                f"{action.kind} {action.number} does not say that the disk is full: {error!r}",
            )
    checker = Checker(db, history, report)
    applied, made = checker.applied(action)
    repeated = action.kind == "insert" or not applied
    if not repeated:
        journal.settled(action, applied, made)
        history.end(action, applied, made)
    _compare_rows(checker, action)
    mend()
    if repeated:
        finish(db, history, journal, action)
    checker.compare()


def _compare_rows(checker: Checker, action: Action) -> None:
    """While the disk refuses: what was acknowledged is there. The call under way may have happened
    or not.
    """
    for name in checker.history.model.collections():
        if name != action.collection and checker.db.has_collection(name):
            checker._compare_collection(name)


def _checked(folder: Path) -> Report:
    """What a new process finds: everything acknowledged, nothing else, no file too many, nothing
    that verify names.
    """

    def work() -> dict[str, Any]:
        report = check(folder, SMALL)
        if report.ok:
            with DatabaseByName.open(data_of(folder), settings_in(folder, SMALL)) as db:
                report.note("failures", f"files are left over: {leftovers(db)}", len(leftovers(db)))
            for finding in verify(data_of(folder)).findings:
                report.note("failures", f"verify: {finding}")
        return asdict(report)

    status, result = in_process(work, folder.parent / "answer")
    if status:
        return Report(
            failures=1, notes=[f"failures: the checking process ended with {status}: {result}"]
        )
    return Report(**result)
