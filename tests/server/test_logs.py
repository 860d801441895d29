"""Events as log lines: words and JSON, levels, slow calls, files that roll; and the memory listener
on every event.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from milvine.config import Settings
from milvine.engine.database import Database
from milvine.events import (
    Event,
    Events,
    FilesRemoved,
    Flushed,
    IndexSetAside,
    Inserted,
    JobFailed,
    Searched,
    TornTailCut,
)
from milvine.events.server import Answered, RequestFailed, Stopping
from milvine.logs.formatting import line
from milvine.logs.listener import log_events
from milvine.logs.places import LogFolderFailed, set_up_logging
from milvine.memory_plan import UNBOUNDED
from milvine.server.memory import bound_free_memory, trim_after_flush
from milvine.types import MetricType, Scanned, WatchedSearch

SCANS = (
    (Scanned("IVF_FLAT", (7,), 5000, 12), 0.001, 0.251),
    (Scanned("tail", (), 30, 0), 0.251, 0.261),
)
WATCHED = WatchedSearch(MetricType.L2, {"nprobe": 16}, 0.001, 0.26, 0.002, SCANS, 1)
SEARCHED = Searched("c", 2, 10, 0.263, WATCHED)


@pytest.fixture
def root() -> Iterator[logging.Logger]:
    """A logger of its own to set up, whose files are closed afterwards."""
    logger = logging.getLogger("test.root")
    yield logger
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()


def settings(folder: Path, **changes: object) -> Settings:
    return replace(Settings(log_path=str(folder), timezone="UTC+8"), **changes)  # type: ignore[arg-type]


def emitted(path: Path) -> list[str]:
    return (path / "milvine.log").read_text().splitlines()


def test_lines() -> None:
    assert line(TornTailCut("1.log", 40, 7)) == "torn tail cut: file=1.log offset=40 bytes_cut=7"
    assert line(Flushed(1, 2, 3, 4, 0.123456)).startswith(
        "flushed: collection_id=1 rows=2 segments=3 lsn=4 seconds=0.123"
    )
    assert line(Stopping()) == "stopping"
    aside = IndexSetAside(1, 2, "index-3.mlv", "index-3.mlv is damaged at byte 0: ...")
    assert line(aside).startswith(
        "index set aside: collection_id=1 segment_id=2 file=index-3.mlv reason=index-3"
    )


def test_a_line_of_a_search_holds_its_plan() -> None:
    assert (
        line(SEARCHED)
        == "searched: collection=c nq=2 topk=10 seconds=0.263 metric=L2 params={nprobe:16}"
        " plan=0.001000 scan=0.260000 reduce=0.002000 rows=5030 masked=12 skipped=1"
        " scans=[IVF_FLAT segments 7 rows 5000 masked 12 0.250000s; tail rows 30 masked 0"
        " 0.010000s]"
    )


def test_many_scans_are_cut_short() -> None:
    many = replace(SEARCHED, watched=replace(WATCHED, scans=SCANS * 50))
    assert line(many).count("IVF_FLAT") == 16 and line(many).endswith("; and 84 more]")


def test_a_line_is_one_line() -> None:
    assert "\n" not in line(JobFailed("merge", "first\nsecond"))
    assert line(RequestFailed("Insert", "r", "a\nb")).endswith("traceback=a\nb")


def test_levels(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("milvine.test")
    with caplog.at_level(logging.INFO, logger.name):
        events = Events(log_events(logger))
        for event in (
            JobFailed("merge", "disk full"),
            TornTailCut("1.log", 0, 1),
            Stopping(),
            FilesRemoved(("a",)),
        ):
            events.emit(event)
    assert [record.levelname for record in caplog.records] == ["ERROR", "WARNING", "INFO"]
    assert caplog.messages[0] == "job failed: job=merge reason=disk full"


def test_slow_calls_are_warnings(caplog: pytest.LogCaptureFixture) -> None:
    listen = log_events(logging.getLogger("milvine.test"), slow_seconds=0.2)
    calls: tuple[Event, ...] = (
        SEARCHED,
        Answered("Search", 0, 100, 0.3),  # told by its search
        Answered("Search", 0, 100, 0.1),
        Inserted("c", 1, 2, 5.0),  # told by its call
        Answered("Insert", 0, 100, 0.5),
        Answered("CreateIndex", 0, 100, 60.0),  # takes its time
        Answered("Search", 0, 100, 0.4),
        replace(SEARCHED, seconds=0.1),
    )
    with caplog.at_level(logging.INFO, "milvine.test"):
        for event in calls:
            listen(event)
    told = [
        (record.levelname, record.getMessage().split(" seconds")[0]) for record in caplog.records
    ]
    assert told == [
        ("WARNING", "slow search: collection=c nq=2 topk=10"),
        ("WARNING", "slow call: rpc=Insert code=0 size=100"),
        ("WARNING", "slow call: rpc=Search code=0 size=100"),
    ]


def test_a_file_of_text(
    tmp_path: Path, root: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    listen = set_up_logging(settings(tmp_path / "logs", log_level="info"), root)
    listen(Stopping())
    listen(TornTailCut("1.log", 0, 1))
    listen(Answered("Search", 0, 100, 0.1))
    first, second = emitted(tmp_path / "logs")
    assert re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3}\+08:00 INFO stopping", first)
    assert second.endswith("WARNING torn tail cut: file=1.log offset=0 bytes_cut=1")
    errors = capsys.readouterr()
    assert errors.err.splitlines() == [second] and errors.out == ""


def test_a_file_of_json(tmp_path: Path, root: logging.Logger) -> None:
    changes = {"log_format": "json", "slow_query_seconds": 0.2, "timezone": "UTC-3:30"}
    listen = set_up_logging(settings(tmp_path, **changes), root)
    listen(SEARCHED)
    root.getChild("library").error("port %d is odd", 7)
    search, foreign = map(json.loads, emitted(tmp_path))
    assert search["time"].endswith("-03:30") and search["time"][10] == "T"
    assert (search["level"], search["event"], search["collection"]) == (
        "WARNING",
        "slow_search",
        "c",
    )
    assert search["steps"]["scans"][0] == {
        "kind": "IVF_FLAT", "segments": [7], "rows": 5000, "masked": 12, "began": 0.001,
        "seconds": 0.25,
    }  # fmt: skip
    assert search["steps"]["params"] == {"nprobe": 16}
    assert (foreign["level"], foreign["message"]) == ("ERROR", "port 7 is odd")


@pytest.mark.parametrize(("trace", "lines"), [(True, 2), (False, 1)])
def test_trace_tells_every_call(
    tmp_path: Path, root: logging.Logger, trace: bool, lines: int
) -> None:
    listen = set_up_logging(settings(tmp_path, log_level="debug", log_trace_enable=trace), root)
    listen(Answered("Search", 0, 100, 0.1))
    listen(FilesRemoved(("a",)))
    assert len(emitted(tmp_path)) == lines


def test_without_a_folder_everything_goes_to_standard_error(
    root: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    set_up_logging(Settings(log_level="info"), root)(Stopping())
    assert capsys.readouterr().err.endswith("INFO stopping\n")
    set_up_logging(Settings(log_level="info", log_to_stdout=True), root)(Stopping())
    said = capsys.readouterr()
    assert said.out.endswith("INFO stopping\n") and said.err == ""


def test_files_roll(tmp_path: Path, root: logging.Logger) -> None:
    listen = set_up_logging(settings(tmp_path, log_max_file_size=50, log_rotate_num=2), root)
    for number in range(6):
        listen(TornTailCut(f"{number}.log", 0, 1))
    rolled = sorted(tmp_path.glob("milvine-*.log"), key=lambda path: path.stat().st_mtime_ns)
    held = [
        re.findall(r"file=(\d)", path.read_text()) for path in (*rolled, tmp_path / "milvine.log")
    ]
    assert held == [["3"], ["4"], ["5"]]


def test_all_files_are_kept_with_0(tmp_path: Path, root: logging.Logger) -> None:
    listen = set_up_logging(settings(tmp_path, log_max_file_size=50, log_rotate_num=0), root)
    for number in range(6):
        listen(TornTailCut(f"{number}.log", 0, 1))
    assert len(list(tmp_path.glob("*.log"))) == 6


def test_a_folder_that_cannot_be_made(tmp_path: Path, root: logging.Logger) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LogFolderFailed, match=r"Cannot write logs to .*file/logs: .*Set logs.path"):
        set_up_logging(settings(tmp_path / "file" / "logs"), root)


def test_a_slow_search_of_a_database_is_logged_without_its_vectors(
    tmp_path: Path, root: logging.Logger
) -> None:
    listen = set_up_logging(
        settings(tmp_path / "logs", slow_query_seconds=1e-9, log_format="json"), root
    )
    rows = np.full((5, 4), 0.123456, np.float32)
    with Database.open(tmp_path / "db", Settings(background=False), Events(listen)) as database:
        database.create_collection("c", 4, 1024, MetricType.L2)
        database.collection("c").insert(rows, None)
        database.collection("c").search(rows[:1], 3, {"nprobe": 2, "vector": [0.123456]}, ())
    text = (tmp_path / "logs" / "milvine.log").read_text()
    (slow,) = [
        found for found in map(json.loads, text.splitlines()) if found["event"] == "slow_search"
    ]
    assert [scan["kind"] for scan in slow["steps"]["scans"]] == ["tail"] and "0.1234" not in text


def test_memory_is_bounded_wherever_this_runs() -> None:
    bound_free_memory(UNBOUNDED)
    listen = trim_after_flush()
    listen(Flushed(1, 2, 3, 4, 0.1))
    listen(Stopping())
