"""`settings.yaml` in the data folder: what set_config changes while there is no
configuration file.
"""

from __future__ import annotations

import json
import re
import stat
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from milvine.cli import app
from milvine.cli.configuration import catalog_of, configure, flag
from milvine.cli.serve import LogLevel
from milvine.config import ALL, Configuration, Settings
from milvine.config.sources import DEFAULT
from milvine.config.sources import KEPT_FILE as NAME
from milvine.engine.database import Database
from milvine.errors import CallerError, IllegalArgument, StorageFailed, Unsupported
from milvine.events import Events
from milvine.interpreter import running_module
from milvine.offline.backup import backup
from milvine.offline.verify import verify
from milvine.server.app import Server
from milvine.server.configuration.kept_settings import keep
from milvine.server.configuration.running import RunningConfiguration
from milvus import Milvus, NotConnectError
from tests.config.test_values import bad_values

QUIET = Settings(background=False)
Running = Callable[..., RunningConfiguration]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "data"


def configured(folder: Path, *, file: Path | None = None, **environment: str) -> Configuration:
    return configure({"storage.path": flag("--data", str(folder), final=True)}, file, environment)


@pytest.fixture
def running(folder: Path) -> Iterator[Running]:
    with Database.open(folder, QUIET) as database:
        yield lambda **more: RunningConfiguration(database, configured(folder, **more))


def test_every_key_that_can_be_set_is_kept_and_comes_back_as_it_was_set(
    running: Running, folder: Path
) -> None:
    before, told = running(), {"storage.path": str(folder)}
    for key in (key for key in ALL if key.settable and key.name != "storage.path"):
        text = before.get(key.name)
        before.set(key.name, text)
        told[key.name] = text
    before.set("storage.mmap", "Off")
    before.set("cache.cache_insert_data", "YES")
    before.set("storage.auto_flush_interval", "7")
    assert before.restart_required
    told |= {
        "storage.mmap": "Off",
        "cache.cache_insert_data": "YES",
        "storage.auto_flush_interval": "7",
    }
    after = running()
    assert {name: after.get(name) for name in told} == told
    assert {name: before.get(name) for name in told} == told
    settings = configured(folder).settings
    assert (settings.mmap, settings.cache_insert_data, settings.auto_flush_interval) == (
        False,
        True,
        7,
    )
    assert stat.S_IMODE((folder / NAME).stat().st_mode) == 0o600


def test_what_wins(running: Running, folder: Path, tmp_path: Path) -> None:
    running().set("logs.level", "error")
    running().set("network.streams_max", "7")
    file = tmp_path / "server_config.yaml"
    file.write_text("network:\n  streams_max: 8\n")
    assert (
        configured(folder).values["logs.level"].origin.where
        == f"{folder / NAME}:{_line(folder, 'level')}"
    )
    assert configured(folder, file=file).settings.streams_max == 8
    assert configured(folder, file=file).settings.log_level == "error"
    assert configured(folder, file=file, MILVINE_NETWORK_STREAMS_MAX="9").settings.streams_max == 9
    running(file=file).set("network.streams_max", "10")  # a file that is given is where changes go
    assert "streams_max: 10" in file.read_text() and "streams_max: 7" in (folder / NAME).read_text()


def _line(folder: Path, item: str) -> int:
    lines = (folder / NAME).read_text().splitlines()
    return next(number for number, line in enumerate(lines, 1) if line.strip().startswith(item))


@pytest.mark.parametrize("key", [key for key in ALL if key.settable], ids=lambda key: key.name)
def test_every_range_is_checked_wherever_the_value_comes_from(
    running: Running, folder: Path, tmp_path: Path, key: Any
) -> None:
    configuration, file = running(), tmp_path / "c.yaml"
    for value in (bad for bad in bad_values(key) if isinstance(bad, str)):
        with pytest.raises(IllegalArgument, match=f"Invalid {key.name}: "):
            configuration.set(key.name, value)
        with pytest.raises(IllegalArgument, match=f"Invalid {key.name}: "):
            configured(folder, **{"MILVINE_" + key.name.upper().replace(".", "_"): value})
        if value.isprintable():
            for path, chosen in ((file, file), (folder / NAME, None)):
                path.write_text(f"{key.section}:\n  {key.item}: {json.dumps(value)}\n")
                if not (path.name == NAME and key.name == "storage.path"):
                    with pytest.raises(
                        IllegalArgument, match=rf"Invalid {key.name}: .*{path.name}:2\)$"
                    ):
                        configured(folder, file=chosen)
                path.unlink()
    assert not (folder / NAME).exists()


@pytest.mark.parametrize("value", [-1.0, 3601.0, float("nan"), float("inf")])
def test_settings_made_by_hand_are_checked_too(value: float) -> None:
    with pytest.raises(
        IllegalArgument, match=r"Invalid storage.auto_flush_interval: .* The range is \[0, 3600\]"
    ):
        Settings(auto_flush_interval=value)


