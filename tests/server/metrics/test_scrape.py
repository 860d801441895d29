"""What a scrape says after some work."""

from __future__ import annotations

import asyncio
import math
import re
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from milvine.engine.inspection import Building
from milvine.errors import CollectionNotFound
from milvine.events import BuildProgressed
from milvine.server.metrics.progress import build_progress, collection_progress
from milvine.server.metrics.state import COLLECTIONS_MAX, OTHERS
from tests.server.metrics.running import Samples, running, samples_of, value, work

NAMES_OF_1X = """
keeping_alive_seconds_total cache_usage_bytes data_file_size_bytes CPU_usage_percent
RAM_usage_percent CPU_temperature octets_bytes_per_second add_vectors_request_total add_vectors
add_vector_duration_microseconds_bucket add_vectors_throughput_per_microsecond
query_response_summary query_response_summary_count query_vector_response_summary
query_vector_response_summary_sum query_vector_response_per_microsecond
search_data_duration_microseconds_bucket search_raw_files_bytes_bucket
search_index_files_bytes_bucket search_file_size_total search_file_size_gauge
mem_table_merge_duration_microseconds_bucket disk_store_IO_speed_bytes_per_microseconds
meta_access_total meta_access_duration_microseconds_bucket cache_access_total
add_group_request_total get_group_request_total has_group_request_total
get_group_files_request_total search_request_total search_request_duration_microsecond_bucket
build_index_duration_microseconds_bucket all_build_index_duration_microseconds_bucket
memory_usage_percent memory_usage_total disk_load_duration_microseconds_bucket
disk_load_size_bytes_bucket disk_load_IO_speed_byte_per_microsec query_response_per_microsecond
connection_number
"""


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Samples:
    with running(tmp_path_factory.mktemp("data")) as server:
        work(server.call)
        return server.scrape()


def test_the_names_of_1x(seen: Samples) -> None:
    assert set(NAMES_OF_1X.split()) - {name for name, _ in seen} == set()


def test_inserts(seen: Samples) -> None:
    assert value(seen, "add_vectors_request_total", outcome="success") == 5010
    assert value(seen, "add_vectors_request_total", outcome="fail") == 0
    assert value(seen, "add_vectors", outcome="success") == 10
    assert value(seen, "add_vector_duration_microseconds_count") == 5010
    assert value(seen, "add_vectors_throughput_per_microsecond") > 0
    assert value(seen, "milvine_group_commit_requests_count") == 3  # two inserts, one delete
    assert (
        value(seen, "milvine_log_sync_seconds_count")
        == value(seen, "milvine_log_append_seconds_count")
        == 3
    )
    assert value(seen, "milvine_log_sync_seconds_sum") > 0


def test_searches(seen: Samples) -> None:
    assert (
        value(seen, "query_response_summary_count")
        == value(seen, "query_vector_response_summary_count")
        == 6
    )
    quantiles = [value(seen, "query_response_summary", quantile=q) for q in ("0.95", "0.9", "0.8")]
    assert quantiles == sorted(quantiles, reverse=True) and quantiles[-1] > 0
    assert value(seen, "search_data_duration_microseconds_count", type="index") == 1
    assert value(seen, "search_data_duration_microseconds_count", type="raw") == 0
    assert value(seen, "search_file_size_total", type="index") > 5000 * 32
    assert value(seen, "milvine_scanned_rows_total", kind="tail") == 5000
    assert value(seen, "milvine_scanned_rows_total", kind="IVF_FLAT") == 5000
    assert value(seen, "search_request_total", outcome="success") == 2


def test_calls(seen: Samples) -> None:
    assert value(seen, "milvine_request_seconds_count", rpc="Insert") == 2
    assert value(seen, "milvine_request_seconds_bucket", rpc="Insert", le="+Inf") == 2
    assert (
        value(
            seen,
            "milvine_request_errors_total",
            rpc="CountCollection",
            code="COLLECTION_NOT_EXISTS",
        )
        == 1
    )
    assert value(seen, "add_group_request_total", outcome="success") == 1
    assert (
        value(seen, "milvine_requests_in_flight")
        == value(seen, "milvine_request_bytes_in_flight")
        == 0
    )


def test_what_is_stored(seen: Samples) -> None:
    assert value(seen, "milvine_collections") == 1
    assert value(seen, "milvine_collection_rows", collection="c") == 5003
    assert value(seen, "milvine_collection_tail_rows", collection="c") == 10
    assert value(seen, "milvine_collection_tombstones", collection="c") == 7
    assert value(seen, "milvine_collection_nonfinite_rows", collection="c") == 0
    assert value(seen, "milvine_collection_segments", collection="c") == 1
    assert value(seen, "milvine_index_rows_built", collection="c") == 5000
    assert value(seen, "milvine_index_rows_pending", collection="c") == 0
    assert value(seen, "milvine_index_build_seconds_count", index_type="IVF_FLAT") == 1
    assert value(seen, "build_index_duration_microseconds_count") == 1
    assert value(seen, "disk_load_size_bytes_count", DB="Faiss") == 1
    assert value(seen, "milvine_flush_seconds_count") == 1
    assert value(seen, "milvine_flushed_bytes_total") == 5000 * (32 + 8)
    assert value(seen, "data_file_size_bytes") > 5000 * 40
    for kind in ("rows", "index", "log", "catalog"):
        assert value(seen, "milvine_disk_bytes", kind=kind) > 0


