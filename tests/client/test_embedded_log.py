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

from milvine.events import Events, Flushed, JobFailed, LogMissing, Searched
from milvine.events.server import RequestFailed
from milvine.logs.embedded import speak_up
from milvine.server.configuration.kept_settings import KEPT_FILE
from milvus import Milvus

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
    assert not events
    events.subscribe(lambda event: None, (Flushed,), rare=True)
    assert not events
    events.subscribe(lambda event: None, (Searched,))
    assert events and Events(lambda event: None) and not Events()


@pytest.mark.parametrize("error", [LookupError, SystemExit])
def test_a_handler_that_fails_ends_no_thread_of_the_database(
    capsys: pytest.CaptureFixture[str], error: type[BaseException]
) -> None:
    class Fails(logging.Filter):
        def filter(self, record: logging.LogRecord) -> bool:
            raise error("of the program")

    failing, raised = Fails(), []

    def emit() -> None:
        try:
            speak_up(()).emit(JobFailed("flush", "no room"))
        except error as of_the_program:
            raised.append(of_the_program)

    logging.getLogger("milvine").addFilter(failing)
    try:
        thread = threading.Thread(target=emit)
        thread.start()
        thread.join()
        assert not raised and f"{error.__name__}: of the program" in capsys.readouterr().err
        emit()
        assert raised
    finally:
        logging.getLogger("milvine").removeFilter(failing)