def test_what_is_not_kept(running: Running, folder: Path) -> None:
    found = running(MILVINE_LOGS_LEVEL="info")
    with pytest.raises(
        Unsupported,
        match="logs.level was given by MILVINE_LOGS_LEVEL, which wins over settings.yaml",
    ):
        found.set("logs.level", "debug")
    with pytest.raises(Unsupported, match="storage.path cannot be changed"):
        found.set("storage.path", "/elsewhere")
    with pytest.raises(CallerError, match="Config node invalid"):
        found.set("network.http.enable", "false")
    reader = running(MILVINE_CLUSTER_ENABLE="true", MILVINE_CLUSTER_ROLE="ro")
    with pytest.raises(Unsupported, match="a reader keeps no settings in the folder"):
        reader.set("storage.mmap", "false")
    assert not (folder / NAME).exists()


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("general.meta_uri", "postgresql://h/db", "does not open with another"),
        ("wal.path", "/elsewhere", r"move the \*.wal files, and write the new place"),
        ("cluster.role", "ro", "would only read it"),
    ],
)
def test_what_keeps_a_folder_from_being_opened_is_refused_when_it_is_asked(
    running: Running, folder: Path, name: str, value: str, reason: str
) -> None:
    found = running()
    if name == "cluster.role":
        found.set("cluster.enable", "true")
    held = found.get(name)
    with pytest.raises(Unsupported, match=f"{name} stays as it is.*{reason}"):
        found.set(name, value)
    found.set(name, held)
    assert configured(folder).values[name].text == held


def test_a_catalog_in_postgresql_may_move(running: Running, folder: Path) -> None:
    keep(folder / NAME, "general.meta_uri", "postgresql://u:old@h/db")
    running().set("general.meta_uri", "postgresql://u:new@there/db")
    assert configured(folder).settings.meta_uri == "postgresql://u:new@there/db"


def test_an_opening_that_fails_names_the_line_that_it_is_for(folder: Path, tmp_path: Path) -> None:
    uri = f"file://{folder}"
    with closing(Milvus(uri=uri)) as client:
        client.create_collection({"collection_name": "a", "dimension": 2})
        status, _ = client.set_config("general", "meta_uri", "postgresql://h/db")
        assert "general.meta_uri stays as it is" in status.message
    (folder / NAME).write_text("wal:\n  path: /nowhere/log\n")
    place = rf"wal.path says /nowhere/log.* \(wal.path is from {folder / NAME}:2\)$"
    with pytest.raises(NotConnectError, match=place):
        Milvus(uri=uri)
    # A process of its own: one that serves sets up the logging of all.
    command = running_module("milvine", "serve", "--data", str(folder), "--port", "0")
    told = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert told.returncode == 1 and re.search(place, told.stderr.strip())


def test_a_reader_takes_none_of_the_writers_settings(running: Running, folder: Path) -> None:
    running().set("network.bind.port", "20000")
    assert configured(folder).settings.port == 20000
    reader = configured(folder, MILVINE_CLUSTER_ENABLE="true", MILVINE_CLUSTER_ROLE="ro")
    assert (
        reader.settings.port == 19530 and reader.values["network.bind.port"].origin.kind == DEFAULT
    )


def test_a_secret_that_is_sent_back_as_it_is_shown_stays(running: Running, folder: Path) -> None:
    keep(folder / NAME, "general.meta_uri", "postgresql://u:s3cret@h/db")
    again = running()
    assert again.get("general.meta_uri") == "postgresql://u:***@h/db"
    again.set("general.meta_uri", "postgresql://u:***@h/db")
    assert configured(folder).settings.meta_uri == "postgresql://u:s3cret@h/db"


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("cache: [", "is no YAML: .*Mend the file, or remove it"),
        ("\x00\xff", "is no YAML"),
        ("cache:\n  cache_size: much\n", r"Invalid cache.cache_size: much. .*settings.yaml:2\)"),
        ("version: 2.4\n", "Invalid config version"),
    ],
)
def test_a_damaged_file_keeps_a_database_from_opening_with_a_reason(
    folder: Path, text: str, reason: str
) -> None:
    folder.mkdir()
    (folder / NAME).write_text(text)
    with pytest.raises(IllegalArgument, match=reason):
        configured(folder)
    with pytest.raises(NotConnectError, match=reason):
        Milvus(uri=f"file://{folder}")
    (folder / NAME).unlink()
    Milvus(uri=f"file://{folder}").close()  # and leaves it free


