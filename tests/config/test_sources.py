"""Which source wins, what is said about names that are no keys, and the commands that show
it all.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import milvine
from milvine.cli.configuration import configure, flag, pairs
from milvine.config import ALL, VARIABLES, Configuration
from milvine.errors import IllegalArgument

TEMPLATE = Path(__file__).with_name("server_config.yaml")
KEY, VARIABLE = "cache.cache_size", "MILVINE_CACHE_CACHE_SIZE"


def configured(folder: Path, text: str, environment: dict[str, str] | None = None) -> Configuration:
    path = folder / "c.yaml"
    path.write_text(text)
    return configure(file=path, environment=environment or {})


@given(flags=st.booleans(), variable=st.booleans(), file=st.booleans())
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_flags_win_over_the_environment_that_over_the_file(
    tmp_path: Path, flags: bool, variable: bool, file: bool
) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("cache:\n  cache_size: 1KB\n" if file else "")
    given_flags = {KEY: flag("--set", "3KB")} if flags else {}
    found = configure(given_flags, path, {VARIABLE: "2KB"} if variable else {}).values[KEY]
    order = [
        (flags, "3KB", "--set"),
        (variable, "2KB", VARIABLE),
        (file, "1KB", f"{path}:2"),
        (True, "4GB", "default"),
    ]
    assert (found.text, str(found.origin)) == next(
        (text, where) for there, text, where in order if there
    )


def test_every_key_has_a_variable_of_its_own() -> None:
    assert len(VARIABLES) == len(ALL)
    assert VARIABLES["MILVINE_ENGINE_CONFIG_OMP_THREAD_NUM"] == "engine_config.omp_thread_num"
    assert VARIABLES["MILVINE_NETWORK_BIND_PORT"] == "network.bind.port"


def test_the_file_may_be_named_by_the_environment(tmp_path: Path) -> None:
    found = configure(environment={"MILVINE_CONFIG": str(TEMPLATE)})
    assert (found.file, found.settings.address) == (TEMPLATE, "0.0.0.0")


def test_bad_values_say_where_they_stand(tmp_path: Path) -> None:
    with pytest.raises(
        IllegalArgument, match=r"Invalid wal.enable: maybe. Expected true or false \(.*c.yaml:3\)"
    ):
        configured(tmp_path, "\nwal:\n  enable: maybe\n", {"MILVINE_WAL_ENABLE": "true"})
    with pytest.raises(IllegalArgument, match=r"\(MILVINE_WAL_ENABLE\)"):
        configured(tmp_path, "", {"MILVINE_WAL_ENABLE": "maybe"})


def test_names_that_are_no_keys(tmp_path: Path) -> None:
    text = "cache:\n  cahce_size: 1\nserver_config:\n  port: 1\nodd:\n  x: 1\nloose: 3\nempty: {}\n"
    (notice,) = configured(tmp_path, text).notices
    assert (
        notice
        == "Unknown keys are ignored: cache.cahce_size (line 2; did you mean cache.cache_size?),"
        " server_config.port (line 4; the old name of network.bind.port), odd.x (line 6), loose"
        " (line 7), empty (a section)"
    )
    (notice,) = configured(
        tmp_path, "", {"MILVINE_CACHE_SIZE": "1", "MILVINE_SERVICE_HOST": "x"}
    ).notices
    assert notice == "Unknown variables of the environment are ignored: MILVINE_CACHE_SIZE"


def test_keys_without_meaning_are_told_once(tmp_path: Path) -> None:
    (notice,) = configured(
        tmp_path, "gpu: {cache_size: 1GB}\ndb_config: {archive_disk_threshold: 0}"
    ).notices
    assert (
        notice == "Accepted, and without effect in Milvine: gpu.cache_size,"
        " db_config.archive_disk_threshold"
    )


def test_more_memory_than_there_is(tmp_path: Path) -> None:
    (notice,) = configured(tmp_path, "cache: {cache_size: 4000000GB}").notices
    assert "more than the" in notice


@pytest.mark.parametrize("version", ["0.4", "0.1", "0.6", "2.0", "x", "[1, 2]"])
def test_files_for_other_versions(tmp_path: Path, version: str) -> None:
    text = f"version: {version}\ncache_config:\n  cpu_cache_capacity: 4\n"
    with pytest.raises(IllegalArgument, match=r"Invalid config version: .* Expected 0\.5") as error:
        configured(tmp_path, text)
    assert ("cache_config.cpu_cache_capacity is now cache.cache_size" in str(error.value)) == (
        version in ("0.4", "0.1")
    )


def test_a_file_without_version_is_read(tmp_path: Path) -> None:
    assert configured(tmp_path, "wal: {enable: off}").settings.wal_enable is False


def test_pairs() -> None:
    assert pairs(["wal.enable=off", "general.timezone="])["wal.enable"].value == "off"
    for word in ("wal.enable", "wal.enabel=1", "=", ""):
        with pytest.raises(IllegalArgument, match=r"Expected KEY=VALUE"):
            pairs([word])


def run(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    inherited = {**os.environ, "PYTHONPATH": str(Path(milvine.__file__).parents[1])}
    command = [sys.executable, "-m", "milvine", "config", *map(str, arguments)]
    return subprocess.run(
        command, env={**inherited, **environment}, capture_output=True, text=True, timeout=120
    )


def test_show() -> None:
    done = run("show", "--config", TEMPLATE, MILVINE_WAL_SYNC="off")
    assert done.returncode == 0
    keys, _, _ = done.stdout.partition("\n\n")
    rows = {line.split()[0]: line.split() for line in keys.splitlines()[1:]}
    assert set(rows) == {key.name for key in ALL}
    assert rows["network.bind.address"][1:4] == ["0.0.0.0", f"{TEMPLATE}:19", "restart"]
    assert (
        rows["wal.sync"][1:4] == ["off", "MILVINE_WAL_SYNC", "restart"]
        or rows["wal.sync"][1] == "false"
    )
    assert rows["cache.cache_size"][3] == "live"
    assert rows["network.http.enable"][3] == "no"
    assert "without effect" in done.stderr
    told = json.loads(run("show", "--json").stdout)
    assert told["network.bind.port"]["value"] == "19530"
    assert set(told) == {key.name for key in ALL} | {"memory_plan"}


def test_check(tmp_path: Path) -> None:
    assert run("check", TEMPLATE).stdout == f"{TEMPLATE} is fine\n"
    path = tmp_path / "c.yaml"
    path.write_text("version: 0.5\nlogs:\n  level: loud\n")
    done = run("check", path)
    assert (done.returncode, done.stdout) == (1, "")
    assert (
        done.stderr
        == "milvine: Invalid logs.level: loud. Expected one of debug, info, warning, error, fatal"
        f" ({path}:3)\n"
    )
