"""Dashboard and alerts ask for metrics, labels and values that exist, and fire when they should: Prometheus' own tool
evaluates them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from captionacc_dagster_tests.observability.conftest import MakeScraper, OpenQueue

pytestmark = [pytest.mark.integration, pytest.mark.observability]

MONITORING = Path(__file__).parents[2] / "deploy" / "monitoring"
METRICS_PAGE = MONITORING.parents[1] / "docs" / "metrics.md"
DASHBOARD: dict[str, Any] = json.loads((MONITORING / "grafana-dashboard.json").read_text(encoding="utf-8"))
RULES: list[dict[str, Any]] = [
    rule for group in yaml.safe_load((MONITORING / "alerts.yml").read_text())["groups"] for rule in group["rules"]
]
# What Prometheus and its service discovery add to every series.
TARGET_LABELS = {"instance", "job", "pod"}


def dashboard_expressions() -> dict[str, str]:
    found = {
        f"{panel['title']} {target['refId']}": target["expr"]
        for panel in DASHBOARD["panels"]
        for target in panel.get("targets", ())
    }
    assert len(found) > 30
    return found


def as_prometheus_sees_it(expression: str) -> str:
    """Fill in what Grafana does."""
    return expression.replace("$__rate_interval", "1m").replace("$flow", ".*")


EXPRESSIONS = {
    **{name: as_prometheus_sees_it(expression) for name, expression in dashboard_expressions().items()},
    **{rule["alert"]: rule["expr"] for rule in RULES},
}


def listed_metrics() -> dict[str, set[str]]:
    """The samples and labels that the page lists; a test compares that page with what is shown."""
    rows = re.findall(r"^\| `(captionacc_\w+)` \| (.*?) \| (.*?) \|", METRICS_PAGE.read_text(encoding="utf-8"), re.M)
    found: dict[str, set[str]] = {}
    for name, cell, text in rows:
        labels = set(re.findall(r"`(\w+)`", cell))
        if text.startswith("histogram"):
            found |= {f"{name}_bucket": labels | {"le"}, f"{name}_sum": labels, f"{name}_count": labels}
        else:
            found[name] = labels
    return found


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_an_expression_asks_for_what_exists(name: str) -> None:
    expression, listed = EXPRESSIONS[name], listed_metrics()
    asked = set(re.findall(r"\bcaptionacc_\w+", expression))
    assert asked or "process_" in expression
    assert asked <= listed.keys()
    known = set().union(*(listed[metric] for metric in asked), TARGET_LABELS)
    for metric, selector in re.findall(r"\b(captionacc_\w+)\{(.*?)\}", expression, re.S):
        assert set(re.findall(r"(\w+)\s*=~?\s*\"", selector)) <= listed[metric] | TARGET_LABELS, metric
    for names in re.findall(r"\b(?:by|without) \((.*?)\)", expression):
        assert {label.strip() for label in names.split(",")} <= known
    legend = next(
        (
            target["legendFormat"]
            for panel in DASHBOARD["panels"]
            for target in panel.get("targets", ())
            if f"{panel['title']} {target['refId']}" == name and "legendFormat" in target
        ),
        "",
    )
    assert set(re.findall(r"\{\{(\w+)\}\}", legend)) <= known


def test_the_values_that_are_asked_for_exist(make_scraper: MakeScraper, open_queue: OpenQueue) -> None:
    with open_queue():
        seen = make_scraper().scrape()
    values: dict[tuple[str, str], set[str]] = {}
    for family in text_string_to_metric_families(seen.text):
        for sample in family.samples:
            for label, value in sample.labels.items():
                values.setdefault((sample.name, label), set()).add(value)
    # Routes and daemons are there once somebody came.
    later = {("captionacc_http_request_duration_seconds_bucket", label) for label in ("route", "method")}
    later.add(("captionacc_daemon_heartbeat_age_seconds", "daemon"))
    checked = 0
    for name, expression in EXPRESSIONS.items():
        for metric, selector in re.findall(r"\b(captionacc_\w+)\{(.*?)\}", expression, re.S):
            for label, value in re.findall(r"(\w+)\s*=~?\s*\"(.*?)\"", selector):
                if value != ".*" and (metric, label) not in later:
                    assert set(value.split("|")) <= values[metric, label], name
                    checked += 1
    assert checked > 15


def test_every_metric_is_on_the_dashboard() -> None:
    shown = set(re.findall(r"\bcaptionacc_\w+", " ".join(dashboard_expressions().values())))
    families = {re.sub(r"_(bucket|sum|count)$", "", name) for name in listed_metrics()}
    assert families - {re.sub(r"_(bucket|sum|count)$", "", name) for name in shown} == set()


def test_the_dashboard_is_one_that_grafana_takes() -> None:
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24
        taken |= cells
    variables = {variable["name"] for variable in DASHBOARD["templating"]["list"]}
    used = set(re.findall(r"\$\{?(\w+)", json.dumps(DASHBOARD))) - {"__rate_interval", "__all"}
    assert used == variables


def test_prometheus_takes_every_expression(promtool: str, tmp_path: Path) -> None:
    rules = [{"record": f"panel:{number}", "expr": text} for number, text in enumerate(EXPRESSIONS.values())]
    path = tmp_path / "rules.yml"
    path.write_text(yaml.safe_dump({"groups": [{"name": "all", "rules": rules}]}))
    done = subprocess.run([promtool, "check", "rules", str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"{len(rules)} rules found" in done.stdout


def test_the_configuration_is_valid(promtool: str) -> None:
    for arguments in (("config", "--syntax-only", "prometheus.yml"), ("rules", "alerts.yml")):
        done = subprocess.run(
            [promtool, "check", *arguments], cwd=MONITORING, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr


def test_the_alerts_fire_when_they_should(promtool: str) -> None:
    done = subprocess.run(
        [promtool, "test", "rules", "alerts.test.yml"], cwd=MONITORING, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_is_tested_both_ways_and_described() -> None:
    tests = yaml.safe_load((MONITORING / "alerts.test.yml").read_text())["tests"]
    cases = [case for test in tests for case in test["alert_rule_test"]]
    fired = {case["alertname"] for case in cases if case["exp_alerts"]}
    silent = {case["alertname"] for case in cases if not case["exp_alerts"]}
    names = {rule["alert"] for rule in RULES}
    assert fired == silent == names
    page = METRICS_PAGE.read_text(encoding="utf-8")
    assert {name for line in page.splitlines() for name in re.findall(r"`(Captionacc\w+)`", line)} == names
    assert all({"summary", "description"} == rule["annotations"].keys() for rule in RULES)


def test_a_number_that_is_over_the_limit_fails_the_test_of_the_alerts(promtool: str, tmp_path: Path) -> None:
    """That test can fail: with another limit it does."""
    folder = Path(shutil.copytree(MONITORING, tmp_path / "monitoring"))
    rules = folder / "alerts.yml"
    rules.write_text(rules.read_text().replace("> 900", "> 9000"))
    done = subprocess.run([promtool, "test", "rules", "alerts.test.yml"], cwd=folder, capture_output=True, check=False)
    assert done.returncode != 0