def test_what_is_no_key_is_told(folder: Path) -> None:
    folder.mkdir()
    (folder / NAME).write_text("cache:\n  cach_size: 4GB\nstorage:\n  path: /elsewhere\n")
    found = configured(folder)
    unknown, path = found.notices
    assert (
        "cache.cach_size (line 2; did you mean cache.cache_size?)" in unknown
        and "storage.path" in path
    )
    assert found.values["storage.path"].text == str(folder)


def test_a_disk_that_refuses_changes_nothing(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any) -> None:
        raise PermissionError(13, "Permission denied")

    found = running()
    monkeypatch.setattr("milvine.server.configuration.kept_settings.write_file", refuse)
    with pytest.raises(
        StorageFailed, match=r"settings.yaml: Permission denied. Nothing was changed"
    ):
        found.set("storage.mmap", "false")
    assert (found.get("storage.mmap"), found.restart_required) == ("true", False)


def test_embedded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uri, given, real = f"file://{folder}", list[Settings](), Database.open

    def opened(folder: Path, settings: Settings, events: Events) -> Database:
        given.append(settings)
        return real(folder, settings, events)

    monkeypatch.setattr(Database, "open", opened)
    with closing(Milvus(uri=uri)) as client:
        assert client.set_config("wal", "sync", "Off")[0].OK()
        assert client.set_config("cache", "cache_size", "123MB")[0].OK()
        assert not client.set_config("storage", "auto_flush_interval", "3601")[0].OK()
    with closing(Milvus(uri=uri)) as client:
        assert client.get_config("wal", "sync")[1] == "Off"
        assert client.get_config("cache", "cache_size")[1] == "123MB"
        assert [each.wal_sync for each in given] == [True, False]


def test_over_rest_and_grpc(folder: Path) -> None:
    pytest.importorskip("fastapi")
    settings = Settings(background=False, port=0, http_port=0)
    server = Server.start(folder, settings, configuration=configured(folder))
    try:
        http, grpc = (server.http_address, {"handler": "HTTP"}), (server.address, {})
        for number, (address, more) in enumerate((http, grpc), 20):
            with closing(Milvus(*address.split(":"), **more)) as client:
                assert client.set_config("wal", "file_bytes", f"{number}MB")[0].OK()
                assert f"file_bytes: {number}MB" in (folder / NAME).read_text()
    finally:
        server.stop(1)


def test_the_command_shows_it_with_its_source(running: Running, folder: Path) -> None:
    running().set("storage.mmap", "Off")
    shown = CliRunner().invoke(app, ["config", "show", "--data", str(folder), "--json"])
    value = json.loads(shown.stdout)["storage.mmap"]
    assert (value["value"], value["source"]) == ("Off", "folder") and str(folder / NAME) in value[
        "where"
    ]


def test_the_command_and_the_page_say_alike_what_set_config_does(folder: Path) -> None:
    shown = CliRunner().invoke(app, ["config", "show", "--data", str(folder), "--json"])
    page = Path(__file__).parents[2] / "docs" / "configuration.md"
    rows = re.findall(r"^\| `([a-z0-9_.]+)` \|[^|]*\| (\w+) \|", page.read_text(), re.MULTILINE)
    said = dict(rows)
    assert len(said) > 50
    rows = json.loads(shown.stdout)
    rows.pop("memory_plan")
    told = {name: each["set_config"] for name, each in rows.items()}
    assert {name: told[name] for name in said if name in told} == {
        name: word for name, word in said.items() if name in told
    }
    assert set(told.values()) == {"live", "restart", "no"}


def test_the_option_takes_every_level_that_the_key_takes() -> None:
    (key,) = (key for key in ALL if key.name == "logs.level")
    assert [key.parse(key.name, level.value) for level in LogLevel] == [*LogLevel]
    assert {"debug", "info", "warning", "error", "fatal"} == {level.value for level in LogLevel}


def test_tools_for_a_folder_look_into_it(folder: Path) -> None:
    Database.open(folder, QUIET).close()
    keep(folder / NAME, "general.meta_uri", "postgresql://h/db")
    (folder / "CATALOG").write_text("{}")
    assert catalog_of(folder, None) == "postgresql://h/db"


def test_it_is_no_part_of_the_data(running: Running, folder: Path, tmp_path: Path) -> None:
    """A restored database is another server's: its ports and places are not those of the first."""
    running().set("network.bind.port", "20000")
    assert not verify(folder).findings
    backup(folder, tmp_path / "backups")
    assert not list((tmp_path / "backups").rglob(NAME))


def test_verify_names_a_file_that_keeps_the_database_from_opening(folder: Path) -> None:
    Database.open(folder, QUIET).close()
    (folder / NAME).write_text("cache: [")
    told = CliRunner().invoke(app, ["verify", str(folder)])
    assert (
        told.exit_code == 1
        and f"DAMAGE: {NAME}: " in told.stdout
        and "Mend the file, or remove it" in told.stdout
    )
