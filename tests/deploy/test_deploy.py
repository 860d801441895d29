"""What deploy/ says is what the program takes: every flag, path and port of it. Nothing here needs
a container.
"""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from configparser import ConfigParser
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML
from typer.testing import CliRunner

from milvine.cli import app
from milvine.config import Settings
from milvine.server.app import Server

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
DATA = "/var/lib/milvine"


def dockerfile() -> list[tuple[str, str]]:
    """(instruction, argument) in order, continued lines joined."""
    text = re.sub(
        r"^#.*\n", "", (DEPLOY / "Dockerfile").read_text(encoding="utf-8"), flags=re.MULTILINE
    )
    lines = [line for line in re.sub(r"\\\n\s*", "", text).splitlines() if line.strip()]
    return [(line.split(maxsplit=1)[0], line.split(maxsplit=1)[1]) for line in lines]


def last(instruction: str) -> str:
    return [argument for name, argument in dockerfile() if name == instruction][-1]


def unit() -> ConfigParser:
    parser = ConfigParser(strict=False, interpolation=None, comment_prefixes="#")
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string((DEPLOY / "milvine.service").read_text(encoding="utf-8"))
    return parser


def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = YAML(typ="safe").load(DEPLOY / "compose.yaml")
    return loaded


def words(text: str) -> list[str]:
    """Of an exec form in a Dockerfile."""
    found: list[str] = YAML(typ="safe").load(text)
    return found


@pytest.fixture(scope="module")
def flags() -> set[str]:
    done = CliRunner().invoke(app, ["serve", "--help"], env={"COLUMNS": "200"})
    assert done.exit_code == 0
    return set(re.findall(r"--[a-z][a-z-]+", done.stdout))


def commands() -> Iterator[list[str]]:
    yield words(last("ENTRYPOINT"))
    yield shlex.split(unit()["Service"]["ExecStart"])


@pytest.mark.parametrize("command", list(commands()), ids=["Dockerfile", "milvine.service"])
def test_commands_use_flags_that_exist(command: list[str], flags: set[str]) -> None:
    assert [Path(command[0]).name, command[1]] == ["milvine", "serve"]
    given = {word for word in command if word.startswith("--")}
    assert {"--host", "--data"} <= given <= flags
    assert command[command.index("--data") + 1] == DATA


def test_the_image() -> None:
    settings = Settings()
    assert [argument for name, argument in dockerfile() if name == "FROM"] == [
        "python:3.12-slim AS build",
        "python:3.12-slim",
    ]
    assert last("USER").split(":")[0] not in ("0", "root")
    assert last("VOLUME") == DATA
    assert set(map(int, last("EXPOSE").split())) == {settings.port, settings.http_port}
    check = last("HEALTHCHECK")
    assert f"http://127.0.0.1:{settings.http_port}/healthz" in check
    compile(words(check[check.index("[") :])[2], "HEALTHCHECK", "exec")
    entry = words(last("ENTRYPOINT"))
    assert entry[entry.index("--host") + 1] == "0.0.0.0"  # said there, never by default
    assert settings.address == "127.0.0.1"


def test_the_health_check_asks_what_the_server_answers(tmp_path: Path) -> None:
    pytest.importorskip("fastapi")
    check = last("HEALTHCHECK")
    command = words(check[check.index("[") :])
    assert command[:2] == ["python", "-c"]
    server = Server.start(tmp_path, Settings(port=0, http_port=0))
    try:
        assert server.http_address
        exec(command[2].replace("127.0.0.1:19121", server.http_address), {})
    finally:
        server.stop(5)
    with pytest.raises(OSError):
        exec(command[2].replace("127.0.0.1:19121", server.http_address), {})


def test_the_image_is_built_from_what_exists_and_what_its_ignore_file_lets_through() -> None:
    copied = [
        word
        for name, argument in dockerfile()
        if name == "COPY" and "--from" not in argument
        for word in argument.split()[:-1]
    ]
    allowed = [
        line[1:]
        for line in (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
        if line[:1] == "!"
    ]
    assert sorted(Path(word).name for word in copied) == sorted(allowed)
    assert all((ROOT / word).exists() for word in allowed)
    extras = re.search(r"\.\[([a-z,]+)\]", " ".join(argument for _, argument in dockerfile()))
    assert extras
    declared = re.findall(
        r"^([a-z]+) = \[", (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert set(extras[1].split(",")) == {"server", "native", "annoy"} <= set(declared)


def test_compose() -> None:
    services, settings = compose()["services"], Settings()
    assert set(services) == {"milvine", "prometheus", "grafana", "pushgateway"}
    assert {name for name, service in services.items() if "profiles" not in service} == {"milvine"}
    database = services["milvine"]
    assert (DEPLOY / database["build"]["context"] / database["build"]["dockerfile"]).samefile(
        DEPLOY / "Dockerfile"
    )
    assert database["ports"] == [
        f"127.0.0.1:{port}:{port}" for port in (settings.port, settings.http_port)
    ]
    assert database["volumes"] == [f"data:{DATA}"]
    volumes = [volume for service in services.values() for volume in service.get("volumes", ())]
    named = {volume.split(":")[0] for volume in volumes if not volume.startswith(".")}
    assert named == set(compose()["volumes"])
    assert [
        v for v in volumes if v.startswith(".") and not (DEPLOY / v.split(":")[0]).exists()
    ] == []
    configs = compose()["configs"]
    used = {
        config["source"] for service in services.values() for config in service.get("configs", ())
    }
    assert used == set(configs)
    scrape = YAML(typ="safe").load(configs["scrape"]["content"])
    assert scrape["scrape_configs"][0]["static_configs"] == [
        {"targets": [f"milvine:{settings.http_port}"]}
    ]
    assert all((DEPLOY / "prometheus" / name).exists() for name in scrape["rule_files"])
    provisioning = [
        YAML(typ="safe").load(configs[name]["content"]) for name in ("datasource", "dashboards")
    ]
    assert [each["apiVersion"] for each in provisioning] == [1, 1]
    images = [service["image"] for name, service in services.items() if name != "milvine"]
    assert all(re.search(r":v?\d+\.\d+\.\d+$", image) for image in images), (
        "a release, not whatever is latest"
    )


def test_the_unit() -> None:
    service = unit()["Service"]
    assert service["Restart"] == "on-failure"
    assert (service["DynamicUser"], service["ProtectSystem"]) == ("yes", "strict")
    assert f"/var/lib/{service['StateDirectory']}" == DATA
    assert int(service["TimeoutStopSec"]) > 30, (
        "calls in flight get 30 seconds, then rows are flushed"
    )
    assert int(service["LimitNOFILE"]) > 4 * Settings().open_files_max
    assert unit()["Install"]["WantedBy"] == "multi-user.target"


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd-analyze is not here")
def test_systemd_finds_no_fault(tmp_path: Path) -> None:
    text = (
        (DEPLOY / "milvine.service")
        .read_text(encoding="utf-8")
        .replace("/opt/milvine/bin/milvine", "/bin/true")
    )
    (tmp_path / "milvine.service").write_text(text, encoding="utf-8")
    done = subprocess.run(
        ["systemd-analyze", "verify", tmp_path / "milvine.service"], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (0, "")
