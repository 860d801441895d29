"""The four commands: what they print and how they end."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from milvine.cli import app
from milvine.testing.by_name import DatabaseByName
from milvine.testing.offline import QUIET, differences


@pytest.fixture
def run():
    def call(*arguments, code=0):
        result = CliRunner().invoke(app, [str(each) for each in arguments])
        assert result.exit_code == code, result.output
        return result.output

    return call


def test_verify_and_repair(sample, run):
    root, model = sample
    assert "clean" in run("verify", root)
    assert "nothing to repair" in run("repair", root)
    (root / "FORMAT").unlink()
    for path in root.glob("catalog.sqlite*"):
        path.unlink()
    told = run("verify", root, code=1)
    assert "DAMAGE: catalog.sqlite: the catalog is missing" in told and "DAMAGE: FORMAT" in told
    assert json.loads(run("verify", root, "--json", "--rate", 500, code=1))["clean"] is False
    assert "plan: rebuild the catalog: 4 collections" in run("repair", root, code=1)
    assert not (root / "catalog.sqlite").exists()
    assert "done: rebuild the catalog" in run("repair", root, "--yes")
    assert json.loads(run("verify", root, "--json", "--no-indexes"))["clean"] is True
    with DatabaseByName.open(root, QUIET) as db:
        assert differences(db, model) == []


def test_what_cannot_be_looked_at(tmp_path, run):
    assert "holds no Milvine database" in run("verify", tmp_path, code=2)
    assert "holds no Milvine database" in run("repair", tmp_path / "none", code=2)


def test_backup_and_restore(sample, tmp_path, run):
    root, model = sample
    assert "4 collections" in run("backup", root, tmp_path / "kept")
    second = json.loads(run("backup", root, tmp_path / "kept", "--json"))
    assert second["new_bytes"] < sum(file["bytes"] for file in second["files"])
    assert len(run("backup", "--list", tmp_path / "kept").splitlines()) == 2
    assert len(json.loads(run("backup", "--list", tmp_path / "kept", "--json"))) == 2
    assert "name the folder" in run("backup", root, code=2)
    assert "4 collections as of" in run("restore", tmp_path / "kept", tmp_path / "again")
    assert "not empty" in run("restore", tmp_path / "kept", tmp_path / "again", code=1)
    with DatabaseByName.open(tmp_path / "again", QUIET) as db:
        assert differences(db, model) == []
