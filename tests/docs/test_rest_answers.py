"""docs/rest-answers.md: a served database answers every endpoint as the specification allows and as
the page shows.
"""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import httpx
import pytest

pytest.importorskip("fastapi")

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "rest-answers.md").read_text(encoding="utf-8")
METHODS = {"get", "post", "put", "delete"}


def test_the_page_is_what_a_server_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "src"))
    script = runpy.run_path(str(ROOT / "scripts" / "rest_answers.py"))
    with (
        script["serving"]() as address,
        httpx.Client(base_url=address, timeout=60, trust_env=False) as client,
    ):
        text, wrong = script["page"](client)
        paths = client.get("/openapi.json").json()["paths"]
    assert wrong == []
    assert text == PAGE, "run scripts/rest_answers.py"
    assert not (missing := set(endpoints(paths)) - set(shown())), missing


def endpoints(paths: dict[str, dict[str, object]]) -> list[tuple[str, str]]:
    return [
        (verb.upper(), shape(path))
        for path, verbs in paths.items()
        for verb in METHODS & set(verbs)
    ]


def shown() -> list[tuple[str, str]]:
    return [
        (verb, shape(path))
        for verb, path in re.findall(r"^\| `([A-Z]+) ([^`?]*)[^`]*`", PAGE, re.MULTILINE)
    ]


def shape(path: str) -> str:
    """Without the names in it."""
    path = re.sub(r"^/collections/[^/]+", "/collections/*", path)
    path = re.sub(r"/segments/[^/]+/", "/segments/*/", path)
    return (
        path
        if path in ("/system/task", "/system/config")
        else re.sub(r"^/system/[^/]+", "/system/*", path)
    )
