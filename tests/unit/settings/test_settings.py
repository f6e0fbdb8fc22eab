"""The configuration as it is meant to be: defaults, the file, the environment, its example and its reference."""

from __future__ import annotations

import re
from dataclasses import fields
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from pipeline.domain.account import ResendAccount, TwilioAccount, WahaAccount
from pipeline.domain.limit import Gap, Limit, WarmUp, WarmUpStep
from pipeline.domain.policy import ChannelPolicy
from pipeline.domain.retry import Retry
from pipeline.domain.window import RECIPIENT, Window
from pipeline.domain.work import Channel
from pipeline.secret import Address, Secret
from pipeline.settings import Settings, load
from pipeline.settings.keys import SmsKeys
from pipeline.settings.reference import reference
from pipeline.settings.schema import keys_of
from tests.harness.certificates import Authority

ROOT = Path(__file__).parents[3]
SECRETS = {
    "WAHA_API_KEY": "waha-secret",
    "RESEND_API_KEY": "re_secret",
    "TWILIO_ACCOUNT_SID": "AC0123",
    "TWILIO_AUTH_TOKEN": "twilio-secret",
}
EVERYTHING = SECRETS | {
    "KAFKA_BOOTSTRAP_SERVERS": "kafka-1:9092,kafka-2:9093",
    "KAFKA_TOPIC_PREFIX": "test.",
    "SCHEMA_REGISTRY_URL": "http://registry:8081/",
    "WAHA_BASE_URL": "http://waha:3000/",
    "WAHA_SESSION_NAME": "sales",
    "WAHA_ENGINE": "GOWS",
    "RESEND_FROM": "Us <us@example.com>",
    "RESEND_API_URL": "http://127.0.0.1:4000/resend",
    "TWILIO_FROM": "+15005550006",
    "TWILIO_STATUS_CALLBACK": "https://example.com/status/{touch_id}?from=twilio",
    "TWILIO_API_URL": "http://127.0.0.1:4000/twilio",
}
HOUR = 3_600
ALL_CHANNELS = """
[[channels.whatsapp.senders]]
[[channels.email.senders]]
api_key = "re_1"
from = "a@example.com"
[[channels.sms.senders]]
account_sid = "AC1"
auth_token = "token"
from = "+15005550006"
"""


def load_text(folder: Path, text: str, **environ: str) -> Settings:
    (folder / "pipeline.toml").write_text(text, encoding="utf-8")
    return load({"PIPELINE_CONFIG": "pipeline.toml", **environ}, folder)


def test_without_anything_every_channel_is_off(tmp_path: Path) -> None:
    settings = load({}, tmp_path)
    assert [policy.senders for policy in settings.channels.values()] == [(), (), ()]
    assert settings.source == "environment"
    assert (settings.data_dir, settings.templates) == (tmp_path / "data", tmp_path / "templates")
    assert settings.dedup_for_ms == 30 * 86_400_000
    kafka = settings.kafka
    assert kafka.bootstrap_servers == ("127.0.0.1:9092",)
    assert (kafka.partitions, kafka.lanes, kafka.replication_factor, kafka.session_timeout_ms) == (8, 8, 1, 10_000)
    assert (kafka.topic_prefix, kafka.status_format, kafka.schema_registry_url) == ("", "avro", None)


def test_the_defaults_are_the_contracts(tmp_path: Path) -> None:
    channels = load_text(tmp_path, ALL_CHANNELS).channels
    whatsapp, email, sms = channels[Channel.WHATSAPP], channels[Channel.EMAIL], channels[Channel.SMS]
    assert whatsapp.window == Window(8 * HOUR, 20 * HOUR, "America/New_York")
    assert whatsapp.limit == Limit(30, 60_000)
    assert whatsapp.warm_up == WarmUp((WarmUpStep(Limit(10, 60_000), 7 * 86_400_000),))
    assert (whatsapp.in_flight, whatsapp.batch, whatsapp.resolve_after_ms) == (1, 1, 5_000)
    assert (email.window, email.limit, email.warm_up) == (None, Limit(10, 1_000), None)
    assert (email.in_flight, email.batch, email.gather_ms, email.resolve_after_ms) == (10, 100, 50, 0)
    assert sms.window == Window(9 * HOUR, 20 * HOUR, "America/New_York", margin_ms=5_000)
    assert (sms.limit, sms.warm_up) == (Limit(1, 1_000), None)
    assert (sms.in_flight, sms.batch, sms.resolve_after_ms) == (10, 1, 30_000)
    for policy in (whatsapp, email, sms):
        assert (policy.numbers, policy.region, policy.attempts, policy.retry) == (
            "valid",
            None,
            5,
            Retry(2_000, 900_000),
        )
        assert (policy.retry_for_ms, policy.request_timeout_ms, policy.lease_ms) == (259_200_000, 10_000, 5_000)
        assert (policy.resolve_for_ms, policy.unresolved) == (43_200_000, "hold")


