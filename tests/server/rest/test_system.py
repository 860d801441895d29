"""The server, its tasks, its configuration (specification 4.1 to 4.3, 4.13 to 4.15)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from milvine.memory import memory_total
from tests.server.rest.asking import OK, Asking


def test_state_and_devices(rest: Asking) -> None:
    assert rest.ask("GET", "/state") == (200, {"message": "Success", "code": 0})
    assert rest.ask("GET", "/devices") == (
        200,
        {"cpu": {"memory": memory_total() >> 30}, "gpus": {}},
    )


@pytest.mark.parametrize(
    ("info", "reply"),
    [
        ("version", "1.1.1"),
        ("status", "OK"),
        ("mode", "CPU"),
        ("nonsense", "Unknown command"),
        ("a%20b", "Unknown command"),
    ],
)
def test_commands(rest: Asking, info: str, reply: str) -> None:
    assert rest.ask("GET", f"/system/{info}") == (200, {**OK, "reply": reply})


@pytest.mark.parametrize("info", ["info", "get_system_info"])
def test_memory(rest: Asking, info: str) -> None:
    told = json.loads(rest.ask("GET", f"/system/{info}")[1]["reply"])
    assert told["memory_total"] == str(memory_total()) and int(told["memory_used"]) > 0


def test_tasks(rest: Asking) -> None:
    rest.create()
    rest.insert([[1, 2, 3, 4]], ["1"])
    for task in (
        {"flush": {"collection_names": ["c"]}},
        {"flush": {"collection_names": []}},
        {"load": {"collection_name": "c"}},
        {"load": {"collection_name": "c", "partition_tags": ["_default"]}},
        {"release": {"collection_name": "c", "partition_tags": None}},
        {"compact": {"collection_name": "c"}, "release": 7},  # the first in the order of 1.x counts
    ):
        assert rest.ask("PUT", "/system/task", task) == (200, OK), task
    assert rest.segment()


@pytest.mark.parametrize(
    ("body", "code"),
    [({}, 35), ({"build": {}}, 35), ({"load": {}}, 34),
     ({"load": {"collection_name": "c", "partition_tags": "p"}}, 36),
     ({"flush": {}}, 34), ({"flush": {"collection_names": "c"}}, 36),
     ({"flush": {"collection_names": ["none"]}}, 4),
     ({"compact": {"collection_name": "9"}}, 9), ({"release": {"collection_name": "none"}}, 4)],
)  # fmt: skip
def test_tasks_that_cannot_be(rest: Asking, body: dict[str, Any], code: int) -> None:
    assert rest.code("PUT", "/system/task", body) == (400, code)


def test_empty_and_broken_tasks(rest: Asking) -> None:
    assert rest.code("PUT", "/system/task") == (400, 34)
    assert rest.code("PUT", "/system/task", content=b"{") == (400, 36)
    assert rest.code("PUT", "/system/other", {}) == (400, 32)


def test_configuration(rest: Asking) -> None:
    status, told = rest.ask("GET", "/system/config")
    assert status == 200 and told["restart_required"] is False
    assert told["cache"]["insert_buffer_size"] == "1GB" and told["network"]["http.port"] == "19121"
    changed = ("cache.insert_buffer_size 512MB", "engine_config.max_partition_num 100")
    message = "".join(f"set_config {each} successfully;" for each in changed)
    body = {"cache": {"insert_buffer_size": "512MB"}, "engine_config": {"max_partition_num": 100}}
    assert rest.ask("PUT", "/system/config", body) == (
        200,
        {"code": 0, "message": message, "restart_required": False},
    )
    assert rest.database.settings.insert_buffer_size == 512 << 20
    assert rest.ask("GET", "/system/config")[1]["cache"]["insert_buffer_size"] == "512MB"


@pytest.mark.parametrize(
    ("body", "codes"),
    [({"cache": 1}, {35}), ([], {35}), ({"cache": {"insert_buffer_size": [1]}}, {35}),
     ({"cache": {"insert_buffer_size": None}}, {35}), ({"cache": {"nonsense": 1}}, {1, 5}),
     ({"cache": {"insert_buffer_size": "much"}}, {5})],
)  # fmt: skip
def test_configurations_that_cannot_be(rest: Asking, body: Any, codes: set[int]) -> None:
    status, code = rest.code("PUT", "/system/config", body)
    assert status == 400 and code in codes


def test_advanced_configuration(rest: Asking) -> None:
    path = "/config/advanced"
    shown = {"cpu_cache_capacity": 4, "cache_insert_data": False, "use_blas_threshold": 1100}
    assert rest.ask("GET", path) == (200, shown)
    wanted = {"cpu_cache_capacity": 2, "cache_insert_data": True, "use_blas_threshold": 800}
    assert rest.ask("PUT", path, wanted) == (200, OK)
    assert rest.ask("GET", path) == (200, wanted)
    assert rest.ask("GET", "/system/config")[1]["cache"]["cache_size"] == "2GB"  # GiB, not bytes
    assert rest.ask("PUT", path, {}) == (200, OK)
    assert rest.ask("GET", path) == (200, shown)
    for body, code in [
        ({"cpu_cache_capacity": None}, 34),
        ({"cpu_cache_capacity": "4"}, 36),
        ({"unknown": 1}, 35),
    ]:
        assert rest.code("PUT", path, body) == (400, code)
    assert rest.code("PUT", path, {"cpu_cache_capacity": 0}) == (400, 5)
