"""The pages of docs/: examples print what the page says, tables are those of the code, links lead
somewhere.
"""

from __future__ import annotations

import doctest
import re
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import milvus
from milvine import limits
from milvine.errors import ErrorCode
from milvus import AsyncMilvus, IndexType, MetricType, Milvus, Status

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
EXAMPLES = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
WITH_EXAMPLES = [page for page in PAGES if EXAMPLES.search(page.read_text(encoding="utf-8"))]


def text_of(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


@pytest.fixture
def database(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Milvus]:
    """Whatever address a page names, it gets an embedded database."""
    uri = (tmp_path / "data").as_uri()
    monkeypatch.setattr(milvus, "Milvus", lambda *args, **kwargs: Milvus(uri=uri))
    monkeypatch.setattr(milvus, "AsyncMilvus", lambda *args, **kwargs: AsyncMilvus(uri=uri))
    client = Milvus(uri=uri)
    yield client
    client.close()


@pytest.mark.parametrize("page", WITH_EXAMPLES, ids=lambda page: page.stem)
def test_examples(page: Path, database: Milvus) -> None:
    blocks = EXAMPLES.findall(page.read_text(encoding="utf-8"))
    assert all(block.startswith(">>> ") for block in blocks), "an example that would not run"
    names: dict[str, Any] = {
        "milvus": database,
        "np": np,
        "IndexType": IndexType,
        "MetricType": MetricType,
        "Status": Status,
    }
    test = doctest.DocTestParser().get_doctest("\n".join(blocks), names, page.name, str(page), 0)
    told: list[str] = []
    outcome = doctest.DocTestRunner(verbose=False).run(test, out=told.append)
    assert outcome.attempted and not outcome.failed, "".join(told)


def test_the_tasks_have_examples() -> None:
    tasks = {
        "connect",
        "collections",
        "partitions",
        "indexes",
        "insert-and-delete",
        "flush-and-compact",
        "search",
    }
    assert tasks | {"limits", "errors"} <= {page.stem for page in WITH_EXAMPLES}


def test_tables_of_index_parameters_are_those_of_the_code() -> None:
    script = runpy.run_path(str(ROOT / "scripts" / "index_tables.py"))
    assert text_of("indexes.md") == script["page"](text_of("indexes.md")), (
        "run scripts/index_tables.py"
    )
    assert "| HNSW | `ef` | `top_k` | 32768 | required |" in text_of("indexes.md")
    assert all(f"\n| {spec.name} | " in script["tables"]() for spec in script["SPECS"])


def test_limits_are_those_of_the_code() -> None:
    page = text_of("limits.md")
    for value in (
        limits.DIMENSION_MAX,
        limits.INDEX_FILE_SIZE_MAX_MB,
        limits.NAME_BYTES_MAX,
        limits.PARTITIONS_MAX,
        limits.INSERT_BYTES_MAX // limits.MIB,
        limits.TOPK_MAX,
        limits.RESULT_BYTES_MAX // limits.MIB,
        limits.GET_IDS_MAX,
        limits.REQUEST_BYTES_MAX // limits.MIB,
    ):
        assert f" {value:,} " in page or f" {value:,};" in page or f" {value:,}," in page, value


def test_codes_are_those_of_the_code() -> None:
    rows = re.findall(r"^\| (\d+) \| `([A-Z_]+)` \|", text_of("errors.md"), re.MULTILINE)
    assert len(rows) > 10
    assert {(int(code), name) for code, name in rows} <= {
        (code.value, code.name) for code in ErrorCode
    }


def anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize(
    "page",
    [*PAGES, *(ROOT / name for name in ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"))],
    ids=lambda page: page.stem,
)
def test_links(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?:)([^)\s]+)\)", page.read_text(encoding="utf-8")):
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), target


def test_the_index_names_every_page() -> None:
    index = text_of("index.md")
    missing = [
        page.name
        for page in PAGES
        if page.name != "index.md" and f"({page.relative_to(DOCS)})" not in index
    ]
    assert missing == []
