"""The configuration: read once from a TOML file, or without one from the environment, and checked as a whole."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pipeline.domain.account import Account
from pipeline.domain.opt_out import OptOutWords
from pipeline.domain.policy import ChannelPolicy
from pipeline.domain.suppression import Covers
from pipeline.domain.work import Channel
from pipeline.log_lines import LogFormat
from pipeline.settings.checks import check_channels, check_growth
from pipeline.settings.kafka import KafkaSettings
from pipeline.settings.key_path import EnvironmentText, InvalidKey, KeyPath, to_toml
from pipeline.settings.keys import AnyChannelKeys, ChannelsKeys, FileKeys
from pipeline.settings.policies import channel_policy
from pipeline.settings.privacy import PrivacyKeys
from pipeline.settings.schema import keys_of, read_table
from pipeline.settings.security import absolute_paths, check_security
from pipeline.settings.senders import SENDERS
from pipeline.settings.variables import CONFIG_VARIABLE, misspelled, resolve_environment
from pipeline.settings.web import (
    DeliveriesKeys,
    UnsubscribeKeys,
    WebKeys,
    absolute_web,
    check_callbacks,
    check_unsubscribe,
    check_web,
    with_status_callback,
)


class SettingsError(Exception):
    """The configuration has errors; `lines` has one line per error."""

    def __init__(self, lines: Iterable[str]) -> None:
        self.lines = tuple(lines)
        super().__init__("\n".join(self.lines))


@dataclass(frozen=True, slots=True)
class Settings:
    """The configuration, checked. Paths are absolute."""

    source: str
    """The file it was read from, or "environment"."""
    data_dir: Path
    dedup_for_ms: int
    templates: Path
    kafka: KafkaSettings
    channels: Mapping[Channel, ChannelPolicy]
    """Every channel; one without senders is off."""
    accounts: Mapping[tuple[Channel, str], Account]
    """What each sender's client needs, by channel and name of the sender."""
    opt_out_words: OptOutWords
    web: WebKeys
    deliveries: DeliveriesKeys
    unsubscribe: UnsubscribeKeys
    privacy_key: bytes = field(default=b"", repr=False)
    """Key of the address hashes; empty: they are unkeyed."""
    suppression_covers: Covers = Covers.PHONE
    """What an opt-out by SMS or WhatsApp concerns."""
    log_format: LogFormat = LogFormat.TEXT
    templates_named: bool = False
    """Whether the configuration names the folder, which must exist then."""
    warnings: tuple[str, ...] = ()
    """Lines for the head of a worker's log."""

    @property
    def callback_senders(self) -> frozenset[tuple[Channel, str]]:
        """The senders whose callbacks are on; none: the topics of callbacks do not exist."""
        return frozenset(each for each, account in self.accounts.items() if account.webhook_secrets)


def load(environ: Mapping[str, str], cwd: Path) -> Settings:
    """Return the checked configuration.

    `PIPELINE_CONFIG` names a TOML file, relative to `cwd`; paths in it are relative to its own folder, and other
    environment variables are not read. Without it they are, and paths are relative to `cwd`.

    Raises SettingsError with one line per error.
    """
    named = environ.get(CONFIG_VARIABLE)
    notes = [_misspelled(*each) for each in misspelled(environ)]
    try:
        if named:
            file = (cwd / named).absolute()
            path = KeyPath("", None, notes, {})
            raw = {
                name: resolve_environment(each, environ, path.at(name))
                for name, each in _read_file(file, named).items()
            }
        else:
            file = cwd.absolute() / "environment"
            raw, names = _from_environment(environ)
            path = KeyPath("", None, notes, names)
        keys = read_table(FileKeys, raw, path)
        checked = _checked(keys, path, file.parent, str(file) if named else "environment")
        return replace(checked, templates_named="templates" in raw, warnings=_renamed(path))
    except InvalidKey:
        raise SettingsError(notes) from None


def _renamed(path: KeyPath) -> tuple[str, ...]:
    if not path.renamed:
        return ()
    return ("renamed keys are still read: " + ", ".join(f"{each} is now `{name}`" for each, name in path.renamed),)


