"""The dashboard and the alert rules name only what a server under load exports."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tests.server.metrics.promql import metric_names, selected_labels
from tests.server.metrics.running import Samples, running, work
from tests.server.metrics.test_push import wait_for

DEPLOY = Path(__file__).parents[3] / "deploy"
DASHBOARD = json.loads((DEPLOY / "grafana" / "milvine-dashboard.json").read_text(encoding="utf-8"))
RULES = DEPLOY / "prometheus" / "milvine-alerts.yml"
BY_PROMETHEUS = {"up"}
"""Prometheus makes it for every target."""
BY_SCRAPING = {"instance", "job"}

PANELS_OF_1X = """QPM (queries per minute)|Uptime|Cache utilization|CPU utilization|CPU temperature
Memory usage
Query elapsed|Total file size|Open file descriptors|Network IO|Disk write speed|Disk read speed
Insert per second|Data size"""


def _dashboard_expressions() -> Iterator[str]:
    for panel in DASHBOARD["panels"]:
        yield from (target["expr"] for target in panel.get("targets", []))


def _rules() -> list[dict[str, Any]]:
    return [rule for group in YAML(typ="safe").load(RULES)["groups"] for rule in group["rules"]]


EXPRESSIONS = [*_dashboard_expressions(), *(rule["expr"] for rule in _rules())]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Samples:
    with running(tmp_path_factory.mktemp("data"), recall_sample_share=1.0) as server:
        work(server.call)
        wait_for(lambda: any(name == "milvine_recall_recent" for name, _ in server.scrape()))
        return server.scrape()


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_names_are_exported(exported: Samples, expression: str) -> None:
    names = metric_names(expression)
    assert names, expression
    assert names - BY_PROMETHEUS - {name for name, _ in exported} == set()
    labels = {(name, label) for name, labels in exported for label, _ in labels}
    used = {
        (name, label) for name, label in selected_labels(expression) if label not in BY_SCRAPING
    }
    assert used - labels == set()


def test_the_parser_sees_names() -> None:
    expression = (
        'histogram_quantile(0.9, sum by (a, le) (rate(x_bucket{b="c d", e=~"f"}[5m]))) / 1e6 > y or'
        " z offset 1m"
    )
    assert metric_names(expression) == {"x_bucket", "y", "z"}
    assert selected_labels(expression) == {("x_bucket", "b"), ("x_bucket", "e")}


def test_the_panels_of_1x_are_there() -> None:
    titles = {panel["title"] for panel in DASHBOARD["panels"]}
    assert {
        title for line in PANELS_OF_1X.splitlines() for title in line.split("|")
    } - titles == set()


def test_the_dashboard_is_one() -> None:
    assert DASHBOARD["schemaVersion"] >= 39 and DASHBOARD["id"] is None
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    variables = {variable["name"]: variable["type"] for variable in DASHBOARD["templating"]["list"]}
    assert variables == {"datasource": "datasource", "instance": "query"}
    cells: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        own = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] + place["w"] <= 24 and not own & cells, panel["title"]
        cells |= own
        for target in panel.get("targets", []):
            assert target["datasource"]["uid"] == panel["datasource"]["uid"] == "${datasource}"
            assert 'instance=~"$instance"' in target["expr"]


def test_every_rule_says_what_it_means() -> None:
    for rule in _rules():
        assert rule["annotations"]["summary"] and rule["labels"]["severity"] in (
            "critical",
            "warning",
        )


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_promtool_agrees() -> None:
    subprocess.run(
        ["promtool", "check", "config", str(RULES.parent / "prometheus.yml")],
        check=True,
        capture_output=True,
    )


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_alerts_fire_when_they_should(tmp_path: Path) -> None:
    shutil.copy(RULES, tmp_path)
    shutil.copy(Path(__file__).parent / "alerts.yml", tmp_path)
    ran = subprocess.run(
        ["promtool", "test", "rules", str(tmp_path / "alerts.yml")], capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