def test_the_host(seen: Samples) -> None:
    assert value(seen, "RAM_usage_percent") > 0
    assert value(seen, "CPU_usage_percent", CPU="0") >= 0
    temperature = value(seen, "CPU_temperature", CPU="0")
    assert math.isnan(temperature) or -50 < temperature < 150
    files = value(seen, "milvine_memory_bytes", kind="files")
    assert math.isnan(files) or 0 < files < value(seen, "milvine_memory_bytes", kind="total")


def test_both_formats_over_http(tmp_path: Path) -> None:
    async def ask(app: FastAPI) -> list[httpx.Response]:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://milvine") as client:
            newer = {"Accept": "application/openmetrics-text; version=1.0.0"}
            return [
                await client.get("/metrics"),
                await client.get("/metrics", headers=newer),
                await client.get("/collections/c/indexes/progress"),
            ]

    with running(tmp_path) as server:
        work(server.call)
        app = FastAPI()
        for router in server.metrics.routers:
            app.include_router(router)
        plain, newer, progress = asyncio.run(ask(app))
    assert plain.status_code == 200 and plain.headers["content-type"].startswith(
        "text/plain; version="
    )
    assert value(samples_of(plain.text), "milvine_collections") == 1
    assert newer.headers["content-type"].startswith("application/openmetrics-text")
    assert newer.text.endswith("# EOF\n")
    told = progress.json()
    assert (told["index_type"], told["total_rows"], told["built_rows"]) == ("IVF_FLAT", 5000, 5000)
    assert (told["tail_rows"], told["building"]) == (10, [])


def test_a_running_build_is_told(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        work(server.call, name="other")
        server.call.create("c")
        builds = server.database.stores.builds
        state = server.database.collection("c").state
        builds[5] = BuildProgressed(state.id, 5, "HNSW", "adding", 300, 8000, 1.5)
        seen = server.scrape()
        assert value(seen, "milvine_index_builds_running", collection="c") == 1
        assert value(seen, "milvine_index_builds_running", collection="other") == 0
        assert value(seen, "milvine_index_rows_building", collection="c") == 8000
        assert value(seen, "milvine_index_rows_building_done", collection="c") == 300
        progress = build_progress(server.database)
        assert progress["c"].building == (Building("5", "HNSW", "adding", 300, 8000, 1.5),)
        assert (progress["other"].built_rows, progress["other"].total_rows) == (5000, 5000)
        with pytest.raises(CollectionNotFound):
            collection_progress(server.database, "nothing")


def test_two_servers_in_one_process_share_nothing(tmp_path: Path) -> None:
    with running(tmp_path / "a") as one, running(tmp_path / "b") as other:
        one.call.create("only_here")
        assert value(one.scrape(), "milvine_collections") == 1
        assert value(other.scrape(), "milvine_collections") == 0
        assert value(other.scrape(), "add_group_request_total", outcome="success") == 0


def test_many_collections_are_told_as_a_few(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        for number in range(COLLECTIONS_MAX + 3):
            server.call.create(f"c{number}")
        server.call.insert([[1, 2, 3, 4]] * 5, name="c22")
        seen = server.scrape()
        names = {
            dict(labels)["collection"] for name, labels in seen if name == "milvine_collection_rows"
        }
        assert len(names) == COLLECTIONS_MAX + 1 and OTHERS in names
        assert value(seen, "milvine_collection_rows", collection="c22") == 5


def test_a_refused_insert_counts_as_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with running(tmp_path) as server:
        server.call.create()
        server.call.insert([[1, 2, 3, 4]], ids=[1])
        server.call.ok("DropCollection", collection_name="c")
        assert value(server.scrape(), "add_vectors_request_total", outcome="fail") == 0
        server.call.create()
        submit = server.database.stores.writer.submit

        def dropped_first(request: Any) -> Any:  # while the rows wait for the log
            server.call.ok("DropCollection", collection_name="c")
            return submit(request)

        monkeypatch.setattr(server.database.stores.writer, "submit", dropped_first)
        with pytest.raises(AssertionError):
            server.call.insert([[1, 2, 3, 4]], ids=[1])
        assert value(server.scrape(), "add_vectors_request_total", outcome="fail") == 1


def test_a_scrape_of_a_closed_database_says_what_is_left(tmp_path: Path) -> None:
    with running(tmp_path) as server:
        server.database.close()
        names = {name for name, _ in server.scrape()}
        assert "milvine_collections" not in names and "milvine_info" in names


def test_names_are_well_formed(seen: Samples) -> None:
    assert all(re.fullmatch(r"[a-zA-Z_:][a-zA-Z0-9_:]*", name) for name, _ in seen)
