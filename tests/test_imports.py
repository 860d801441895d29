"""What a base install loads: the embedded database must not touch a package that only an extra
brings.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from typer.testing import CliRunner

import milvine
from milvine import cli

ROOT = Path(__file__).parents[1]
SCRIPT = """
import json, sys
from milvus import Milvus, MetricType
milvus = Milvus(uri=sys.argv[1])
schema = {"collection_name": "c", "dimension": 2, "metric_type": MetricType.L2}
assert milvus.create_collection(schema).OK()
milvus.insert("c", [[1.0, 2.0], [3.0, 4.0]], ids=[1, 2])
status, hits = milvus.search("c", top_k=1, query_records=[[1.0, 2.0]])
assert hits[0][0].id == 1
milvus.close()
waited_for = {
    "milvine.offline.backup",
    "milvine.server.configuration.config_file",
} & set(sys.modules)
print(json.dumps(sorted({name.partition(".")[0] for name in sys.modules} | waited_for)))
"""
MODULES = {
    "grpcio-reflection": "grpc_reflection",
    "pygrpc-native": "pygrpc_native",
    "prometheus-client": "prometheus_client",
    "opentelemetry-sdk": "opentelemetry",
    "opentelemetry-exporter-otlp-proto-http": "opentelemetry",
}
"""Distributions whose module has another name."""


def extras() -> set[str]:
    """Modules of every extra but `dev`, as pyproject.toml names them."""
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    section = text.partition("[project.optional-dependencies]")[2].partition("\ndev = [")[0]
    names = re.findall(r'"([a-z][a-z0-9-]*)(?:\[[a-z]+\])?>=', section)
    return {MODULES.get(name, name) for name in names}


def said(script: str, *arguments: str) -> str:
    """What a script prints in an interpreter of its own."""
    environment = {**os.environ, "PYTHONPATH": str(Path(milvine.__file__).parents[1])}
    command = [sys.executable, "-c", script, *arguments]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_embedded_database_loads_nothing_of_an_extra_or_seldom_used(tmp_path: Path) -> None:
    uri = (tmp_path / "data").as_uri()
    printed = said(SCRIPT, uri)
    optional = extras()
    assert {"fastapi", "uvicorn", "prometheus_client", "psutil", "opentelemetry"} <= optional
    seldom = {"milvine.offline.backup", "milvine.server.configuration.config_file", "ruamel"}
    assert set(json.loads(printed)) & (optional | seldom) == set()


def test_the_client_of_a_server_waits_for_no_setting_of_servers() -> None:
    script = (
        "import sys, milvus; print(*({'milvine.config', 'milvine.storage', 'faiss'} &"
        " set(sys.modules)))"
    )
    assert said(script).strip() == ""


def test_the_command_line_itself_does_not_wait_for_numpy() -> None:
    script = (
        "import sys, milvine.cli; print(*({'numpy', 'faiss', 'grpc', 'sqlalchemy'} &"
        " set(sys.modules)))"
    )
    assert said(script).strip() == ""


def test_a_server_that_is_asked_for_nothing_loads_no_kernel_of_a_list() -> None:
    """Types are listed in the REST document, which is made when somebody wants it."""
    script = (
        "import sys, milvine.server.app, milvine.server.rest.app; print(*({"
        "'milvine.index.annoy', 'milvine.index.graphs.nsg', 'milvine.index.inverted.rabitq',"
        "'milvine.index.codes.build', 'milvine.index.recall.calibration',"
        "'milvine.server.metrics.push', 'milvine.server.metrics.recall'} &"
        " set(sys.modules)))"
    )
    assert said(script).split() == []


def test_a_command_imports_no_other() -> None:
    script = (
        "import sys; from typer.testing import CliRunner; import milvine.cli as cli\n"
        "assert CliRunner().invoke(cli.app, ['version']).exit_code == 0\n"
        "print(*(each for each in cli.COMMANDS if f'milvine.cli.{each}' in sys.modules))"
    )
    assert said(script).split() == ["version"]


def test_every_module_with_a_command_of_its_name_is_one() -> None:
    modules = {
        path.stem: path.read_text(encoding="utf-8") for path in Path(cli.__path__[0]).glob("*.py")
    }
    commands = {name for name, source in modules.items() if f"\ndef {name}(" in source}
    for name in cli.COMMANDS:
        others = [each for each in cli.COMMANDS if f"milvine.cli.{each} import" in modules[name]]
        assert others == [], f"{name} imports {others}"
    groups = {name for name, source in modules.items() if f"\n{name} = typer.Typer(" in source}
    assert commands | groups == set(cli.COMMANDS)
    told = CliRunner().invoke(cli.app, ["--help"]).output.partition("Commands:")[2]
    assert re.findall(r"^  (\w+)", told, re.MULTILINE) == list(cli.COMMANDS)


def test_a_misspelt_command_is_told_which_there_is() -> None:
    refused = CliRunner().invoke(cli.app, ["servee"])
    assert refused.exit_code == 2
    assert "Did you mean 'serve'?" in refused.output
