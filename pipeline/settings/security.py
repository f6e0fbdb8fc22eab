"""Checks of the keys for a secured Kafka: each protocol and mechanism with its keys, and files that can be used."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from pipeline.settings.kafka import KafkaSettings
from pipeline.settings.key_path import KeyPath, to_toml

PASSWORD_KEYS = ("sasl_username", "sasl_password")
TOKEN_KEYS = ("sasl_token_file", "sasl_token_command")
SSL_KEYS = ("ssl_cafile", "ssl_certfile", "ssl_keyfile", "ssl_key_password")
FILE_KEYS = ("ssl_cafile", "ssl_certfile", "ssl_keyfile", "sasl_token_file")


def absolute_paths(kafka: KafkaSettings, folder: Path) -> KafkaSettings:
    """Return `kafka` with absolute paths; relative ones are relative to `folder`."""
    paths: dict[str, Any] = {name: str(folder / getattr(kafka, name)) for name in _set_keys(kafka, FILE_KEYS)}
    return replace(kafka, **paths)


def check_security(kafka: KafkaSettings, path: KeyPath, folder: Path) -> None:
    """Note at `path` keys that contradict each other, and files that cannot be used."""
    if kafka.security_protocol.startswith("SASL"):
        _check_login(kafka, path)
        _check_files(kafka, ("sasl_token_file",), path, folder)
    else:
        allowed = f'none, unless security_protocol is "SASL_SSL" or "SASL_PLAINTEXT", not "{kafka.security_protocol}"'
        _refuse(kafka, ("sasl_mechanism", *PASSWORD_KEYS, *TOKEN_KEYS), allowed, path)
    if not kafka.security_protocol.endswith("SSL"):
        allowed = f'none, unless security_protocol is "SSL" or "SASL_SSL", not "{kafka.security_protocol}"'
        _refuse(kafka, SSL_KEYS, allowed, path)
    elif _check_files(kafka, ("ssl_cafile", "ssl_certfile", "ssl_keyfile"), path, folder):
        _check_certificates(kafka, path, folder)


def _check_login(kafka: KafkaSettings, path: KeyPath) -> None:
    protocol = kafka.security_protocol
    match kafka.sasl_mechanism:
        case None:
            allowed = (
                f'"PLAIN" or "SCRAM-SHA-256" or "SCRAM-SHA-512" or "OAUTHBEARER", as security_protocol is {protocol}'
            )
            path.at("sasl_mechanism").note("nothing", allowed)
            _require(
                kafka,
                PASSWORD_KEYS if not _set_keys(kafka, TOKEN_KEYS) else (),
                f"a value, as security_protocol is {protocol}",
                path,
            )
        case "OAUTHBEARER":
            _refuse(kafka, PASSWORD_KEYS, "none with OAUTHBEARER, whose token says who it is", path)
            _check_token(kafka, path)
        case mechanism:
            _refuse(kafka, TOKEN_KEYS, f"none, unless sasl_mechanism is OAUTHBEARER, not {mechanism}", path)
            _require(kafka, PASSWORD_KEYS, f"a value, as sasl_mechanism is {mechanism}", path)


def _check_token(kafka: KafkaSettings, path: KeyPath) -> None:
    match _set_keys(kafka, TOKEN_KEYS):
        case []:
            path.at("sasl_token_file").note(
                "nothing", "a file, or else sasl_token_command, as sasl_mechanism is OAUTHBEARER"
            )
        case [_, _]:
            path.at("sasl_token_file").note("both this and sasl_token_command", "one of the two")


def _set_keys(kafka: KafkaSettings, names: tuple[str, ...]) -> list[str]:
    return [name for name in names if getattr(kafka, name) is not None]


def _require(kafka: KafkaSettings, names: tuple[str, ...], allowed: str, path: KeyPath) -> None:
    for name in names:
        if getattr(kafka, name) is None:
            path.at(name).note("nothing", allowed)


def _refuse(kafka: KafkaSettings, names: tuple[str, ...], allowed: str, path: KeyPath) -> None:
    for name in _set_keys(kafka, names):
        path.at(name).note("a value", allowed)


def _check_files(kafka: KafkaSettings, names: tuple[str, ...], path: KeyPath, folder: Path) -> bool:
    """Return whether each of these files can be read, noting those that cannot."""
    notes = len(path.notes)
    for name in _set_keys(kafka, names):
        try:
            (folder / getattr(kafka, name)).read_bytes()
        except OSError as error:
            found = f"{to_toml(getattr(kafka, name))} ({error.strerror})"
            path.at(name).note(found, "the path of a file that exists and can be read")
    return len(path.notes) == notes


def _check_certificates(kafka: KafkaSettings, path: KeyPath, folder: Path) -> None:
    if kafka.ssl_cafile is not None:
        cafile = folder / kafka.ssl_cafile
        if _load_error(lambda: ssl.create_default_context(cafile=cafile)):
            path.at("ssl_cafile").note(to_toml(kafka.ssl_cafile), "a file of certificates (PEM)")
    if kafka.ssl_certfile is None:
        _refuse(kafka, ("ssl_keyfile", "ssl_key_password"), "none without ssl_certfile", path)
    else:
        _check_pair(kafka, kafka.ssl_certfile, path, folder)


def _check_pair(kafka: KafkaSettings, certfile: str, path: KeyPath, folder: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # Read as certificates only, first: this shows which of the two files is wrong.
    if _load_error(lambda: context.load_verify_locations(folder / certfile)):
        path.at("ssl_certfile").note(to_toml(certfile), "a file with the client's certificate (PEM)")
        return
    key = kafka.ssl_keyfile or certfile
    # Without a password OpenSSL would ask the terminal for one.
    password = "-" if kafka.ssl_key_password is None else kafka.ssl_key_password.reveal()
    wrong = _load_error(lambda: context.load_cert_chain(folder / certfile, folder / key, lambda: password))
    if wrong is not None:
        _note_key(kafka, key, wrong, path, folder)


def _note_key(kafka: KafkaSettings, key: str, wrong: str, path: KeyPath, folder: Path) -> None:
    name = "ssl_certfile" if kafka.ssl_keyfile is None else "ssl_keyfile"
    if wrong == "KEY_VALUES_MISMATCH":
        path.at(name).note(to_toml(key), "the private key of the certificate in ssl_certfile; this is another's")
    elif "ENCRYPTED" in (folder / key).read_text(encoding="ascii", errors="replace"):
        found = "nothing" if kafka.ssl_key_password is None else "a value that does not open the key"
        path.at("ssl_key_password").note(found, f"the password of the private key in {to_toml(key)}")
    else:
        path.at(name).note(to_toml(key), "a file with the private key (PEM)")


def _load_error(load: Callable[[], object]) -> str | None:
    """Return OpenSSL's reason for refusing to load something, or None."""
    try:
        load()
    except (ssl.SSLError, OSError, ValueError) as error:
        return getattr(error, "reason", None) or "unreadable"
    return None
