"""A secured Kafka: what belongs together, from file and environment, and one line for what does not."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import pytest

from pipeline.kafka.configured import connection_of
from pipeline.settings import Settings, SettingsError, load
from tests.harness.certificates import Authority

if TYPE_CHECKING:
    from pathlib import Path

KEYS = {
    "security_protocol": "KAFKA_SECURITY_PROTOCOL",
    "sasl_mechanism": "KAFKA_SASL_MECHANISM",
    "sasl_username": "KAFKA_SASL_USERNAME",
    "sasl_password": "KAFKA_SASL_PASSWORD",
    "sasl_token_file": "KAFKA_SASL_TOKEN_FILE",
    "sasl_token_command": "KAFKA_SASL_TOKEN_COMMAND",
    "ssl_cafile": "KAFKA_SSL_CAFILE",
    "ssl_certfile": "KAFKA_SSL_CERTFILE",
    "ssl_keyfile": "KAFKA_SSL_KEYFILE",
    "ssl_key_password": "KAFKA_SSL_KEY_PASSWORD",
}
LOGIN = "sasl_mechanism=PLAIN sasl_username=me sasl_password=s3cret-word"
CERTIFIED = "ssl_cafile=ca.pem ssl_certfile=us.pem ssl_keyfile=us.key"
RIGHT = [
    "security_protocol=PLAINTEXT",
    "security_protocol=SSL",
    "security_protocol=SSL ssl_cafile=ca.pem",
    f"security_protocol=SSL {CERTIFIED}",
    "security_protocol=SSL ssl_certfile=both.pem",
    "security_protocol=SSL ssl_certfile=locked.pem ssl_keyfile=locked.key ssl_key_password=open-sesame",
    f"security_protocol=SASL_PLAINTEXT {LOGIN}",
    f"security_protocol=SASL_PLAINTEXT {LOGIN}".replace("PLAIN ", "SCRAM-SHA-256 "),
    f"security_protocol=SASL_SSL {LOGIN} {CERTIFIED}".replace("PLAIN ", "SCRAM-SHA-512 "),
    "security_protocol=SASL_SSL sasl_mechanism=OAUTHBEARER sasl_token_file=token ssl_cafile=ca.pem",
    "security_protocol=SASL_PLAINTEXT sasl_mechanism=OAUTHBEARER sasl_token_command=fetch-token",
]
WRONG = [
    # keys, and the key that each line names with words of what is found and allowed
    ("security_protocol=TLS", ['security_protocol|TLS|"SASL_SSL"']),
    ("security_protocol=ssl", ['security_protocol|ssl|"SSL"']),
    ("sasl_username=me", ["sasl_username|a value|unless security_protocol"]),
    ("sasl_mechanism=PLAIN", ["sasl_mechanism|a value|unless security_protocol"]),
    ("ssl_cafile=ca.pem", ["ssl_cafile|a value|unless security_protocol"]),
    (f"security_protocol=SASL_PLAINTEXT {LOGIN} ssl_cafile=ca.pem", ["ssl_cafile|a value|SASL_SSL"]),
    (
        f"security_protocol=SSL {LOGIN}",
        ["sasl_mechanism|a value|none", "sasl_username|a value|none", "sasl_password|a value|none"],
    ),
    (
        "security_protocol=SASL_SSL",
        ["sasl_mechanism|nothing|SCRAM-SHA-256", "sasl_username|nothing|value", "sasl_password|nothing|value"],
    ),
    ("security_protocol=SASL_SSL sasl_username=me sasl_password=pw", ["sasl_mechanism|nothing|OAUTHBEARER"]),
    ("security_protocol=SASL_SSL sasl_mechanism=PLAIN sasl_username=me", ["sasl_password|nothing|PLAIN"]),
    ("security_protocol=SASL_SSL sasl_mechanism=SCRAM-SHA-1", ["sasl_mechanism|SCRAM-SHA-1|SCRAM-SHA-512"]),
    ("security_protocol=SASL_SSL sasl_mechanism=GSSAPI", ["sasl_mechanism|GSSAPI|OAUTHBEARER"]),
    (f"security_protocol=SASL_SSL {LOGIN} sasl_token_file=token", ["sasl_token_file|a value|OAUTHBEARER"]),
    ("security_protocol=SASL_SSL sasl_mechanism=OAUTHBEARER", ["sasl_token_file|nothing|sasl_token_command"]),
    (
        "security_protocol=SASL_SSL sasl_mechanism=OAUTHBEARER sasl_token_file=token sasl_token_command=t",
        ["sasl_token_file|both|one of the two"],
    ),
    (
        "security_protocol=SASL_SSL sasl_mechanism=OAUTHBEARER sasl_token_file=token sasl_username=me",
        ["sasl_username|a value|none with OAUTHBEARER"],
    ),
    (
        "security_protocol=SASL_SSL sasl_mechanism=OAUTHBEARER sasl_token_file=none",
        ['sasl_token_file|"none" (No such file|exists'],
    ),
    ("security_protocol=SASL_SSL sasl_mechanism=OAUTHBEARER sasl_token_command='", ["sasl_token_command|'|quoted"]),
    ("security_protocol=SSL ssl_cafile=none.pem", ['ssl_cafile|"none.pem" (No such file|exists']),
    ("security_protocol=SSL ssl_cafile=.", ["ssl_cafile|(Is a directory|exists"]),
    ("security_protocol=SSL ssl_cafile=us.key", ['ssl_cafile|"us.key"|certificates (PEM)']),
    ("security_protocol=SSL ssl_cafile=empty", ['ssl_cafile|"empty"|certificates (PEM)']),
    (
        "security_protocol=SSL ssl_certfile=none.pem ssl_keyfile=us.key",
        ['ssl_certfile|"none.pem" (No such file|exists'],
    ),
    ("security_protocol=SSL ssl_certfile=us.pem ssl_keyfile=none.key", ['ssl_keyfile|"none.key" (No such file|exists']),
    ("security_protocol=SSL ssl_certfile=us.key ssl_keyfile=us.pem", ['ssl_certfile|"us.key"|client\'s certificate']),
    ("security_protocol=SSL ssl_certfile=us.pem ssl_keyfile=us.pem", ['ssl_keyfile|"us.pem"|the private key (PEM)']),
    ("security_protocol=SSL ssl_certfile=us.pem", ['ssl_certfile|"us.pem"|the private key (PEM)']),
    ("security_protocol=SSL ssl_certfile=us.pem ssl_keyfile=them.key", ['ssl_keyfile|"them.key"|another\'s']),
    ("security_protocol=SSL ssl_keyfile=us.key", ["ssl_keyfile|a value|none without ssl_certfile"]),
    ("security_protocol=SSL ssl_certfile=locked.pem ssl_keyfile=locked.key", ["ssl_key_password|nothing|locked.key"]),
    (
        "security_protocol=SSL ssl_certfile=locked.pem ssl_keyfile=locked.key ssl_key_password=s3cret-word",
        ["ssl_key_password|does not open|locked.key"],
    ),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("certified")
    authority = Authority(folder)
    us = authority.certify("us")
    authority.certify("them")
    authority.certify("locked", password="open-sesame")
    (folder / "both.pem").write_bytes(us.certfile.read_bytes() + us.keyfile.read_bytes())
    (folder / "empty").write_text("")
    (folder / "token").write_text("t0ken")
    return folder


def keys_of(text: str) -> dict[str, str]:
    return dict(each.split("=", 1) for each in text.split())


def from_file(text: str, folder: Path) -> Settings:
    lines = [f"{key} = {value!r}" if "'" not in value else f'{key} = "{value}"' for key, value in keys_of(text).items()]
    (folder / "p.toml").write_text("\n".join(["[kafka]", *lines]))
    return load({"PIPELINE_CONFIG": "p.toml"}, folder)


def from_environment(text: str, folder: Path) -> Settings:
    return load({KEYS[key]: value for key, value in keys_of(text).items()}, folder)


@pytest.mark.parametrize("text", RIGHT)
def test_what_belongs_together_is_taken_from_file_and_environment_alike(text: str, folder: Path) -> None:
    settings = from_file(text, folder)
    assert settings.kafka == from_environment(text, folder).kafka
    connection = connection_of(settings)
    said = keys_of(text)
    assert connection["security_protocol"] == said["security_protocol"]
    assert connection.get("sasl_mechanism") == said.get("sasl_mechanism")
    assert connection.get("sasl_plain_password") == said.get("sasl_password")
    assert ("sasl_oauth_token_provider" in connection) == (said.get("sasl_mechanism") == "OAUTHBEARER")
    assert isinstance(connection.get("ssl_context"), ssl.SSLContext) == said["security_protocol"].endswith("SSL")


@pytest.mark.parametrize(("text", "expected"), WRONG, ids=[text for text, _ in WRONG])
def test_what_does_not_is_one_line_each_that_names_the_key(text: str, expected: list[str], folder: Path) -> None:
    for way, names in ((from_file, {key: f"kafka.{key}" for key in KEYS}), (from_environment, KEYS)):
        with pytest.raises(SettingsError) as caught:
            way(text, folder)
        assert len(caught.value.lines) == len(expected), caught.value.lines
        for line, wanted in zip(caught.value.lines, expected, strict=True):
            key, found, allowed = wanted.split("|")
            told_found, told_allowed = line.split("; allowed: ")
            assert told_found.startswith(f"{names[key]}: found ")
            assert found in told_found
            assert allowed in told_allowed
            assert "s3cret" not in line
            assert "\n" not in line


def test_a_file_that_may_not_be_read_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.read_bytes", refuse)  # root may read everything
    with pytest.raises(SettingsError) as caught:
        from_environment("security_protocol=SSL ssl_cafile=ca.pem", folder)
    assert caught.value.lines[0].startswith('KAFKA_SSL_CAFILE: found "ca.pem" (Permission denied); allowed: ')


def test_a_connection_prints_without_credentials(folder: Path) -> None:
    connection = connection_of(from_environment(f"security_protocol=SASL_SSL {LOGIN}", folder))
    for text in (repr(connection), str(connection), f"{connection}", repr([connection])):
        assert "s3cret" not in text
        assert "127.0.0.1:9092" in text
