"""The memory plan as `milvine config show` prints it and as the page tells it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from milvine.cli import app
from milvine.cli.configuration import configure, flag
from milvine.cli.memory import plan_as_object, print_plan, shown_bytes
from milvine.config import KEYS, Configuration
from milvine.limits import MIB
from milvine.memory_plan import ANY_BYTES, PARTS, PROGRAM_BYTES, Part, plan

PAGE = Path(__file__).parents[2] / "docs" / "configuration.md"
LIMITS = (200 * MIB, 1 << 30, 4 << 30)


def configured(limit: int, **given: str) -> Configuration:
    flags = {name: flag("--set", value) for name, value in given.items()}
    return configure(flags, environment={}, memory=limit)


def printed(limit: int, capsys: pytest.CaptureFixture[str], **given: str) -> list[list[str]]:
    """The lines for people, each as its words."""
    found = configured(limit, **given)
    print_plan(plan(limit, found.settings), found)
    return [line.split() for line in capsys.readouterr().out.splitlines()]


def test_it_says_what_each_part_has_and_who_decided(capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed(1 << 30, capsys, **{"cache.cache_size": "100MB"})
    assert [line[0] for line in lines[1:-1]] == [part.name for part in PARTS]
    rows = {line[0]: line[1:] for line in lines}
    assert rows["insert_buffer"][:6] == ["154MB", "1x", "1/6", "of", "the", "rest"]
    assert rows["insert_buffer"][6] == "memory"
    assert rows["answers"][:2] == ["57MB", "4x"] and rows["flush_tail"][1] == "inside"
    assert rows["files"][:2] == ["100MB", "pages"] and rows["files"][6] == "cache.cache_size"
    assert rows["mapped_files"][:5] == ["512MB", "pages", "1/2", "of", "all"]
    assert rows["prefetch"][5] == "default"
    assert " ".join(lines[-1]).startswith(
        "This process may take 1GB. The program has 100MB; with every part full, "
    )


def test_files_that_are_read_into_memory_are_held(capsys: pytest.CaptureFixture[str]) -> None:
    rows = {line[0]: line[1:] for line in printed(1 << 30, capsys, **{"storage.mmap": "false"})}
    assert rows["files"][:3] == ["462MB", "1x", "1/2"]
    assert rows["insert_buffer"][:3] == ["77MB", "1x", "1/12"]


def test_where_the_system_does_not_say(capsys: pytest.CaptureFixture[str]) -> None:
    lines = printed(0, capsys)
    assert {line[0]: line[1] for line in lines}["tables"] == "any"
    assert lines[-1][:5] == ["The", "system", "does", "not", "say"]


def test_for_programs() -> None:
    found = configured(1 << 30, **{"cache.cache_size": "100MB"})
    made = plan(1 << 30, found.settings)
    told = json.loads(json.dumps(plan_as_object(made, found)))
    assert (told["limit"], told["program"], told["most"]) == (1 << 30, PROGRAM_BYTES, made.most)
    assert told["parts"]["requests"] == {
        "bytes": made.requests,
        "held": 2,
        "share": "1/6 of the rest",
        "counts": True,
        "decided_by": "memory",
        "setting": "network.request_bytes_max",
        "purpose": "requests in flight; as many bytes may wait",
    }
    assert told["parts"]["files"]["decided_by"] == "cache.cache_size"
    nobody = configured(0)
    told = plan_as_object(plan(0, nobody.settings), nobody)
    assert told["most"] is None and told["parts"]["tables"]["bytes"] is None  # type: ignore[index]


def test_the_command_prints_that_of_this_process() -> None:
    shown = CliRunner().invoke(app, ["config", "show"]).stdout
    assert "\n\nMEMORY " in shown and "This process may take" in shown
    told = json.loads(CliRunner().invoke(app, ["config", "show", "--json"]).stdout)["memory_plan"]
    assert set(told["parts"]) == {part.name for part in PARTS}


def row(part: Part) -> str:
    """Of the table in the page."""
    sizes = [getattr(plan(limit, configured(limit).settings), part.name) for limit in LIMITS]
    setting = f"`{KEYS[part.setting][0]}`" if part.setting else ""
    most = "" if part.most >= ANY_BYTES else shown_bytes(part.most)
    held = f"{part.held}" if part.counts() else ""
    cells = (f"`{part.name}`", part.purpose, setting, part.rule(), most, held)
    written = (f" {cell} " if cell else " " for cell in (*cells, *map(shown_bytes, sizes)))
    return f"|{'|'.join(written)}|"


@pytest.mark.parametrize("part", PARTS, ids=lambda part: part.name)
def test_the_page_has_every_part(part: Part) -> None:
    assert row(part) in PAGE.read_text(encoding="utf-8")