def _misspelled(found: str, meant: str) -> str:
    return f"{found}: found an unknown environment variable; allowed: {meant}, which is not set (did you mean that?)"


def _read_file(path: Path, named: str) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        why = error.strerror or type(error).__name__
        found, allowed = f"{to_toml(named)} ({why})", "the path of a TOML file"
    except UnicodeDecodeError:
        found, allowed = f"{to_toml(named)}, which is not UTF-8", "the path of a TOML file"
    except tomllib.TOMLDecodeError as error:
        found, allowed = f"{to_toml(named)}, which is not TOML: {error}", "TOML 1.0"
    raise SettingsError([f"{CONFIG_VARIABLE}: found {found}; allowed: {allowed}"])


def _from_environment(environ: Mapping[str, str]) -> tuple[dict[str, Any], dict[str, str]]:
    """Return (the tables that a file would have, the variable's name by key path)."""
    names: dict[str, str] = {}
    kafka = _variables(KafkaSettings, "kafka", environ, names)
    channels: dict[str, Any] = {}
    for lane, channel in enumerate(Channel):
        if any(environ.get(variable) for variable in SENDERS[channel].SWITCHES):
            sender = _variables(SENDERS[channel], f"channels.{channel}.senders[0]", environ, names)
            channels[channel.value] = {"senders": [{**sender, "lane": lane}]}
    privacy = _variables(PrivacyKeys, "privacy", environ, names)
    return {"kafka": kafka, "privacy": privacy, "channels": channels}, names


def _variables(table: type[Any], path: str, environ: Mapping[str, str], names: dict[str, str]) -> dict[str, Any]:
    raw: dict[str, Any] = {}
    for each in keys_of(table):
        if each.variable is not None:
            names[f"{path}.{each.name}"] = each.variable
            if text := environ.get(each.variable):
                raw[each.name] = EnvironmentText.read(each.variable, text)
    return raw


def _checked(keys: FileKeys, path: KeyPath, folder: Path, source: str) -> Settings:
    """Return the settings after the checks across keys. Raises InvalidKey when any key has an error."""
    check_web(keys.web, path.at("web"), folder)
    check_callbacks(keys.channels.sms.senders, keys.web, path.at("channels").at("sms").at("senders"))
    has_key = keys.privacy.key is not None
    check_unsubscribe(keys.unsubscribe, keys.web, path.at("unsubscribe"), has_key=has_key)
    channels = _with_status_callbacks(keys.channels, keys.web)
    by_channel: dict[Channel, AnyChannelKeys] = {channel: getattr(channels, channel.value) for channel in Channel}
    check_security(keys.kafka, path.at("kafka"), folder)
    check_growth(keys.kafka, path.at("kafka"))
    check_channels(channels, path.at("channels"), keys.kafka.lanes)
    if path.notes:
        raise InvalidKey
    return Settings(
        source=source,
        data_dir=folder / keys.data_dir,
        dedup_for_ms=keys.dedup_for_ms,
        templates=folder / keys.templates,
        kafka=absolute_paths(keys.kafka, folder),
        channels={channel: channel_policy(channel, own) for channel, own in by_channel.items()},
        accounts={
            (channel, sender.name): sender.account() for channel, own in by_channel.items() for sender in own.senders
        },
        privacy_key=b"" if keys.privacy.key is None else keys.privacy.key.reveal().encode(),
        suppression_covers=keys.suppression.covers,
        opt_out_words=OptOutWords(keys.suppression.words, keys.suppression.back),
        web=absolute_web(keys.web, folder),
        deliveries=keys.deliveries,
        log_format=keys.log_format,
        unsubscribe=keys.unsubscribe,
    )


def _with_status_callbacks(channels: ChannelsKeys, web: WebKeys) -> ChannelsKeys:
    senders = tuple(with_status_callback(each, web) for each in channels.sms.senders)
    return replace(channels, sms=replace(channels.sms, senders=senders))
