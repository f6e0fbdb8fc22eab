"""Alerts and dashboards: they name what exists, fire when they should, and each alert has its paragraph."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry

from pipeline.domain.audit import Role
from pipeline.gauges import LaneGauges
from pipeline.metrics import Metrics
from pipeline.settings import load
from pipeline.web.metrics import WebMetrics
from tests.docs.test_containers import COMPOSE, environment, role_of, services
from tests.docs.test_kubernetes import configured, named, pods

ROOT = Path(__file__).parents[2]
PROMETHEUS, GRAFANA = ROOT / "deploy" / "prometheus", ROOT / "deploy" / "grafana"
TESTS = sorted(PROMETHEUS.glob("tests/*.yml"))
DASHBOARDS = sorted(GRAFANA.glob("*.json"))
ALERTS = [
    "LaneStuck",
    "DueLate",
    "LaneHeldByOutage",
    "Unconfirmed",
    "DeadLetters",
    "OrderNotInForce",
    "CallbacksRefused",
    "CallbacksSilent",
    "BounceRate",
    "ComplaintRate",
    "PendingOptOuts",
    "WorkerRestarts",
    "KafkaLag",
    "CopyLag",
]
SCRAPES = ("prometheus.yml", "kubernetes.yml")
WORKER_PORT = 6066
"""faust's default."""
PROMETHEUS_OWN = {"up"}
SUFFIXES = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum"), "gauge": ("",)}
WORDS = {
    "sum",
    "max",
    "min",
    "by",
    "on",
    "and",
    "or",
    "unless",
    "offset",
    "time",
    "rate",
    "increase",
    "changes",
    "vector",
    "histogram_quantile",
    "max_over_time",
} | {"min_over_time", "label_values"}
"""What an expression has beside names of metrics."""


def names_of(registry: CollectorRegistry) -> set[str]:
    return {family.name + end for family in registry.collect() for end in SUFFIXES[family.type]}


def every_name() -> set[str]:
    metrics = Metrics()
    metrics.watch_orders(lambda: 0, lambda: 0.0, dict)
    metrics.watch_inputs(dict)
    metrics.watch_lane("sms", "a", lambda: LaneGauges(0.0, 0.0, is_open=True))
    of_web = WebMetrics()
    of_web.watch_copy(SimpleNamespace(lag_records=0, lag_s=0.0))
    return names_of(metrics.registry) | names_of(of_web.registry)


def groups() -> list[dict[str, Any]]:
    return yaml.safe_load((PROMETHEUS / "alerts.yml").read_text())["groups"]


def alerts() -> dict[str, dict[str, Any]]:
    return {rule["alert"]: rule for group in groups() for rule in group["rules"] if "alert" in rule}


def recorded() -> set[str]:
    return {rule["record"] for group in groups() for rule in group["rules"] if "record" in rule}


def named_in(expression: str) -> set[str]:
    """Return the names of metrics in an expression: what is neither a word, a label, a text nor a time."""
    bare = re.sub(r'"[^"]*"|\{[^}]*\}|\[[^]]*\]|\b(?:by|on) \([^)]*\)', " ", expression)
    bare = re.sub(r"label_values\((.*), \w+\)", r"\1", bare)
    return set(re.findall(r"(?<![\w:.])[a-z_][\w:]*", bare)) - WORDS


def expressions() -> dict[str, str]:
    found = {rule.get("alert") or rule["record"]: rule["expr"] for group in groups() for rule in group["rules"]}
    for path in DASHBOARDS:
        board = json.loads(path.read_text())
        for panel in board["panels"]:
            found |= {f"{path.stem}: {panel['title']} {each['refId']}": each["expr"] for each in panel["targets"]}
        found |= {f"{path.stem}: ${each['name']}": each["definition"] for each in board["templating"]["list"]}
    return found


def promtool(*words: str | Path) -> None:
    found = shutil.which("promtool")
    assert found, "promtool is missing: apt-get install prometheus"
    done = subprocess.run([found, *words], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_rules_are_right_and_so_is_the_configuration_of_the_containers(tmp_path: Path):
    promtool("check", "rules", PROMETHEUS / "alerts.yml")
    (tmp_path / "alerts.yml").write_text((PROMETHEUS / "alerts.yml").read_text())
    (tmp_path / "viewer-token").write_text("a token")
    for name in SCRAPES:
        shown = (PROMETHEUS / name).read_text().replace("/etc/prometheus/", f"{tmp_path}/")
        # Debian's promtool was built without the discovery of Kubernetes; `test_prometheus_of_kubernetes_…` looks at it.
        shown = re.sub(r"kubernetes_sd_configs: .*", "static_configs: [{ targets: [a-pod] }]", shown)
        (tmp_path / name).write_text(shown)
        promtool("check", "config", tmp_path / name)


@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.stem)
def test_each_alert_fires_when_it_should_and_not_before(path: Path):
    promtool("test", "rules", path)