def test_the_environment_alone_makes_one_sender_per_channel(tmp_path: Path) -> None:
    settings = load(EVERYTHING, tmp_path)
    assert settings.kafka.bootstrap_servers == ("kafka-1:9092", "kafka-2:9093")
    assert (settings.kafka.topic_prefix, settings.kafka.schema_registry_url) == (
        "test.",
        Address("http://registry:8081"),
    )
    callback = "https://example.com/status/{touch_id}?from=twilio"
    assert settings.accounts == {
        (Channel.WHATSAPP, "default"): WahaAccount("sales", "http://waha:3000", Secret("waha-secret"), "GOWS"),
        (Channel.EMAIL, "default"): ResendAccount(Secret("re_secret"), "http://127.0.0.1:4000/resend"),
        (Channel.SMS, "default"): TwilioAccount(
            "AC0123", Secret("twilio-secret"), "+15005550006", None, "http://127.0.0.1:4000/twilio", Address(callback)
        ),
    }
    senders = [policy.senders[0] for policy in settings.channels.values()]
    assert [sender.lane for sender in senders] == [0, 1, 2]
    assert [sender.addresses for sender in senders] == [("sales",), ("Us <us@example.com>",), ("+15005550006",)]
    assert (senders[0].engine, senders[2].status_callback) == ("GOWS", callback)


@pytest.mark.parametrize(
    ("environ", "on"),
    [
        ({"WAHA_BASE_URL": "http://w:1"}, Channel.WHATSAPP),
        ({"WAHA_API_KEY": "k"}, Channel.WHATSAPP),
        ({"RESEND_API_KEY": "k", "RESEND_FROM": "a@b.c"}, Channel.EMAIL),
        ({"TWILIO_ACCOUNT_SID": "AC1", "TWILIO_AUTH_TOKEN": "t", "TWILIO_MESSAGING_SERVICE_SID": "MG1"}, Channel.SMS),
    ],
)
def test_a_channel_is_on_when_its_variables_are_set(environ: dict[str, str], on: Channel, tmp_path: Path) -> None:
    empty = dict.fromkeys(EVERYTHING, "")  # as compose files leave them
    channels = load(empty | environ, tmp_path).channels
    assert [channel for channel, policy in channels.items() if policy.senders] == [on]


def test_with_a_file_the_variables_do_not_count(tmp_path: Path) -> None:
    settings = load_text(tmp_path, '[kafka]\ntopic_prefix = "mine."', **EVERYTHING)
    assert settings.kafka.topic_prefix == "mine."
    assert settings.kafka.bootstrap_servers == ("127.0.0.1:9092",)
    assert settings.accounts == {}


def test_any_value_may_come_from_the_environment(tmp_path: Path) -> None:
    text = """
    dedup_for = { env = "DEDUP" }
    [kafka]
    bootstrap_servers = [{ env = "KAFKA" }]
    partitions = { env = "PARTITIONS" }
    topic_prefix = { env = "PREFIX" }
    [channels.email]
    window = { env = "WINDOW" }
    limit = { rate = { env = "RATE" }, per = "1s" }
    [[channels.email.senders]]
    api_key = { env = "KEY" }
    from = { env = "FROM" }
    started_on = { env = "SINCE" }
    """
    settings = load_text(
        tmp_path,
        text,
        DEDUP="12h",
        KAFKA="k:1",
        PARTITIONS="3",
        PREFIX="7",
        RATE="4",
        KEY="re_1",
        WINDOW='{ opens = "07:00", closes = "08:00", zone = "UTC" }',
        FROM='["a@b.c", "d@e.f"]',
        SINCE="2026-11-01",
    )
    email = settings.channels[Channel.EMAIL]
    assert (settings.dedup_for_ms, settings.kafka.bootstrap_servers, settings.kafka.partitions) == (
        43_200_000,
        ("k:1",),
        3,
    )
    assert settings.kafka.topic_prefix == "7"  # text stays text
    assert email.window == Window(7 * HOUR, 8 * HOUR, "UTC")
    assert email.limit == Limit(4, 1_000)
    assert email.senders[0].addresses == ("a@b.c", "d@e.f")
    assert email.senders[0].started_on_ms == int(datetime(2026, 11, 1, tzinfo=UTC).timestamp() * 1000)


