"""What a database in somebody's process says: warnings and errors, to the logger `milvine`, in the
words of a server's log.
"""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from milvine.errors import StorageFailed
from milvine.events import Events, Flushed, JobFailed, LogMissing, Searched
from milvine.events.server import RequestFailed
from milvine.logs.embedded import speak_up
from milvine.server.configuration.kept_settings import KEPT_FILE
from milvine.wal.log import Log
from milvus import Milvus, Status

PARAM = {"collection_name": "a", "dimension": 2}


def without_log(folder: Path) -> None:
    """Make a database that has lost its log."""
    milvus = Milvus(uri=folder.as_uri())
    milvus.create_collection(PARAM)
    milvus.close()
    for file in (folder / "wal").iterdir():
        file.unlink()


def test_a_warning_has_the_words_of_the_server(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    without_log(tmp_path)
    assert not caplog.records  # nothing is said of what goes well
    milvus = Milvus(uri=tmp_path.as_uri())
    milvus.insert("a", [[float("nan"), 1.0]], ids=[1])
    milvus.flush(["a"])
    milvus.close()
    told = [(each.name, each.levelname, each.getMessage()) for each in caplog.records]
    assert told == [
        ("milvine", "WARNING", f"log missing: folder={tmp_path / 'wal'}"),
        ("milvine", "WARNING", "nonfinite stored: collection=a rows=1"),
    ]
    assert isinstance(caplog.records[0].event, LogMissing)  # type: ignore[attr-defined]


def test_an_unforeseen_error_is_told_with_its_traceback(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    milvus = Milvus(uri=tmp_path.as_uri())

    def broken(self: object, name: str) -> bool:
        raise ZeroDivisionError("by nobody")

    monkeypatch.setattr("milvine.engine.database.Database.has_collection", broken)
    assert not milvus.has_collection("a")[0].OK()
    milvus.close()
    (record,) = caplog.records
    assert isinstance(record.event, RequestFailed) and "by nobody" in record.getMessage()  # type: ignore[attr-defined]


def test_what_the_kept_settings_are_told_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / KEPT_FILE).write_text("storage:\n  path: /elsewhere\n")
    Milvus(uri=tmp_path.as_uri()).close()
    assert [each.getMessage() for each in caplog.records] == [
        f"{tmp_path / KEPT_FILE} names another storage.path, which is ignored: a folder cannot say"
        " where it is"
    ]


def test_without_a_handler_it_is_on_standard_error_and_costs_nothing_before(
    tmp_path: Path,
) -> None:
    code = (
        "import sys\nfrom milvus import Milvus\nm = Milvus(uri=sys.argv[1])\n"
        "m.list_collections()\nprint('milvine.logs.formatting' in sys.modules)\n"
        "m.close()\n"
    )
    command = [sys.executable, "-c", code, tmp_path.as_uri()]
    quiet = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert (quiet.stdout, quiet.stderr) == ("False\n", "")
    without_log(tmp_path)
    told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    assert (told.stdout, told.stderr) == ("True\n", f"log missing: folder={tmp_path / 'wal'}\n")


def test_calls_make_up_nothing_for_it() -> None:
    events = speak_up(())
    assert not events.busy
    events.subscribe(lambda event: None, (Flushed,), rare=True)
    assert not events.busy
    events.subscribe(lambda event: None, (Searched,))
    assert events.busy and Events(lambda event: None).busy and not Events().busy


@pytest.mark.parametrize("error", [LookupError, SystemExit])
def test_a_handler_that_fails_ends_no_thread_of_the_database(
    capsys: pytest.CaptureFixture[str], error: type[BaseException]
) -> None:
    class Fails(logging.Filter):
        def filter(self, record: logging.LogRecord) -> bool:
            raise error("of the program")

    failing = Fails()
    event = JobFailed("flush", "no room")
    logging.getLogger("milvine").addFilter(failing)
    try:
        thread = threading.Thread(target=speak_up(()).emit, args=(event,))
        thread.start()
        thread.join()
        assert f"{error.__name__}: of the program" in capsys.readouterr().err
        speak_up(("a notice",)).emit(event)
        assert capsys.readouterr().err.count(f"{error.__name__}: of the program") == 2
    finally:
        logging.getLogger("milvine").removeFilter(failing)


@pytest.mark.parametrize("error", [LookupError, OSError, SystemExit])
def test_a_handler_that_fails_is_no_result_of_a_call(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], error: type[BaseException]
) -> None:
    """Opening warns of a lost log, a flush of rows that no search finds, and both went well."""

    class Fails(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            raise error(record.getMessage())

    without_log(tmp_path)
    failing = Fails()
    for name in ("milvine", "milvus"):
        logging.getLogger(name).addHandler(failing)
    try:
        milvus = Milvus(uri=tmp_path.as_uri())
        assert milvus.insert("a", [[float("nan"), 1.0]], ids=[1])[0].OK()
        assert milvus.flush(["a"]).OK()
        status, none = milvus.list_collections(timeout=0)
        assert not status.OK() and none == []
        milvus.close()
    finally:
        for name in ("milvine", "milvus"):
            logging.getLogger(name).removeHandler(failing)
    said = capsys.readouterr().err
    assert all(each in said for each in ("log missing", "nonfinite stored", "ShowCollections"))


def test_a_handler_that_calls_the_database_on_the_thread_that_stores_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Status] = []

    class Calls(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            told.append(milvus.insert("a", [[1.0, 2.0]], ids=[7])[0])

    def refused(self: Log, records: object) -> None:
        raise StorageFailed("no more today")

    milvus, calls = Milvus(uri=tmp_path.as_uri()), Calls()
    milvus.create_collection(PARAM)
    logging.getLogger("milvine").addHandler(calls)
    try:
        with monkeypatch.context() as patched:
            patched.setattr(Log, "append", refused)
            assert not milvus.insert("a", [[1.0, 2.0]], ids=[1])[0].OK()
    finally:
        logging.getLogger("milvine").removeHandler(calls)
    assert [(status.code, "of your own" in status.message) for status in told] == [(1, True)]
    assert milvus.insert("a", [[1.0, 2.0]], ids=[1])[1] == [1]
    assert milvus.count_entities("a")[1] == 1
    milvus.close()
