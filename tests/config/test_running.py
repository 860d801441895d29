"""get_config and set_config of a running server, with and without a file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from milvine.cli.configuration import configure, flag
from milvine.config import BY_NAME, Settings
from milvine.engine.database import Database
from milvine.errors import CallerError, IllegalArgument, StorageFailed, Unsupported
from milvine.server.configuration.running import RunningConfiguration
from milvine.server.operations import Operations
from tests.server.calling import Caller

TEMPLATE = Path(__file__).with_name("server_config.yaml").read_text()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "server_config.yaml"
    path.write_text(TEMPLATE)
    return path


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with Database.open(tmp_path / "data", Settings(background=False)) as database:
        yield database


@pytest.fixture
def running(database: Database, file: Path) -> RunningConfiguration:
    found = configure(
        {"network.http.port": flag("--http-port", 0, final=True)},
        file,
        {"MILVINE_LOGS_LEVEL": "info"},
    )
    return RunningConfiguration(database, found)


def test_live_keys_act_at_once_and_are_kept(
    running: RunningConfiguration, database: Database, file: Path
) -> None:
    running.set("cache.cache_size", "8GB")
    assert (database.settings.cache_size, running.get("cache.cache_size")) == (8 << 30, "8GB")
    running.set("engine_config.max_partition_num", 7)
    assert database.settings.max_partition_num == 7
    running.set("gpu.search_devices", "gpu0,gpu1")
    running.set("cache.cache_insert_data", "YES")
    expected = TEMPLATE.replace("cache_size: 4GB", "cache_size: 8GB").replace(
        "search_devices:\n    - gpu0", "search_devices: [gpu0, gpu1]", 1
    )
    expected = expected.replace(
        "preload_collection:\n", "preload_collection:\n  cache_insert_data: YES\n"
    )
    assert file.read_text() == f"{expected}\nengine_config:\n  max_partition_num: 7\n"
    assert file.with_name(file.name + ".ori").read_text() == TEMPLATE
    assert running.restart_required is False
    again = configure(file=file, environment={})
    assert again.settings.max_partition_num == 7
    assert again.values["gpu.search_devices"].text == "gpu0,gpu1"


def test_other_keys_wait_for_the_next_start(
    running: RunningConfiguration, database: Database, file: Path
) -> None:
    running.set("storage.auto_flush_interval", "2")
    assert running.tree()["storage"]["auto_flush_interval"] == "2"
    assert database.settings.auto_flush_interval == 1
    assert file.read_text() == TEMPLATE.replace("auto_flush_interval: 1", "auto_flush_interval: 2")
    assert running.restart_required is True


@pytest.mark.parametrize(
    ("name", "value", "error", "reason"),
    [("network.http.enable", "false", CallerError, "Config node invalid: network.http.enable"),
     ("fpga.cache_size", "1GB", CallerError, "Config node invalid: fpga.cache_size"),
     ("no.such", "1", CallerError, "Config node invalid: no.such"),
     ("cache.cache_size", "0", IllegalArgument,
      "Invalid cache.cache_size: 0. It must be more than 0"),
     ("gpu.enable", "true", IllegalArgument, "Invalid gpu.enable: true. "),
     ("network.http.port", "2000", Unsupported, "network.http.port was given by --http-port"),
     ("logs.level", "debug", Unsupported,
      "logs.level was given by MILVINE_LOGS_LEVEL, which wins over the file")],
)  # fmt: skip
def test_what_cannot_be_set(
    running: RunningConfiguration,
    file: Path,
    name: str,
    value: str,
    error: type[Exception],
    reason: str,
) -> None:
    before = running.tree()
    with pytest.raises(error) as raised:
        running.set(name, value)
    assert str(raised.value).startswith(reason)
    assert (file.read_text(), running.tree(), running.restart_required) == (TEMPLATE, before, False)


def test_a_file_that_cannot_be_written_changes_nothing(
    running: RunningConfiguration, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("milvine.server.configuration.config_file.write_file", refuse)
    with pytest.raises(StorageFailed, match=r"Permission denied. Nothing was changed"):
        running.set("cache.cache_size", "8GB")
    assert (database.settings.cache_size, running.get("cache.cache_size")) == (4 << 30, "4GB")


def test_without_a_file_and_without_a_folder_of_its_own(database: Database) -> None:
    running = Operations(database, database.settings).configuration
    for key in BY_NAME.values():
        text = running.get(key.name)
        if key.live:
            running.set(key.name, text)
        elif key.settable and text and key.name != "storage.path":
            with pytest.raises(Unsupported, match=r"no file keeps it until the next start"):
                running.set(key.name, text)
    assert running.restart_required is False


def test_over_cmd(database: Database, file: Path) -> None:
    operations = Operations(database, database.settings, None, configure(file=file, environment={}))
    caller = Caller(operations)
    assert caller.ok("Cmd", cmd="set_config network.bind.port 20000").string_reply == ""
    assert "bind.port: 20000" in file.read_text()
    assert caller.ok("Cmd", cmd="get_config network.bind.port").string_reply == "20000"
    assert operations.configuration.restart_required
