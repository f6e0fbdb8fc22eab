"""What the containers get: compose files are read as compose reads them, and the environment as the worker reads it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipeline.console.banner import half
from pipeline.domain.audit import Role
from pipeline.domain.token import token_hash
from pipeline.sandbox.webhooks import webhooks_of
from pipeline.settings import Settings, load
from pipeline.settings.variables import CONFIG_VARIABLE, WITHOUT_FILE
from pipeline.settings.web import WebKeys

ROOT = Path(__file__).parents[2]
REAL = {
    "KAFKA_BOOTSTRAP_SERVERS": "kafka.example:9093",
    "KAFKA_TOPIC_PREFIX": "shop.",
    "WAHA_BASE_URL": "https://waha.example",
    "WAHA_API_KEY": "real-waha",
    "WAHA_ENGINE": "GOWS",
    "RESEND_API_KEY": "re_real",
    "RESEND_FROM": "Shop <hello@shop.example.com>",
    "TWILIO_ACCOUNT_SID": "ACreal",
    "TWILIO_AUTH_TOKEN": "real-token",
    "TWILIO_MESSAGING_SERVICE_SID": "MGreal",
    "TWILIO_STATUS_CALLBACK": "https://shop.example/{touch_id}",
}
SHELLS = [
    {},
    REAL,
    {"RESEND_API_KEY": "re_real"},
    {"TWILIO_AUTH_TOKEN": "real-token"},
    {"WAHA_BASE_URL": "https://waha.example"},
    {"KAFKA_BOOTSTRAP_SERVERS": "kafka.example:9093"},
    {"PIPELINE_CONFIG": "pipeline.toml"},
    {"RESEND_API_URL": "https://api.resend.com"},
    {"TWILIO_API_URL": "https://api.twilio.com"},
    {"KAFKA_TOPIC_PREFIX": "shop."},
    {"WAHA_BASE_URL": ""},
    {"SCHEMA_REGISTRY_URL": "http://r:8081"},
]
_VARIABLE = re.compile(
    r"\$(?:(?P<dollar>\$)|(?P<plain>[A-Za-z_]\w*)|\{(?P<name>[A-Za-z_]\w*)(?:(?P<how>:?[-+?])(?P<other>[^}]*))?\})"
)


def interpolated(text: str, environ: dict[str, str]) -> str:
    """Fill in as the Compose Specification says: ${V}, ${V:-default}, ${V-default}, ${V:+other}, ${V+other}, ${V:?error}, $$."""

    def fill(found: re.Match[str]) -> str:
        if found["dollar"]:
            return "$"
        name, how = found["plain"] or found["name"], found["how"] or ""
        value = environ.get(name)
        there = bool(value) if how.startswith(":") else value is not None
        if how.endswith("?") and not there:
            raise ValueError(f"{name}: {found['other']}")
        if how.endswith("+"):
            return found["other"] if there else ""
        return value or "" if there or not how else found["other"]

    return _VARIABLE.sub(fill, text)


def services(file: str, environ: dict[str, str]) -> dict[str, dict[str, Any]]:
    filled = _each_text(yaml.safe_load((ROOT / file).read_text()), environ)
    return filled["services"]


def _each_text(found: Any, environ: dict[str, str]) -> Any:
    match found:
        case dict():
            return {name: _each_text(each, environ) for name, each in found.items()}
        case list():
            return [_each_text(each, environ) for each in found]
        case str():
            return interpolated(found, environ)
        case _:
            return found


def environment(service: dict[str, Any], environ: dict[str, str]) -> dict[str, str]:
    """As the process gets it: a map as it stands, of a list a bare name only where it is set."""
    given = service.get("environment", {})
    if isinstance(given, dict):
        return {name: str(value) for name, value in given.items()}
    pairs = [
        (name, value) if equals else (name, environ.get(name))
        for name, equals, value in (each.partition("=") for each in given)
    ]
    return {name: value for name, value in pairs if value is not None}


COMPOSE = ROOT / "examples" / "compose"
"""What is mounted where the containers of docker-compose.yml look for their configuration."""


def worker_settings(file: str, environ: dict[str, str], folder: Path = Path("/etc/pipeline")) -> Settings:
    return load(environment(services(file, environ)["worker"], environ), folder)


@pytest.mark.parametrize(
    ("text", "environ", "expected"),
    [
        ("${A}", {"A": "x"}, "x"),
        ("${A}", {}, ""),
        ("$A", {"A": "x"}, "x"),
        ("$$A", {"A": "x"}, "$A"),
        ("${A:-d}", {"A": ""}, "d"),
        ("${A-d}", {"A": ""}, ""),
        ("${A-d}", {}, "d"),
        ("${A:+y}", {"A": ""}, ""),
        ("${A+y}", {"A": ""}, "y"),
        ("${A:+y}", {"A": "x"}, "y"),
    ],
)
def test_variables_are_filled_in_as_compose_does(text: str, environ: dict[str, str], expected: str):
    assert interpolated(text, environ) == expected


@pytest.mark.parametrize("shell", SHELLS, ids=lambda shell: ",".join(shell) or "nothing")
def test_compose_up_is_the_sandbox_as_a_whole_whatever_the_shell_has(shell: dict[str, str]):
    found = worker_settings("docker-compose.yml", shell, COMPOSE)
    plain = worker_settings("docker-compose.yml", {}, COMPOSE)
    assert found == plain
    addresses = [each.base_url for each in found.accounts.values()]
    assert addresses == [f"http://sandbox:4010/{name}" for name in ("waha", "resend", "twilio")]
    assert found.kafka.bootstrap_servers == ("kafka:9092",)
    assert half(found) is None


def test_the_sandbox_of_compose_calls_the_web_process_back_with_the_senders_secrets():
    sandbox = environment(services("docker-compose.yml", {})["sandbox"], {})
    webhooks = webhooks_of(
        sandbox["SANDBOX_CALLBACKS"], sandbox["SANDBOX_CALLBACKS_VIA"], sandbox["SANDBOX_SECRETS"].split()
    )
    web = services("docker-compose.yml", {})["web"]
    found = load(environment(web, {}), COMPOSE)
    assert found == worker_settings("docker-compose.yml", {}, COMPOSE)
    assert webhooks.public_url == found.web.public_url
    port = found.web.public_listen.port
    assert webhooks.via == f"http://web:{port}"
    assert web["ports"] == [f"127.0.0.1:{each}:{each}" for each in (found.web.listen.port, port)]
    assert found.callback_senders == found.accounts.keys()
    assert {account.webhook_secrets[0].reveal() for account in found.accounts.values()} == {
        each.secret for each in webhooks.of.values()
    }
    assert any(found.web.copy_dir.startswith(each.partition(":")[0]) for each in web["tmpfs"])
    assert str(found.web.listen.port) in str(web["healthcheck"]["test"])


def role_of(web: WebKeys, token: str) -> Role:
    """Return the role of the user whose token this is."""
    return next(user.role for user in web.users if user.token_hash.reveal() == token_hash(token))


def test_the_console_of_compose_is_reached_with_the_token_that_the_file_names():
    [address, token] = re.findall(
        r"^# Console: (\S+), token (\S+)$", (ROOT / "docker-compose.yml").read_text(), re.MULTILINE
    )[0]
    found = worker_settings("docker-compose.yml", {}, COMPOSE)
    assert role_of(found.web, token) is Role.ADMIN
    assert f"# log in with: {token}" in (COMPOSE / "pipeline.toml").read_text()
    assert address == f"http://localhost:{found.web.listen.port}"


def test_compose_up_says_which_variables_of_the_shell_it_left_out_and_no_value():
    notice = environment(services("docker-compose.yml", REAL)["worker"], REAL)["PIPELINE_NOTICE"]
    assert {name for name in WITHOUT_FILE if name in notice.split()} == set(REAL)
    assert not any(value in notice for value in REAL.values())
    assert "nobody is written to" in notice
    assert not {
        name
        for name in WITHOUT_FILE
        if name in environment(services("docker-compose.yml", {})["worker"], {})["PIPELINE_NOTICE"].split()
    }


def test_the_real_workers_get_the_shell_s_accounts_and_nothing_of_a_sandbox():
    found = worker_settings("docker-compose.real.yml", REAL)
    assert [
        each.base_url
        for each in (
            found.accounts["whatsapp", "default"],
            found.accounts["email", "default"],
            found.accounts["sms", "default"],
        )
    ] == ["https://waha.example", "https://api.resend.com", "https://api.twilio.com"]
    assert (found.accounts["whatsapp", "default"].engine, found.accounts["whatsapp", "default"].api_key.reveal()) == (
        "GOWS",
        "real-waha",
    )
    assert (found.kafka.bootstrap_servers, found.kafka.topic_prefix) == (("kafka.example:9093",), "shop.")
    assert found.accounts["sms", "default"].messaging_service_sid == "MGreal"
    assert found.accounts["sms", "default"].status_callback.url == "https://shop.example/{touch_id}"
    assert half(found) is None
    assert "sandbox" not in str(services("docker-compose.real.yml", REAL))


def test_the_real_workers_get_every_variable_there_is_and_only_if_it_is_set():
    every = {name: f"value of {name}" for name in (CONFIG_VARIABLE, *WITHOUT_FILE)}
    worker = services("docker-compose.real.yml", every)["worker"]
    assert environment(worker, every) == every
    assert environment(worker, {}) == {}


def test_a_configuration_file_reaches_the_real_workers(tmp_path: Path):
    """The file lies where the folder is mounted, and its templates beside it."""
    mounted = dict(
        each.split(":")[:2]
        for each in services("docker-compose.real.yml", {})["worker"]["volumes"]
        if each.startswith(".")
    )
    assert mounted == {"./templates": "/etc/pipeline/templates", "./config": "/etc/pipeline/config"}
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "pipeline.toml").write_text('templates = "../templates"\n[kafka]\ntopic_prefix = "file."\n')
    found = worker_settings("docker-compose.real.yml", {"PIPELINE_CONFIG": "config/pipeline.toml"}, tmp_path)
    assert found.kafka.topic_prefix == "file."
    assert found.templates.resolve() == tmp_path / "templates"


@pytest.mark.parametrize("file", ["docker-compose.yml", "docker-compose.real.yml"])
def test_our_containers_are_confined_and_listen_on_this_machine_alone(file: str):
    ours = {name: each for name, each in services(file, {}).items() if "build" in each}
    assert "worker" in ours
    for name, service in ours.items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert all("size=" in each for each in service["tmpfs"]), name
        assert not service.get("privileged"), name
    for name, service in services(file, {}).items():
        assert all(str(each).startswith("127.0.0.1:") for each in service.get("ports", [])), name


@pytest.mark.parametrize("file", ["docker-compose.yml", "docker-compose.real.yml"])
def test_every_container_has_a_memory_limit_and_gains_no_privileges(file: str):
    for name, service in services(file, {}).items():
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert re.fullmatch(r"\d+[mg]", service["mem_limit"]), name
        assert service["pids_limit"], name


def test_what_the_worker_writes_in_memory_fits_its_limit():
    worker = services("docker-compose.yml", {})["worker"]
    sizes = [int(re.search(r"size=(\d+)m", each)[1]) for each in worker["tmpfs"]]
    assert sum(sizes) + 512 <= int(worker["mem_limit"].removesuffix("m"))


def dockerfile() -> list[str]:
    return (ROOT / "Dockerfile.worker").read_text().replace("\\\n", " ").splitlines()


def test_the_image_has_the_templates_where_the_worker_looks_for_them():
    assert "COPY templates /etc/pipeline/templates" in dockerfile()
    assert "WORKDIR /etc/pipeline" in dockerfile()
    assert load({}, Path("/etc/pipeline")).templates == Path("/etc/pipeline/templates")
    for name in ("worker", "web"):
        assert services("docker-compose.yml", {})[name]["volumes"] == [
            "./templates:/etc/pipeline/templates:ro",
            "./examples/compose/pipeline.toml:/etc/pipeline/pipeline.toml:ro",
        ]


def test_whatever_the_image_copies_is_in_its_context():
    ignored = (ROOT / ".dockerignore").read_text().split()
    for line in dockerfile():
        if line.startswith("COPY ") and "--from" not in line:
            for name in line.split()[1:-1]:
                assert (ROOT / name).exists(), name
                assert name.removeprefix("./").split("/")[0] not in ignored, name


def test_the_image_runs_as_nobody_in_particular_and_its_base_can_be_pinned():
    assert "USER 10001:10001" in dockerfile()
    assert [line for line in dockerfile() if line.startswith("FROM")] == [
        "FROM ${PYTHON_IMAGE} AS build",
        "FROM ${PYTHON_IMAGE}",
    ]
    for file in ("docker-compose.yml", "docker-compose.real.yml"):
        pinned = services(file, {"PYTHON_IMAGE": "python@sha256:1"})["worker"]["build"]["args"]
        assert pinned == {"PYTHON_IMAGE": "python@sha256:1"}


PINNED = re.compile(r"[a-z0-9./-]+:[A-Za-z0-9.-]+@sha256:[0-9a-f]{64}")
UNPINNED = {"schema-registry", "kafka-ui"}
"""Services whose images have no published digest that could be looked up here; the file and docs/operations.md say so."""


def test_images_are_pinned_and_the_ones_that_are_not_are_named():
    found = {name: each["image"] for name, each in services("docker-compose.yml", {}).items() if "image" in each}
    assert {name for name, image in found.items() if PINNED.fullmatch(image) is None} == UNPINNED
    text = (ROOT / "docker-compose.yml").read_text()
    assert text.count("# not pinned") == len(UNPINNED)
    [images] = re.findall(r"^## Images\n(.*?)^## ", (ROOT / "docs/operations.md").read_text(), re.DOTALL | re.MULTILINE)
    assert all(found[name] in images for name in UNPINNED)


def test_every_build_has_the_same_pinned_base():
    [base] = [line.removeprefix("ARG PYTHON_IMAGE=") for line in dockerfile() if line.startswith("ARG PYTHON_IMAGE=")]
    assert PINNED.fullmatch(base)
    for file in ("docker-compose.yml", "docker-compose.real.yml"):
        bases = {each["build"]["args"]["PYTHON_IMAGE"] for each in services(file, {}).values() if "build" in each}
        assert bases == {base}, file


def pins(file: str) -> dict[str, str]:
    found = re.findall(r"^([A-Za-z0-9._-]+)==(\S+)", (ROOT / file).read_text(), re.MULTILINE)
    return {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in found}


def test_the_image_installs_what_constraints_name_and_checks_hashes():
    constraints, locked = pins("constraints.txt"), pins("requirements.txt")
    assert {name: version for name, version in locked.items() if constraints.get(name) != version} == {}
    assert {"faust-streaming", "aiokafka", "rocksdict", "jinja2"} <= locked.keys()
    for file in ("requirements.txt", "requirements-build.txt"):
        blocks = re.split(r"\n(?=\S)", (ROOT / file).read_text())
        assert all("--hash=sha256:" in block for block in blocks if "==" in block and not block.startswith("#"))
    assert sum("--require-hashes" in line for line in dockerfile()) == 1
