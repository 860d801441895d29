"""docs/rest.md: its curl lines answer what it says, its paths are those of the application."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from tests.server.rest.asking import Asking

PAGE = (Path(__file__).parents[3] / "docs" / "rest.md").read_text(encoding="utf-8")
CONSOLE = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_the_curl_lines(rest: Asking) -> None:
    block = CONSOLE.findall(PAGE)[0]
    steps = [step.split("\n", 1) for step in block.split("$ curl ")[1:]]
    assert len(steps) > 5
    for line, answer in steps:
        words = shlex.split(line)
        options = {
            words[at]: words[at + 1] for at in range(len(words)) if words[at] in ("-X", "-d")
        }
        path = next(word for word in words if word.startswith("127.0.0.1:19121")).removeprefix(
            "127.0.0.1:19121"
        )
        reply = rest.client.request(options.get("-X", "GET"), path, content=options.get("-d"))
        assert reply.text == answer.strip(), line


def test_the_paths(rest: Asking) -> None:
    known = set(rest.client.get("/openapi.json").json()["paths"])
    shown = set(re.findall(r"^\| (`/.*?) \| (?:GET|PUT)", PAGE, re.MULTILINE))
    for path in (path for cell in shown for path in re.findall(r"`(/[^`]*)`", cell)):
        assert path.replace("{name}", "{collection_name}") in known, path