def test_paths_are_relative_to_the_files_folder(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    Authority(tmp_path / "etc")
    text = (
        'data_dir = "../data"\ntemplates = "/srv/templates"\n[kafka]\nsecurity_protocol = "SSL"\nssl_cafile = "ca.pem"'
    )
    (tmp_path / "etc" / "p.toml").write_text(text)
    settings = load({"PIPELINE_CONFIG": "etc/p.toml"}, tmp_path)
    assert settings.data_dir == tmp_path / "etc" / ".." / "data"
    assert settings.templates == Path("/srv/templates")
    assert settings.kafka.ssl_cafile == str(tmp_path / "etc" / "ca.pem")


WINDOW_SHAPES = [
    ('"always"', None),
    ('{ opens = "22:00", closes = "06:00:30", zone = "UTC" }', Window(22 * HOUR, 6 * HOUR + 30, "UTC")),
    ('{ opens = 08:00:00, closes = "24:00", zone = "UTC" }', Window(8 * HOUR, 24 * HOUR, "UTC")),
    (
        """{ opens = "08:00", closes = "20:00", zone = "recipient", fallback_zone = "Asia/Tokyo", days = ["mon", "sun"],
             holidays = [2026-12-25] }""".replace("\n", ""),
        Window(
            8 * HOUR,
            20 * HOUR,
            RECIPIENT,
            "Asia/Tokyo",
            days=frozenset({0, 6}),
            holidays=frozenset({date(2026, 12, 25)}),
        ),
    ),
]


@pytest.mark.parametrize(("text", "window"), WINDOW_SHAPES)
def test_every_shape_of_a_window_is_read(text: str, window: Window | None, tmp_path: Path) -> None:
    assert load_text(tmp_path, f"[channels.whatsapp]\nwindow = {text}").channels[Channel.WHATSAPP].window == window


def test_limits_may_be_none_and_gathering_nothing(tmp_path: Path) -> None:
    text = '[channels.email]\nlimit = "none"\ngather = "0ms"\n[channels.whatsapp]\nwarm_up = "none"'
    channels = load_text(tmp_path, text).channels
    assert (channels[Channel.EMAIL].limit, channels[Channel.EMAIL].gather_ms) == (None, 0)
    assert channels[Channel.WHATSAPP].warm_up is None


def test_a_warm_up_may_have_steps(tmp_path: Path) -> None:
    steps = '[{ until = "7d", rate = 10, per = "1m" }, { until = "14d", rate = 20, per = "1m", burst = 2 }]'
    warm_up = load_text(tmp_path, f"[channels.sms]\nwarm_up = {steps}").channels[Channel.SMS].warm_up
    assert warm_up == WarmUp(
        (WarmUpStep(Limit(10, 60_000), 7 * 86_400_000), WarmUpStep(Limit(20, 60_000, burst=2), 14 * 86_400_000))
    )


def test_a_sender_may_have_a_daily_cap_of_its_own(tmp_path: Path) -> None:
    text = 'daily_cap = 500\ngap = { least = "30s", most = "60s" }\n' + "".join(
        f'[[channels.whatsapp.senders]]\nname = "{name}"\nlane = {lane}\nsession = "{name}"\n{own}\n'
        for lane, (name, own) in enumerate([("a", ""), ("b", "daily_cap = 20")])
    )
    policy = load_text(tmp_path, f"[channels.whatsapp]\n{text}").channels[Channel.WHATSAPP]
    assert [sender.daily_cap for sender in policy.senders] == [500, 20]
    assert policy.gap == Gap(30_000, 60_000)
    bare = load_text(tmp_path, ALL_CHANNELS).channels[Channel.WHATSAPP]
    assert (bare.senders[0].daily_cap, bare.gap) == (None, None)


def test_the_former_name_of_the_gap_is_still_read_and_one_warning_names_the_new_one(tmp_path: Path) -> None:
    gap = '{ least = "30s", most = "60s" }'
    old = load_text(tmp_path, f"[channels.whatsapp]\npause = {gap}\n[channels.sms]\npause = {gap}")
    new = load_text(tmp_path, f"[channels.whatsapp]\ngap = {gap}\n[channels.sms]\ngap = {gap}")
    assert old.channels == new.channels
    assert new.warnings == ()
    assert old.warnings == (
        "renamed keys are still read: channels.whatsapp.pause is now `gap`, channels.sms.pause is now `gap`",
    )


def test_a_sender_may_be_disabled(tmp_path: Path) -> None:
    text = ALL_CHANNELS.replace("[[channels.whatsapp.senders]]", "[[channels.whatsapp.senders]]\nenabled = false")
    channels = load_text(tmp_path, text).channels
    assert [len(policy.takers) for policy in channels.values()] == [0, 1, 1]


def test_several_senders_have_their_own_names_lanes_and_accounts(tmp_path: Path) -> None:
    text = """
    [[channels.whatsapp.senders]]
    name = "a"
    lane = 3
    session = "one"
    started_on = 2026-11-01
    [[channels.whatsapp.senders]]
    name = "b"
    lane = 0
    session = "two"
    engine = "WEBJS"
    """
    settings = load_text(tmp_path, text)
    policy = settings.channels[Channel.WHATSAPP]
    assert [(sender.name, sender.lane, sender.addresses) for sender in policy.senders] == [
        ("a", 3, ("one",)),
        ("b", 0, ("two",)),
    ]
    assert settings.accounts[Channel.WHATSAPP, "b"] == WahaAccount("two", "http://127.0.0.1:3000", None, "WEBJS")


def test_no_secret_is_in_a_repr(tmp_path: Path) -> None:
    text = ALL_CHANNELS + '[kafka]\nsecurity_protocol = "SASL_SSL"\nsasl_mechanism = "PLAIN"\nsasl_username = "me"\n'
    text += 'sasl_password = "hidden-1"\nschema_registry_url = "https://me:hidden-2@registry"'
    text = text.replace("re_1", "hidden-3").replace('"token"', '"hidden-4"')
    settings = load_text(
        tmp_path, text.replace("[[channels.whatsapp.senders]]", '[[channels.whatsapp.senders]]\napi_key = "hidden-5"')
    )
    assert settings.accounts[Channel.WHATSAPP, "default"].api_key == Secret("hidden-5")
    assert settings.kafka.sasl_password == Secret("hidden-1")
    assert "hidden" not in repr(settings)


KEY = "ä key that nobody guesses, with 40 bytes"


def test_the_privacy_key_is_bytes_in_utf_8_from_the_file_or_the_environment(tmp_path: Path) -> None:
    assert load({}, tmp_path).privacy_key == b""
    assert load({"PIPELINE_PRIVACY_KEY": KEY}, tmp_path).privacy_key == KEY.encode()
    assert load_text(tmp_path, f'[privacy]\nkey = "{KEY}"', PIPELINE_PRIVACY_KEY="x").privacy_key == KEY.encode()
    settings = load_text(tmp_path, '[privacy]\nkey = { env = "SOME_KEY" }', SOME_KEY=KEY)
    assert settings.privacy_key == KEY.encode()
    assert "guesses" not in repr(settings)


@pytest.mark.parametrize(
    ("covers", "scopes"),
    [(None, ["phone", "email", "phone"]), ("phone", ["phone", "email", "phone"]), ("channel", [*Channel])],
)
def test_an_opt_out_covers_both_phone_channels_or_its_own(
    covers: str | None, scopes: list[str], tmp_path: Path
) -> None:
    settings = load_text(tmp_path, "" if covers is None else f'[suppression]\ncovers = "{covers}"')
    assert [settings.suppression_covers.scope(channel) for channel in Channel] == scopes


def test_the_example_says_the_defaults(tmp_path: Path) -> None:
    example = load({"PIPELINE_CONFIG": str(ROOT / "examples" / "pipeline.toml"), **SECRETS}, tmp_path)
    bare = load_text(tmp_path, ALL_CHANNELS)
    assert example.kafka == bare.kafka
    assert (example.privacy_key, example.suppression_covers) == (bare.privacy_key, bare.suppression_covers)
    for channel in Channel:
        shown, default = example.channels[channel], bare.channels[channel]
        assert shown.senders != ()
        for name in shown.__slots__:
            assert name == "senders" or getattr(shown, name) == getattr(default, name), (channel, name)


def test_the_example_names_every_key() -> None:
    text = (ROOT / "examples" / "pipeline.toml").read_text(encoding="utf-8")
    for name in re.findall(r"^\| `(\w+)`", reference(), flags=re.MULTILINE):
        if not name.isupper():
            assert re.search(rf"\b{name}\s*=", text), name


def test_the_committed_reference_is_up_to_date() -> None:
    committed = (ROOT / "docs" / "configuration.md").read_text(encoding="utf-8")
    assert committed == reference(), "run: python -m pipeline.settings.reference > docs/configuration.md"


def test_every_key_of_a_channel_reaches_its_policy_and_the_policy_has_no_other_rule():
    declared = {each.field for each in keys_of(SmsKeys)}
    in_policy = {each.name for each in fields(ChannelPolicy)} - {"spec"}
    assert in_policy == declared - {"daily_cap"}, "the cap is each sender's"
