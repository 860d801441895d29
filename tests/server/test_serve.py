"""`milvine serve` as a process: its ready line, its clean end, and one clear sentence when it
cannot start.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest

import milvine
from milvine.wire import packed, schema
from milvine.wire.schema import method_path
from tests.serving import Served

SOURCE = Path(milvine.__file__).parents[1]
COMMAND = [sys.executable, "-m", "milvine"]
SIZES = (
    "CACHE_CACHE_SIZE",
    "CACHE_INSERT_BUFFER_SIZE",
    "STORAGE_AUTO_FLUSH_TAIL_BYTES",
    "NETWORK_REQUEST_BYTES_MAX",
)
# Or a server says what it sets them to where memory is limited.
SET = {f"MILVINE_{name}": "64MB" for name in SIZES}


@pytest.fixture
def serve() -> Iterator[Callable[..., Served]]:
    started: list[Served] = []

    def start(*options: object) -> Served:
        started.append(Served(*options, environment=SET, stderr=subprocess.PIPE))
        return started[-1]

    yield start
    for each in started:
        each.kill()


def call(address: str, rpc: str, raw: bytes) -> bytes:
    with grpc.insecure_channel(address) as channel:
        reply: bytes = channel.unary_unary(method_path(rpc))(raw, timeout=30, wait_for_ready=True)
        return reply


@pytest.mark.parametrize(("number", "door"), [(signal.SIGTERM, "grpc"), (signal.SIGINT, "auto")])
def test_rows_survive_a_clean_stop(
    serve: Callable[..., Served], tmp_path: Path, number: signal.Signals, door: str
) -> None:
    server = serve("--port", 0, "--data", tmp_path / "data", "--door", door)
    address = server.wait().address
    created = schema.CollectionSchema(
        collection_name="c", dimension=4, index_file_size=1, metric_type=1
    )
    assert (
        schema.Status.FromString(
            call(address, "CreateCollection", created.SerializeToString())
        ).reason
        == "OK"
    )
    rows = np.eye(4, dtype=np.float32)
    assert (
        packed.decode_ids(
            call(address, "Insert", packed.encode_insert("c", rows, np.arange(4)))
        ).code
        == 0
    )
    server.process.send_signal(number)
    assert server.end() == (0, "", "")

    again = serve("--port", 0, "--data", tmp_path / "data")
    hits = packed.decode_hits(
        call(again.wait().address, "Search", packed.encode_search("c", rows[2:3], 1))
    )
    assert (hits.ids.tolist(), hits.distances.tolist()) == ([2], [0.0])


def test_from_start_to_first_answer(serve: Callable[..., Served], tmp_path: Path) -> None:
    began = time.monotonic()
    server = serve("--port", 0, "--data", tmp_path)
    raw = schema.Command(cmd="version").SerializeToString()
    assert (
        schema.StringReply.FromString(call(server.wait().address, "Cmd", raw)).string_reply
        == "1.1.1"
    )
    assert time.monotonic() - began < 20  # 1 second when idle; the bound is for busy machines


@pytest.mark.parametrize("door", ["grpc", "auto"])
def test_a_second_server_on_folder_or_port_says_so(
    serve: Callable[..., Served], tmp_path: Path, door: str
) -> None:
    address = serve("--port", 0, "--data", tmp_path / "one").wait().address
    code, out, err = serve("--port", 0, "--data", tmp_path / "one").end()
    assert (code, out) == (1, "")
    assert re.fullmatch(r"milvine: [^\n]+\n", err), err
    code, out, err = serve(
        "--port", address.rpartition(":")[2], "--data", tmp_path / "two", "--door", door
    ).end()
    assert (code, out) == (1, "")
    assert (
        err == f"milvine: Cannot listen on {address}: the address is in use or not one of this"
        " machine\n"
    )


def test_configuration_file_and_flags(serve: Callable[..., Served], tmp_path: Path) -> None:
    config = tmp_path / "server_config.yaml"
    text = (
        "version: 0.5\nnetwork:\n  bind.address: 127.0.0.1\n  bind.port: 1\nstorage:\n  path:"
        f" {tmp_path}/data\n"
    )
    config.write_text(text)
    code, _, err = serve("--config", config).end()
    assert (code, err) == (
        1,
        f"milvine: Invalid network.bind.port: 1. The range is [1025, 65534] ({config}:4)\n",
    )
    config.write_text(text.replace("bind.port: 1", "bind.port: 19530\n  report_version: 0.10.2"))
    address = serve("--config", config, "--port", "0").wait().address
    assert (tmp_path / "data").is_dir()
    raw = schema.Command(cmd="version").SerializeToString()
    assert schema.StringReply.FromString(call(address, "Cmd", raw)).string_reply == "0.10.2"


def test_the_log_goes_where_the_file_says(serve: Callable[..., Served], tmp_path: Path) -> None:
    config = tmp_path / "server_config.yaml"
    logs = (
        f"logs:\n  level: info\n  path: {tmp_path}/logs\n  format: json\n  slow_query_seconds:"
        " 0.000001\n"
    )
    config.write_text(f"version: 0.5\n{logs}")
    server = serve("--config", config, "--port", "0", "--data", tmp_path / "data")
    created = schema.CollectionSchema(
        collection_name="c", dimension=4, index_file_size=1024, metric_type=1
    )
    address = server.wait().address
    call(address, "CreateCollection", created.SerializeToString())
    server.process.send_signal(signal.SIGTERM)
    code, _, err = server.end()
    told = [
        json.loads(line) for line in (tmp_path / "logs" / "milvine.log").read_text().splitlines()
    ]
    slow = next(each for each in told if each["event"] == "slow_call")
    assert (code, slow["rpc"], slow["level"]) == (0, "CreateCollection", "WARNING")
    assert {"opened", "serving", "stopping"} <= {each["event"] for each in told}
    assert "slow_call" in err  # warnings are said there, too


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "Cannot read"),
        ("a: [1", "is no YAML"),
        ("- 1", "holds no sections"),
        (
            "storage:\n  auto_flush_interval: x",
            "Invalid storage.auto_flush_interval: x. Expected a number",
        ),
    ],
)
def test_bad_configuration_files(
    serve: Callable[..., Served], tmp_path: Path, text: str | None, reason: str
) -> None:
    config = tmp_path / "c.yaml"
    if text is not None:
        config.write_text(text)
    code, _, err = serve("--config", config).end()
    assert code == 1
    assert reason in err
    assert "Traceback" not in err


def test_version() -> None:
    done = subprocess.run(
        [*COMMAND, "version"], env={**os.environ, "PYTHONPATH": str(SOURCE)}, capture_output=True
    )
    assert done.stdout.decode() == f"{milvine.__version__}\n"