def test_every_alert_is_there_and_has_a_test_in_which_it_fires():
    assert list(alerts()) == ALERTS
    fired = {
        case["alertname"]
        for path in TESTS
        for test in yaml.safe_load(path.read_text())["tests"]
        for case in test["alert_rule_test"]
        if case["exp_alerts"]
    }
    assert fired == set(ALERTS)


def test_every_alert_has_its_paragraph():
    headings = re.findall(r"^### (\w+)$", (ROOT / "docs" / "operations.md").read_text(), re.MULTILINE)
    assert [each for each in headings if each in ALERTS] == ALERTS
    for name, rule in alerts().items():
        assert rule["annotations"]["runbook_url"] == f"docs/operations.md#{name.lower()}"
        assert rule["labels"]["severity"] in {"page", "ticket"}


def test_rules_and_dashboards_name_only_metrics_that_exist():
    known = every_name() | PROMETHEUS_OWN | recorded()
    assert {name: unknown for name, each in expressions().items() if (unknown := named_in(each) - known)} == {}


def test_every_metric_is_explained():
    told = "".join(path.read_text() for path in (ROOT / "docs").glob("*.md"))
    bare = {re.sub(r"_(bucket|count|sum)$", "", name) for name in every_name()}
    assert {name for name in bare if name.startswith("pipeline_") and name not in told} == set()


def test_a_name_that_does_not_exist_would_be_seen():
    assert named_in('sum by (channel) (rate(pipeline_a_total{x=~"b|c"}[5m] offset 1d)) > 0.5 or time() - up') == {
        "pipeline_a_total",
        "up",
    }


def test_the_dashboards_are_those_of_the_interface_and_ask_the_provisioned_source():
    boards = [json.loads(path.read_text()) for path in DASHBOARDS]
    assert {board["title"] for board in boards} == {"Overview", "Lanes", "Deliveries", "Engine"}
    assert len({board["uid"] for board in boards}) == len(boards)
    [source] = yaml.safe_load((GRAFANA / "provisioning/datasources/prometheus.yml").read_text())["datasources"]
    for board in boards:
        ids = [panel["id"] for panel in board["panels"]]
        assert len(set(ids)) == len(ids)
        assert all(panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24 for panel in board["panels"])
        for panel in board["panels"]:
            assert {each["datasource"]["uid"] for each in panel["targets"]} == {source["uid"]}


def test_the_containers_get_rules_dashboards_and_their_sources():
    found = services("docker-compose.yml", {})
    mounted = dict(volume.split(":")[:2] for name in ("prometheus", "grafana") for volume in found[name]["volumes"])
    assert all((ROOT / each).exists() for each in mounted)
    [provider] = yaml.safe_load((GRAFANA / "provisioning/dashboards/pipeline.yml").read_text())["providers"]
    assert mounted["./deploy/grafana"] == provider["options"]["path"]
    assert mounted["./deploy/grafana/provisioning"] == "/etc/grafana/provisioning"
    assert mounted["./deploy/prometheus/alerts.yml"] == "/etc/prometheus/alerts.yml"


def jobs_of(name: str) -> list[dict[str, Any]]:
    jobs = yaml.safe_load((PROMETHEUS / name).read_text())["scrape_configs"]
    assert all(job["job_name"].startswith("pipeline") for job in jobs), "WorkerRestarts looks for this name"
    return jobs


def test_prometheus_of_the_containers_scrapes_workers_and_web_processes_as_a_viewer():
    web = load(environment(services("docker-compose.yml", {})["web"], {}), COMPOSE).web
    worker, of_web = jobs_of("prometheus.yml")
    [place], [of_pages] = worker["dns_sd_configs"], of_web["dns_sd_configs"]
    assert (place["names"], place["port"]) == (["worker"], WORKER_PORT)
    assert (of_pages["names"], of_pages["port"]) == (["web"], web.listen.port)
    assert not web.listen.is_loopback
    assert role_of(web, of_web["authorization"]["credentials"]) is Role.VIEWER
    assert "authorization" not in worker


def test_prometheus_of_kubernetes_finds_the_ports_of_its_manifests():
    user = next(each for each in configured().web.users if each.name == "prometheus")
    assert user.role is Role.VIEWER
    found = {}
    for job in jobs_of("kubernetes.yml"):
        [relabel], [where] = job["relabel_configs"], job["kubernetes_sd_configs"]
        name, port = relabel["regex"].split(";")
        [pod] = [each for each in pods() if each["metadata"]["labels"]["app.kubernetes.io/name"] == name]
        [container] = pod["spec"]["containers"]
        found[job["job_name"]] = {each["name"]: each["containerPort"] for each in container["ports"]}[port]
        assert where["namespaces"]["names"] == [named("Namespace", "touch-pipeline")["metadata"]["name"]]
    assert found == {"pipeline": WORKER_PORT, "pipeline-web": configured().web.listen.port}
