"""The page about monitoring lists every metric, and no other."""

from __future__ import annotations

import re
from pathlib import Path

from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from tests.server.metrics.running import running, work

PAGE = Path(__file__).parents[3] / "docs" / "operations" / "monitoring.md"
NOT_OURS = ("process_",)


def test_every_metric_is_on_the_page_and_no_other(tmp_path: Path) -> None:
    with running(tmp_path, recall_sample_share=1.0) as server:
        work(server.call)
        text = generate_latest(server.metrics.registry).decode()
    families = [f for f in text_string_to_metric_families(text) if not f.name.startswith(NOT_OURS)]
    names = {
        f"{f.name}_total" if f.type == "counter" else f.name.removesuffix("_info") for f in families
    }
    names = {"milvine_info" if name == "milvine" else name for name in names}
    rows = re.findall(r"^\| (`[^|]*) \|", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    told = {
        name
        for row in rows
        for name in re.findall(r"`([A-Za-z_]+)`", row)
        if "_" in name or name == "add_vectors"
    }
    assert names - told == set()
    assert told - names == set()
