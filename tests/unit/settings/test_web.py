"""`[web]`, `[deliveries]`, the words of `[suppression]`, and `webhook_secrets`."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.domain.work import Channel
from pipeline.settings import Settings, SettingsError, load
from pipeline.settings.web import Listen
from tests.harness.certificates import Authority

SMS = """
[[channels.sms.senders]]
name = "ma/in"
account_sid = "AC1"
auth_token = "t"
from = "+15005550006"
"""
EMAIL = """
[[channels.email.senders]]
api_key = "re_k"
from = "a@example.com"
"""
WAHA = """
[[channels.whatsapp.senders]]
"""
URL = '[web]\npublic_url = "https://touch.example.com/hooks/"\n'


def load_text(folder: Path, text: str, **environ: str) -> Settings:
    (folder / "pipeline.toml").write_text(text)
    return load({"PIPELINE_CONFIG": "pipeline.toml", **environ}, folder)


def test_the_defaults_are_the_contracts(tmp_path: Path):
    settings = load_text(tmp_path, SMS)
    assert settings.web.listen == Listen("127.0.0.1", 6080)
    assert (settings.web.public_listen, settings.web.public_url, settings.web.certificate) == (None, None, None)
    keys = settings.deliveries
    hour = 3_600_000
    assert (keys.early_for_ms, keys.remember_for_ms, keys.silent_after_ms) == (13 * hour, 720 * hour, 6 * hour)
    assert settings.callback_senders == frozenset()
    assert "DESCADASTRAR" in settings.opt_out_words.stop
    assert settings.opt_out_words.back == ("START", "UNSTOP", "YES")


def test_a_sender_with_secrets_has_callbacks_and_names_its_own_path(tmp_path: Path):
    settings = load_text(tmp_path, URL + SMS + 'webhook_secrets = ["t1", { env = "T2" }]', T2="t2")
    account = settings.accounts[Channel.SMS, "ma/in"]
    assert [each.reveal() for each in account.webhook_secrets] == ["t1", "t2"]
    assert settings.callback_senders == {(Channel.SMS, "ma/in")}
    expected = "https://touch.example.com/hooks/callbacks/twilio/ma%2Fin/status#rc=5&rp=all"
    assert settings.channels[Channel.SMS].senders[0].status_callback == account.status_callback.url == expected
    assert "t1" not in repr(settings)


def test_a_status_callback_of_ones_own_stays(tmp_path: Path):
    own = 'status_callback = "https://example.com/{touch_id}"\n'
    settings = load_text(tmp_path, URL + SMS + own + 'webhook_secrets = "t1"')
    assert settings.accounts[Channel.SMS, "ma/in"].status_callback.url == "https://example.com/{touch_id}"
    assert load_text(tmp_path, URL + SMS).accounts[Channel.SMS, "ma/in"].status_callback is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            SMS + 'webhook_secrets = "t1"',
            "channels.sms.senders[0].webhook_secrets: found a value, but no web.public_url",
        ),
        (
            EMAIL + 'webhook_secrets = "secret-of-ours"',
            "channels.email.senders[0].webhook_secrets: found a value that is not shown",
        ),
        (EMAIL + 'webhook_secrets = ["whsec_AAAA", "whsec_?"]', "channels.email.senders[0].webhook_secrets"),
        (WAHA + "webhook_secrets = 7", "channels.whatsapp.senders[0].webhook_secrets"),
        (
            '[web]\nlisten = "0.0.0.0:6080"',
            'web.listen: found "0.0.0.0:6080"; allowed: "HOST:PORT" on loopback (beyond loopback it needs web.users, and',
        ),
        ('[web]\nlisten = ""', "web.listen"),
        ('[web]\nlisten = "localhost"', "web.listen"),
        ('[web]\npublic_listen = ":1"', "web.public_listen"),
        ('[web]\npublic_listen = "0.0.0.0:65536"', "web.public_listen"),
        ('[web]\npublic_url = "http://touch.example.com"', "web.public_url"),
        ('[web]\npublic_url = "https://touch.example.com/?a=1"', "web.public_url"),
        ('[web]\npublic_url = "touch.example.com"', "web.public_url"),
        ('[web]\ncertificate = "a.pem"', "web.private_key: found nothing"),
        ('[web]\nprivate_key = "a.pem"', "web.certificate: found nothing"),
        ('[web]\ncertificate = "a.pem"\nprivate_key = "b.pem"', "web.certificate: found"),
        ("[web]\nport = 1", "web.port: found an unknown key"),
        ('[deliveries]\nearly_for = "0s"', "deliveries.early_for"),
        ('[suppression]\nwords = ["!"]', "suppression.words"),
        ('[suppression]\nback = "YES NO"\nwords = 1', "suppression.words"),
    ],
)
def test_what_cannot_be_is_one_line_that_names_the_key_and_no_secret(text: str, said: str, tmp_path: Path):
    with pytest.raises(SettingsError) as raised:
        load_text(tmp_path, text)
    (line,) = raised.value.lines
    assert line.startswith(said)
    assert "secret-of-ours" not in line


@pytest.mark.parametrize("url", ["http://127.0.0.1:6443", "http://localhost:1", "http://[::1]:1", "https://a.b/c"])
def test_http_is_for_this_machine(url: str, tmp_path: Path):
    assert load_text(tmp_path, f'[web]\npublic_url = "{url}"').web.public_url == url


def test_a_certificate_is_found_beside_the_file_and_must_fit_its_key(tmp_path: Path):
    authority = Authority(tmp_path / "tls")
    one, other = authority.certify("one"), authority.certify("other")
    text = '[web]\ncertificate = "tls/one.pem"\nprivate_key = "tls/{}"'
    web = load_text(tmp_path, text.format("one.key")).web
    assert (web.certificate, web.private_key) == (str(one.certfile), str(one.keyfile))
    with pytest.raises(SettingsError, match=r"web\.certificate: found"):
        load_text(tmp_path, text.format(other.keyfile.name))


def test_without_a_file_there_are_no_callbacks(tmp_path: Path):
    environ = {"TWILIO_ACCOUNT_SID": "AC1", "TWILIO_AUTH_TOKEN": "t", "TWILIO_FROM": "+15005550006"}
    assert load(environ, tmp_path).callback_senders == frozenset()
