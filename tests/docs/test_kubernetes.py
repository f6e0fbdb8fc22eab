"""The manifests of deploy/kubernetes: valid for Kubernetes, and confined and stopped as the product asks for."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from pipeline.settings import Settings, load
from tests.docs.test_containers import dockerfile, services

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "kubernetes"
VERSIONS = ("1.29", "1.37")
"""The oldest and the newest Kubernetes that the manifests are held to."""


def manifests() -> list[dict[str, Any]]:
    return [each for path in sorted(FOLDER.glob("*.yaml")) for each in yaml.safe_load_all(path.read_text())]


def named(kind: str, name: str) -> dict[str, Any]:
    [found] = [each for each in manifests() if (each["kind"], each["metadata"]["name"]) == (kind, name)]
    return found


def pods() -> list[dict[str, Any]]:
    return [each["spec"]["template"] for each in manifests() if each["kind"] in {"StatefulSet", "Deployment"}]


WORKLOADS = [("StatefulSet", "worker"), ("Deployment", "web")]
each_workload = pytest.mark.parametrize(("kind", "name"), WORKLOADS)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("manifest", manifests(), ids=lambda each: f"{each['kind']} {each['metadata']['name']}")
def test_a_manifest_is_what_kubernetes_takes_and_has_no_key_it_does_not_know(manifest: dict[str, Any], version: str):
    kubernetes_validate.validate(manifest, version, strict=True)


def test_a_misspelt_key_would_be_seen():
    worker = named("StatefulSet", "worker")
    worker["spec"]["template"]["spec"]["terminationGracePeriod"] = 60
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(worker, VERSIONS[-1], strict=True)


@each_workload
def test_a_pod_is_confined_as_a_container_is(kind: str, name: str):
    spec = named(kind, name)["spec"]["template"]["spec"]
    user = next(line for line in dockerfile() if line.startswith("USER ")).split()[1]
    assert f"{spec['securityContext']['runAsUser']}:{spec['securityContext']['runAsGroup']}" == user
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["automountServiceAccountToken"] is False
    ours = services("docker-compose.yml", {})["worker"]
    for container in spec["containers"]:
        context = container["securityContext"]
        assert context["readOnlyRootFilesystem"] is ours["read_only"]
        assert context["capabilities"]["drop"] == ours["cap_drop"]
        assert context["allowPrivilegeEscalation"] is False
        assert "memory" in container["resources"]["limits"]


@each_workload
def test_what_is_mounted_is_there_and_what_is_asked_is_a_port(kind: str, name: str):
    workload = named(kind, name)["spec"]
    spec = workload["template"]["spec"]
    volumes = {each["name"] for each in spec["volumes"]}
    volumes |= {each["metadata"]["name"] for each in workload.get("volumeClaimTemplates", [])}
    for container in spec["containers"]:
        assert {each["name"] for each in container["volumeMounts"]} == volumes
        ports = {each["name"] for each in container["ports"]}
        probes = [container[probe] for probe in ("startupProbe", "livenessProbe", "readinessProbe")]
        assert [each["httpGet"]["path"] for each in probes] == ["/live", "/live", "/ready"]
        assert {each["httpGet"]["port"] for each in probes} <= ports
        for service in (each for each in manifests() if each["kind"] == "Service"):
            if service["spec"]["selector"].items() <= workload["template"]["metadata"]["labels"].items():
                assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports


@each_workload
def test_labels_fit_and_a_disruption_takes_one_at_a_time(kind: str, name: str):
    workload, budget = named(kind, name)["spec"], named("PodDisruptionBudget", name)["spec"]
    assert workload["selector"]["matchLabels"].items() <= workload["template"]["metadata"]["labels"].items()
    assert budget["selector"] == workload["selector"]
    assert (budget["maxUnavailable"], workload["replicas"] > 1) == (1, True)


def configured() -> Settings:
    text = named("ConfigMap", "pipeline")["data"]["pipeline.toml"]
    folder = Path("/etc/pipeline/config")
    return _loaded(text, named("Secret", "pipeline")["stringData"], folder)


def _loaded(text: str, environ: dict[str, str], folder: Path) -> Settings:
    original = Path.read_text
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Path, "read_text", lambda path, **more: text if path.parent == folder else original(path, **more))
        return load({"PIPELINE_CONFIG": str(folder / "pipeline.toml"), **environ}, folder)


def test_the_configuration_is_right_and_its_secrets_are_those_of_the_example():
    found = configured()
    assert found.source == "/etc/pipeline/config/pipeline.toml"
    text = named("ConfigMap", "pipeline")["data"]["pipeline.toml"]
    assert set(re.findall(r'env = "(\w+)"', text)) == set(named("Secret", "pipeline")["stringData"])
    for pod in pods():
        [container] = pod["spec"]["containers"]
        environ = {each["name"]: each["value"] for each in container["env"]}
        assert environ == {"PIPELINE_CONFIG": found.source}


def test_a_worker_has_time_to_finish_its_calls():
    grace_s = named("StatefulSet", "worker")["spec"]["template"]["spec"]["terminationGracePeriodSeconds"]
    longest_ms = max(policy.request_timeout_ms for policy in configured().channels.values())
    assert grace_s * 1000 > longest_ms + 10_000


def test_each_worker_has_its_own_volume_where_the_image_keeps_its_data():
    worker = named("StatefulSet", "worker")["spec"]
    [container] = worker["template"]["spec"]["containers"]
    [claim] = worker["volumeClaimTemplates"]
    assert claim["spec"]["accessModes"] == ["ReadWriteOnce"]
    [data] = [each["mountPath"] for each in container["volumeMounts"] if each["name"] == claim["metadata"]["name"]]
    assert f"VOLUME {data}" in dockerfile()
    assert container["args"] == services("docker-compose.yml", {})["worker"]["command"]


def test_a_web_process_listens_where_its_ports_are_and_keeps_its_copy_where_it_may_write():
    web = configured().web
    [container] = named("Deployment", "web")["spec"]["template"]["spec"]["containers"]
    ports = {each["name"]: each["containerPort"] for each in container["ports"]}
    assert ports == {"private": web.listen.port, "public": web.public_listen.port}
    assert {each["mountPath"] for each in container["volumeMounts"] if not each.get("readOnly")} >= {
        str(Path(web.copy_dir).parent)
    }
