"""A wrong configuration: one line for each thing wrong, with the key, what was found and what is allowed."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.settings import SettingsError, load

WAHA = "[[channels.whatsapp.senders]]\n"
RESEND = '[[channels.email.senders]]\napi_key = "re_1"\nfrom = "a@example.com"\n'
TWILIO = '[[channels.sms.senders]]\naccount_sid = "AC1"\nauth_token = "t0ken"\n'
NUMBER = 'from = "+15005550006"\n'


def lines_of(folder: Path, text: str, **environ: str) -> tuple[str, ...]:
    (folder / "p.toml").write_text(text, encoding="utf-8")
    with pytest.raises(SettingsError) as caught:
        load({"PIPELINE_CONFIG": "p.toml", **environ}, folder)
    return caught.value.lines


WRONG = [
    # key, what is in the file, what the line says was found, what it says is allowed
    ("dedup_for", "dedup_for = 30", "30", '"30d"'),
    ("dedup_for", 'dedup_for = "30 days"', '"30 days"', '"30d"'),
    ("dedup_for", 'dedup_for = "0s"', '"0s"', 'at least "1s"'),
    ("data_dri", 'data_dri = "x"', "an unknown key", 'did you mean "data_dir"?'),
    ("data_dir", "data_dir = true", "true", "a path"),
    ("kafka", "kafka = 5", "5", "bootstrap_servers"),
    ("kafka.topic_prefix", '[kafka]\ntopic_prefix = "a b"', '"a b"', "A-Z"),
    ("kafka.bootstrap_servers", "[kafka]\nbootstrap_servers = []", "an empty array", "host:port"),
    ("kafka.bootstrap_servers", '[kafka]\nbootstrap_servers = ["a:99999"]', "an array", "host:port"),
    ("kafka.partitions", '[kafka]\npartitions = "8"', '"8"', "a whole number from 1"),
    ("kafka.partitions", "[kafka]\npartitions = true", "true", "a whole number from 1"),
    ("kafka.partitions", "[kafka]\npartitions = 8.0", "8.0", "a whole number from 1"),
    ("kafka.lanes", "[kafka]\nlanes = 0", "0", "a whole number from 1"),
    ("kafka.session_timeout", '[kafka]\nsession_timeout = "5s"', '"5s"', 'from "6s"'),
    ("kafka.status_format", '[kafka]\nstatus_format = "xml"', '"xml"', '"avro" or "json"'),
    ("kafka.ssl_cafile", '[kafka]\nsecurity_protocol = "SSL"\nssl_cafile = "no.pem"', '"no.pem"', "exists"),
    ("kafka.sasl_username", '[kafka]\nsasl_username = "me"', "a value", "SASL_SSL"),
    ("channels.telegram", "[channels.telegram]", "an unknown key", "whatsapp, email, sms"),
    ("channels.whatsapp.batch", "[channels.whatsapp]\nbatch = 5", "an unknown key", "window, calendar, limit"),
    ("channels.email.batch", "[channels.email]\nbatch = 101", "101", "from 1 to 100"),
    ("channels.email.resolve_for", '[channels.email]\nresolve_for = "24h"', '"24h"', 'at most "23h"'),
    ("channels.email.gather", '[channels.email]\ngather = "-1s"', '"-1s"', '"0ms"'),
    ("channels.sms.attempts", "[channels.sms]\nattempts = 0", "0", "from 1"),
    ("channels.sms.in_flight", "[channels.sms]\nin_flight = 0", "0", "from 1"),
    ("channels.sms.region", '[channels.sms]\nregion = "us"', '"us"', '"US"'),
    ("channels.sms.limit", '[channels.sms]\nlimit = "5/s"', '"5/s"', '"none"'),
    ("channels.sms.limit.per", "[channels.sms]\nlimit = { rate = 5 }", "nothing", "a duration"),
    ("channels.sms.limit.rate", '[channels.sms]\nlimit = { rate = 0, per = "1s" }', "0", "from 1"),
    (
        "channels.sms.limit",
        '[channels.sms]\nlimit = { rate = 2, per = "1s", burst = 3 }',
        "burst = 3",
        "burst not over rate",
    ),
    ("channels.sms.warm_up", '[channels.sms]\nwarm_up = "slow"', '"slow"', "or an array of { rate"),
    ("channels.sms.warm_up", "[channels.sms]\nwarm_up = []", "an empty array", "at least one step"),
    (
        "channels.sms.warm_up",
        '[channels.sms]\nwarm_up = [{ until = "7d", rate = 1, per = "1m" }, { until = "7d", rate = 2, per = "1m" }]',
        "an array",
        "each `until` after the one before",
    ),
    (
        "channels.sms.warm_up[1].until",
        '[channels.sms]\nwarm_up = [{ until = "7d", rate = 1, per = "1m" }, { until = 14, rate = 2, per = "1m" }]',
        "14",
        "a duration",
    ),
    (
        "channels.sms.warm_up[0].lasts",
        '[channels.sms]\nwarm_up = [{ until = "7d", lasts = "7d", rate = 1, per = "1m" }]',
        "an unknown key",
        "until",
    ),
    ("channels.sms.daily_cap", "[channels.sms]\ndaily_cap = 0", "0", '"none"'),
    ("channels.sms.daily_cap", "[channels.sms]\ndaily_cap = true", "true", "a whole number from 1"),
    ("channels.sms.senders[0].daily_cap", TWILIO + NUMBER + "daily_cap = 0", "0", "a whole number from 1"),
    ("channels.sms.gap", '[channels.sms]\ngap = { least = "2s", most = "1s" }', 'least = "2s"', "least not over most"),
    (
        "channels.sms.gap",
        '[channels.sms]\npause = "none"\ngap = "none"',
        "both `gap` and its former name `pause`",
        "`gap` alone",
    ),
    ("channels.sms.pause.most", '[channels.sms]\npause = { least = "2s" }', "nothing", "a duration"),
    ("channels.sms.gap.most", '[channels.sms]\ngap = { least = "2s" }', "nothing", "a duration"),
    ("channels.sms.calendar", '[channels.sms]\ncalendar = "us-2026"', 'name = "us-2026"', 'did you mean "us-2026.1"?'),
    ("channels.sms.calendar", "[channels.sms]\ncalendar = 5", "5", '"none"'),
    (
        "channels.sms.calendar",
        '[channels.sms]\ncalendar = { name = "us-2026.1", override = { XX = { opens = "08:00", closes = "20:00" } } }',
        "override = a table",
        "not XX",
    ),
    (
        "channels.sms.calendar.override.FL.opens",
        '[channels.sms]\ncalendar = { name = "us-2026.1", override = { FL = { closes = "20:00" } } }',
        "nothing",
        "HH:MM",
    ),
    (
        "channels.sms.calendar",
        '[channels.sms]\nwindow = { opens = "02:00", closes = "04:00", zone = "America/New_York" }\ncalendar = "us-2026.1"',
        '"us-2026.1"',
        "open together with `window`",
    ),
    ("privacy.key", '[privacy]\nkey = "short"', "not shown", "32 to 64 bytes in UTF-8 (it has 5)"),
    ("privacy.key", f'[privacy]\nkey = "{"ä" * 33}"', "not shown", "32 to 64 bytes in UTF-8 (it has 66)"),
    ("privacy.key", "[privacy]\nkey = 5", "not shown", "text of 32"),
    (
        "unsubscribe.enabled",
        '[web]\npublic_url = "https://x.example"\n[unsubscribe]\nenabled = true',
        "true, but no privacy.key",
        "both or none",
    ),
    (
        "unsubscribe.enabled",
        f'[unsubscribe]\nenabled = true\n[privacy]\nkey = "{"k" * 32}"',
        "true, but no web.public_url",
        "links begin with it",
    ),
    ("suppression.covers", '[suppression]\ncovers = "email"', '"email"', '"phone" or "channel"'),
    ("channels.whatsapp.senders[0].enabled", WAHA + "enabled = 1", "1", "true or false"),
    ("channels.sms.retry", '[channels.sms]\nretry = { first = "1h" }', 'first = "1h"', "first not over most"),
    ("channels.sms.window", '[channels.sms]\nwindow = "never"', '"never"', '"always"'),
    (
        "channels.sms.window",
        '[channels.sms]\nwindow = { opens = "08:00", closes = "08:00", zone = "UTC" }',
        'closes = "08:00"',
        "closes after opens",
    ),
    (
        "channels.sms.window",
        '[channels.sms]\nwindow = { opens = "08:00", closes = "08:00:05", zone = "UTC" }',
        'closes = "08:00:05"',
        "by more than 5 s",
    ),
    (
        "channels.sms.window",
        '[channels.sms]\nwindow = { opens = "08:00", closes = "20:00", zone = "recipient" }',
        'zone = "recipient"',
        "fallback_zone",
    ),
    (
        "channels.sms.window.zone",
        '[channels.sms]\nwindow = { opens = "08:00", closes = "20:00", zone = "America/New_Yrok" }',
        '"America/New_Yrok"',
        'did you mean "America/New_York"?',
    ),
    (
        "channels.sms.window.opens",
        '[channels.sms]\nwindow = { opens = "24:00", closes = "20:00", zone = "UTC" }',
        '"24:00"',
        "HH:MM",
    ),
    (
        "channels.sms.window.closes",
        '[channels.sms]\nwindow = { opens = "8:00", closes = "25:00", zone = "UTC" }',
        '"25:00"',
        '"24:00"',
    ),
    (
        "channels.sms.window.days",
        '[channels.sms]\nwindow = { opens = "08:00", closes = "20:00", zone = "UTC", days = [] }',
        "an empty array",
        '"mon"',
    ),
    (
        "channels.sms.window.holidays",
        '[channels.sms]\nwindow = { opens = "08:00", closes = "20:00", zone = "UTC", holidays = ["25.12."] }',
        "an array",
        "2026-12-25",
    ),
    ("channels.whatsapp.senders", "[channels.whatsapp.senders]\nlane = 0", "a table", "an array of tables"),
    ("channels.whatsapp.senders[0].engine", WAHA + 'engine = "noweb"', '"noweb"', '"NOWEB" or'),
    ("channels.whatsapp.senders[0].base_url", WAHA + 'base_url = "127.0.0.1:3000"', '"127.0.0.1:3000"', "http://"),
    ("channels.whatsapp.senders[0].base_url", WAHA + 'base_url = "http://a:x"', '"http://a:x"', "http://"),
    ("channels.whatsapp.senders[0].lane", WAHA + "lane = 8", "8", "from 0 to 7"),
    ("channels.whatsapp.senders[0].started_on", WAHA + "started_on = 2026-11-01T00:00:00Z", "2026-11-01T00", "a date"),
    (
        "channels.whatsapp.senders[1].lane",
        WAHA + 'lane = 0\nname = "a"\n' + WAHA + 'name = "b"\nsession = "b"',
        "nothing",
        "from 0 to 7",
    ),
    (
        "channels.whatsapp.senders[1].session",
        WAHA + 'lane = 0\nname = "a"\n' + WAHA + 'name = "b"\nlane = 1',
        '"default", the same as senders[0]',
        "the whole limit",
    ),
    (
        "channels.email.senders[0].from",
        RESEND.replace('"a@example.com"', '["a@example.com", "b"]'),
        "an array",
        "Name <a@b.c>",
    ),
    (
        "channels.email.senders[0].from",
        RESEND.replace('"a@example.com"', '"a@b.c, d@e.f"'),
        '"a@b.c, d@e.f"',
        "one address",
    ),
    ("channels.sms.senders[0].from", TWILIO, "nothing", "messaging_service_sid"),
    ("channels.sms.senders[0].from", TWILIO + NUMBER + 'messaging_service_sid = "MG1"', "both", "one of the two"),
    ("channels.sms.senders[0].from", TWILIO + 'from = "(500) 555-0006"', '"(500) 555-0006"', "E.164"),
    ("channels.sms.senders[0].account_sid", TWILIO.replace("AC1", "AC/1") + NUMBER, '"AC/1"', "AC…"),
    (
        "channels.sms.senders[0].status_callback",
        TWILIO + NUMBER + 'status_callback = "https://a.b/{lead_id}"',
        '"https://a.b/{lead_id}"',
        "{touch_id}",
    ),
]


@pytest.mark.parametrize(
    ("key", "text", "found", "allowed"), WRONG, ids=[f"{i}-{case[0]}" for i, case in enumerate(WRONG)]
)
def test_a_wrong_value_is_told_in_one_line(key: str, text: str, found: str, allowed: str, tmp_path: Path) -> None:
    lines = lines_of(tmp_path, text)
    ours = [line for line in lines if line.startswith(f"{key}: found ")]
    assert len(ours) == 1, lines
    told_found, told_allowed = ours[0].split("; allowed: ")
    assert found in told_found
    assert allowed in told_allowed
    assert all("\n" not in line for line in lines)


def test_all_that_is_wrong_is_told_and_nothing_else(tmp_path: Path) -> None:
    text = "dedup_for = 5\nnonsense = 1\n[kafka]\nlanes = 0\n" + TWILIO + "frm = 1\n" + WAHA + 'engine = "X"'
    keys = [line.split(": ")[0] for line in lines_of(tmp_path, text)]
    assert keys == [
        "nonsense",
        "dedup_for",
        "kafka.lanes",
        "channels.whatsapp.senders[0].engine",
        "channels.sms.senders[0].frm",
    ]


def test_names_and_lanes_are_unique(tmp_path: Path) -> None:
    text = "".join(RESEND + f"lane = {lane}\n" for lane in (2, 2))
    lines = lines_of(tmp_path, text)
    assert [line.split(":")[0] for line in lines] == [
        f"channels.email.senders[{index}].{key}" for index in (0, 1) for key in ("name", "lane")
    ]
    assert "more than once" in lines[0]


def test_sasl_needs_its_three_keys(tmp_path: Path) -> None:
    lines = lines_of(tmp_path, '[kafka]\nsecurity_protocol = "SASL_SSL"')
    assert [line.split(":")[0] for line in lines] == [
        "kafka.sasl_mechanism",
        "kafka.sasl_username",
        "kafka.sasl_password",
    ]


def test_a_variable_that_is_not_set_is_named(tmp_path: Path) -> None:
    (line,) = lines_of(tmp_path, RESEND.replace('"re_1"', '{ env = "NO_SUCH_KEY" }'), NO_SUCH_KEY="")
    assert line.startswith('channels.email.senders[0].api_key: found no environment variable "NO_SUCH_KEY"; allowed: ')


def test_a_wrong_value_from_a_variable_names_the_variable(tmp_path: Path) -> None:
    (line,) = lines_of(tmp_path, '[kafka]\nlanes = { env = "LANES" }', LANES="many")
    assert line.startswith('kafka.lanes: found "many" in the environment variable LANES; allowed: a whole number')


@pytest.mark.parametrize("text", [RESEND.replace("re_1", "s3cret key"), TWILIO.replace("t0ken", "s3cret\\n") + NUMBER])
def test_a_wrong_secret_is_not_shown(text: str, tmp_path: Path) -> None:
    (line,) = lines_of(tmp_path, text)
    assert "not shown" in line
    assert "s3cret" not in line


def test_what_is_found_stays_on_one_line_and_is_cut_short(tmp_path: Path) -> None:
    (line,) = lines_of(tmp_path, '[kafka]\ntopic_prefix = "a\\nb\\u2028' + "x" * 500 + '"')
    assert len(line.splitlines()) == 1
    assert len(line) < 250


@pytest.mark.parametrize(
    ("content", "found"),
    [(b"a = ", "not TOML"), (b"\xff\xfe", "not UTF-8"), (None, "No such file")],
    ids=["broken", "binary", "missing"],
)
def test_a_file_that_cannot_be_read_is_one_line(content: bytes | None, found: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "p.toml").write_bytes(content)
    with pytest.raises(SettingsError) as caught:
        load({"PIPELINE_CONFIG": "p.toml"}, tmp_path)
    (line,) = caught.value.lines
    assert line.startswith('PIPELINE_CONFIG: found "p.toml"')
    assert found in line


@pytest.mark.parametrize(
    ("environ", "keys"),
    [
        ({"RESEND_API_KEY": "re_1"}, ["RESEND_FROM"]),
        ({"RESEND_FROM": "a@b.c"}, ["RESEND_API_KEY"]),
        ({"TWILIO_FROM": "+15005550006"}, ["TWILIO_ACCOUNT_SID", "TWILIO_AUTH_TOKEN"]),
        ({"TWILIO_ACCOUNT_SID": "AC1", "TWILIO_AUTH_TOKEN": "t"}, ["TWILIO_FROM"]),
        ({"WAHA_BASE_URL": "waha"}, ["WAHA_BASE_URL"]),
        ({"KAFKA_TOPIC_PREFIX": "ä"}, ["KAFKA_TOPIC_PREFIX"]),
        ({"PIPELINE_PRIVACY_KEY": "short"}, ["PIPELINE_PRIVACY_KEY"]),
    ],
)
def test_without_a_file_the_variable_is_the_key(environ: dict[str, str], keys: list[str], tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        load(environ, tmp_path)
    assert [line.split(": found ")[0] for line in caught.value.lines] == keys


def test_without_a_file_both_ways_to_send_a_text_are_refused(tmp_path: Path) -> None:
    environ = {
        "TWILIO_ACCOUNT_SID": "AC1",
        "TWILIO_AUTH_TOKEN": "t",
        "TWILIO_FROM": "+15005550006",
        "TWILIO_MESSAGING_SERVICE_SID": "MG1",
    }
    with pytest.raises(SettingsError) as caught:
        load(environ, tmp_path)
    assert caught.value.lines == (
        "TWILIO_FROM: found both this and TWILIO_MESSAGING_SERVICE_SID; allowed: one of the two",
    )
