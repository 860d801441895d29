"""Cmd: every word, and the settings at run time."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from milvine import __version__
from milvine.config import ALL, Settings
from milvine.engine.database import Database
from milvine.server import memory
from milvine.server.operations import Operations
from tests.server.calling import Caller


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with Database.open(
        tmp_path / "data", Settings(background=False, auto_flush_interval=2.5)
    ) as database:
        yield database


@pytest.fixture
def caller(database: Database) -> Caller:
    return Caller(Operations(database, database.settings))


def told(caller: Caller, command: str) -> str:
    return str(caller.ok("Cmd", cmd=command).string_reply)


@pytest.mark.parametrize(
    ("command", "answer"),
    [("version", "1.1.1"), ("status", "OK"), ("mode", "CPU"), ("build_commit_id", "Unknown")]
    + [(other, "Unknown command") for other in ("", " ", "Version", "nonsense", "get_confi",
        "requests ", "Status")],
)  # fmt: skip
def test_words(caller: Caller, command: str, answer: str) -> None:
    assert told(caller, command) == answer


def test_reported_version_is_a_setting() -> None:
    assert __version__ != Settings().report_version
    named = Caller(Operations(None, Settings(report_version="0.10.2")))  # type: ignore[arg-type]
    assert told(named, "version") == "0.10.2"


def test_task_table(caller: Caller) -> None:
    assert (
        told(caller, "tasktable") == ">>>>>>>>>>>>>>>ResourceMgr::DumpTaskTable<<<<<<<<<<<<<<<\n"
        'disk\n{"error.message":"not support yet."}disk\n\n'
        'cpu\n{"error.message":"not support yet."}cpu\n\n'
    )


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_system_info(caller: Caller) -> None:
    info = json.loads(told(caller, "get_system_info"))
    assert set(info) == {"memory_total", "memory_used"}
    assert int(info["memory_total"]) > int(info["memory_used"]) > 10 << 20


def test_systems_that_tell_nothing(caller: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(memory.os, "sysconf")
    assert told(caller, "get_system_info") == '{"memory_total":"0","memory_used":"0"}'


def test_requests_in_progress(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    caller = Caller(Operations(database))
    assert told(caller, "requests") == '{"requests":[]}'
    release, inside = threading.Event(), threading.Semaphore(0)

    def wait(*_: Any) -> list[str]:
        inside.release()
        release.wait(30)
        return []

    monkeypatch.setattr(database, "flush", wait)
    monkeypatch.setattr(database, "collections", wait)
    threads = []
    for rpc in ("Flush", "ShowCollections"):
        threads.append(threading.Thread(target=caller.ok, args=(rpc,)))
        threads[-1].start()
        assert inside.acquire(timeout=30)
    assert told(caller, "requests") == '{"requests":["Flush-1","OtherRequest-2"]}'
    release.set()
    for thread in threads:
        thread.join()
    assert caller.fails("Cmd", cmd="get_config") == (1, "Invalid command: get_config")
    assert told(caller, "requests") == '{"requests":[]}'


def test_every_setting_is_told(caller: Caller, database: Database) -> None:
    everything = json.loads(told(caller, "get_config *"))
    flat = {
        f"{section}.{key}": value
        for section, items in everything.items()
        for key, value in items.items()
    }
    assert set(flat) == {key.name for key in ALL}
    for key, value in flat.items():
        assert told(caller, f"get_config {key}") == value
    assert flat["storage.auto_flush_interval"] == "2.5"
    assert flat["cache.insert_buffer_size"] == "1GB"
    assert flat["storage.mmap"] == "true"
    assert everything["network"]["bind.port"] == "19530"
    again = Settings.from_sections(everything)
    assert again == Settings(auto_flush_interval=2.5)


INVALID = "Invalid command: "


@pytest.mark.parametrize(
    ("command", "reason"),
    [(text, INVALID + text) for text in ("get_config", "get_config ", "get_config  *",
        "get_config cache", "set_config",
     "set_config cache.insert_buffer_size", "set_config cache 1GB",
     "set_config cache.insert_buffer_size 1 GB",
     "get_config storage.mmap now")]
    + [("get_config cache.nothing", "Config node invalid: cache.nothing"),
       ("get_config Cache.insert_buffer_size", "Config node invalid: Cache.insert_buffer_size"),
       ("get_config network.", "Config node invalid: network."),
       ("get_config insert.refuse_nonfinit",
        "Config node invalid: insert.refuse_nonfinit; did you mean insert.refuse_nonfinite?"),
       ("set_config network.nothing false", "Config node invalid: network.nothing")],
)  # fmt: skip
def test_config_commands_that_are_none(caller: Caller, command: str, reason: str) -> None:
    assert caller.fails("Cmd", cmd=command) == (1, reason)


def test_live_settings_take_effect_at_once(caller: Caller) -> None:
    caller.create()
    assert told(caller, "set_config engine_config.max_partition_num 1") == ""
    assert told(caller, "get_config engine_config.max_partition_num") == "1"
    caller.ok("CreatePartition", collection_name="c", tag="a")
    reason = "The number of partitions exceeds the upper limit(1)"
    assert caller.fails("CreatePartition", collection_name="c", tag="b") == (1, reason)
    assert told(caller, "set_config cache.insert_buffer_size 1kb") == ""
    assert told(caller, "get_config cache.insert_buffer_size") == "1kb"
    for _ in range(2):
        caller.insert(np.zeros((100, 4), np.float32), np.arange(100))
    stats = json.loads(caller.ok("ShowCollectionInfo", collection_name="c").json_info)
    assert stats["partitions"][0]["segments"]  # the full buffer was flushed


def test_settings_that_cannot_change(caller: Caller) -> None:
    code, reason = caller.fails("Cmd", cmd="set_config cache.insert_buffer_size lots")
    assert (code, reason.startswith("Invalid cache.insert_buffer_size: lots. ")) == (5, True)
    code, reason = caller.fails("Cmd", cmd="set_config network.bind.port 80")
    assert (code, reason) == (5, "Invalid network.bind.port: 80. The range is [1025, 65534]")
    code, reason = caller.fails("Cmd", cmd="set_config network.bind.port 2000")
    assert (
        code,
        reason.startswith("network.bind.port cannot be changed while the server runs"),
    ) == (1, True)
    assert told(caller, "get_config network.bind.port") == "19530"
