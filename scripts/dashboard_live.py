"""Runs Prometheus against a server under load and asks it every expression of the dashboard and of
the alert rules.

    python scripts/dashboard_live.py    (needs `prometheus`, the extra `server`, about a minute)

Each must return data at some moment. A rule is asked without its bound, as no alert should fire.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from socket import socket
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

import numpy as np
from ruamel.yaml import YAML

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "src"))

from milvine.config import Settings  # noqa: E402
from milvine.server.app import Server  # noqa: E402
from milvus import IndexType, MetricType, Milvus  # noqa: E402

PATIENCE = 120.0
RULES = ROOT / "deploy" / "prometheus" / "milvine-alerts.yml"
DASHBOARD = ROOT / "deploy" / "grafana" / "milvine-dashboard.json"


def free_port() -> int:
    with socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def expressions() -> Iterator[tuple[str, str]]:
    """(where, PromQL) with the dashboard's variables filled in and without the bounds of alerts."""
    for panel in json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]:
        for target in panel.get("targets", []):
            filled = target["expr"].replace("$instance", ".*").replace("$__rate_interval", "15s")
            yield panel["title"], filled
    for group in YAML(typ="safe").load(RULES)["groups"]:
        for rule in group["rules"]:
            for part in re.split(r"\bor\b", rule["expr"]):
                yield rule["alert"], re.sub(r"\s*(==|>=|>|<)\s*[0-9.]+\s*$", "", part.strip())


@contextmanager
def served(folder: Path, http_port: int) -> Iterator[Milvus]:
    settings = Settings(
        recall_sample_share=0.5,
        auto_flush_tail_age=2.0,
        build_threads=1,
        port=0,
        http_port=http_port,
    )
    server = Server.start(folder, settings)
    client = Milvus(host="127.0.0.1", port=str(server.port))
    try:
        yield client
    finally:
        client.close()
        server.stop()


def load(client: Milvus, ending: threading.Event) -> None:
    """Inserts, deletes, searches, builds, merges, preloads and refusals, over and over."""
    random = np.random.default_rng(3)
    client.create_collection(
        {
            "collection_name": "live",
            "dimension": 64,
            "index_file_size": 1024,
            "metric_type": MetricType.L2,
        }
    )
    while not ending.is_set():
        rows = random.random((20_000, 64), dtype=np.float32)
        status, ids = client.insert("live", rows)
        assert status.OK(), status
        assert client.create_index("live", IndexType.HNSW, {"M": 16, "efConstruction": 200}).OK()
        client.insert("live", rows[:200])
        client.delete_entity_by_id("live", list(ids[:3000]))
        client.load_collection("live")
        for start in range(0, 400, 4):
            client.search("live", 10, rows[start : start + 4], params={"ef": 32})
        client.count_entities("nothing")
        client.compact("live")
        client.drop_index("live")


@contextmanager
def prometheus(folder: Path, target: int) -> Iterator[str]:
    port = free_port()
    config = {
        "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
        "rule_files": [str(RULES)],
        "scrape_configs": [
            {"job_name": "milvine", "static_configs": [{"targets": [f"127.0.0.1:{target}"]}]}
        ],
    }
    (folder / "prometheus.yml").write_text(json.dumps(config), encoding="utf-8")
    arguments = [
        "prometheus",
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'tsdb'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=warn",
    ]
    with subprocess.Popen(arguments) as process:
        try:
            yield f"http://127.0.0.1:{port}/api/v1"
        finally:
            process.terminate()


def ask(api: str, path: str, **query: str) -> Any:
    with urlopen(f"{api}/{path}?{urlencode(query)}", timeout=10) as answer:
        return json.load(answer)["data"]


def until_answered(api: str) -> dict[tuple[str, str], int]:
    """Series by expression; what never returned any has 0."""
    wanted = dict.fromkeys(expressions(), 0)
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline and not all(wanted.values()):
        time.sleep(1)
        for (where, expression), series in wanted.items():
            if series:
                continue
            try:
                wanted[where, expression] = len(ask(api, "query", query=expression)["result"])
            except ConnectionError:
                break  # it is still starting
            except OSError as error:
                if "refused" not in str(error):
                    raise
                break
    return wanted


def main() -> int:
    ending = threading.Event()
    with tempfile.TemporaryDirectory() as name:
        folder, port = Path(name), free_port()
        with served(folder / "data", port) as client, prometheus(folder, port) as api:
            loader = threading.Thread(target=load, args=(client, ending))
            loader.start()
            try:
                found = until_answered(api)
                rules = [rule for group in ask(api, "rules")["groups"] for rule in group["rules"]]
                target = ask(api, "targets")["activeTargets"][0]
            finally:
                ending.set()
                loader.join()
    for (where, expression), series in found.items():
        print(f"{series:4d}  {where}: {expression}")
    healthy = [rule["health"] for rule in rules].count("ok")
    print(
        f"{sum(map(bool, found.values()))} of {len(found)} expressions returned data; {healthy} of"
        f" {len(rules)} rules"
    )
    print(
        f"evaluate; the target is {target['health']}, its last scrape took"
        f" {target['lastScrapeDuration'] * 1e3:.0f} ms"
    )
    print(
        "firing:",
        sorted({rule["name"] for rule in rules if rule["state"] == "firing"}) or "nothing",
    )
    return 0 if all(found.values()) and healthy == len(rules) and target["health"] == "up" else 1


if __name__ == "__main__":
    sys.exit(main())
