"""What is logged names nobody: secrets cannot be printed, and addresses, keys and texts are masked in every line."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import pickle
from base64 import b64encode
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from aiokafka.protocol.admin import SaslAuthenticateRequest_v1
from hypothesis import given
from hypothesis import strategies as st

from pipeline.channels.http import Unreached, Wire
from pipeline.domain.touch import Touch
from pipeline.domain.work import Attachment, Channel, Claim, Content, Request, Work
from pipeline.engine.application import Application
from pipeline.engine.log_rate_limit import OneLineTraceback
from pipeline.masking import MaskedRecord, masked
from pipeline.secret import Address, Secret, forget, without_secrets

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TEXT = "Your parcel from Zürich waits, call us back"
PHONES = [
    "+12125550123",
    "+1 212 555 0123",
    "+1 (212) 555-0123",
    "+49-170-1234567",
    "＋12125550123",
    "%2B12125550123",
    "%2b12125550123",
    "tel:+12125550123",
    "12125550123@c.us",
    "12125550123%40c.us",
    "12125550123@s.whatsapp.net",
    "phone=12125550123",
    "To=%2B12125550123&PageSize=50",
]
MAILS = [
    "ann@example.com",
    "ann.smith+shop@mail.example.co.uk",
    "ann%40example.com",
    "ann@münchen.de",
    "ann@xn--mnchen-3ya.de",
    "Änn@example.com",
    "o'ann@example.com",
    '"ann smith"@example.com',
    "Ann <ann@example.com>",
    "mailto:ann@example.com",
    "to=ann@example.com,",
    "'ann@example.com'",
    "ann_s@a-b.example",
]
LINES = [
    # what must stay readable
    "created topics: touches, touches.whatsapp, accepted-changelog",
    "sms lane of default is paused, 312 wait: HTTP 429: Too many requests",
    "touches[3]@1790000000000 is none of ours and passed over",
    "Kafka at 127.0.0.1:9092,127.0.0.1:9093 cannot be used: the broker closes the connection; does this port speak SSL?",
    "committed offset 12345678 of touches-0 at 2026-11-26T21:50:00+00:00",
    "kafka://127.0.0.1:9092 and http://registry:8081/subjects/touches-value/versions",
    "the call of claim 0190f5b2-7d1e-7cc1-b0c4-1f6a2d6f3e11 broke",
]


def held(text: str) -> Iterator[Secret]:
    secret = Secret(text)
    yield secret
    forget(secret)


@pytest.fixture
def secret() -> Iterator[Secret]:
    yield from held("pa'ss\\wo/rd+ü")


@pytest.fixture
def written() -> Iterator[tuple[logging.Logger, io.StringIO]]:
    """A logger whose records are masked ones, and what it writes."""
    stream, logger = io.StringIO(), logging.getLogger("aiokafka.conn.test")
    logger.setLevel(logging.DEBUG)
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    logger.addHandler(handler)
    before = logging.getLogRecordFactory()
    logging.setLogRecordFactory(MaskedRecord)
    yield logger, stream
    logging.setLogRecordFactory(before)
    logger.removeHandler(handler)


def test_a_secret_cannot_be_printed(secret: Secret) -> None:
    shown = [
        str(secret),
        repr(secret),
        f"{secret}",
        f"{secret!r:>20}",
        "%s %r" % (secret, secret),  # noqa: UP031 - a way to print it
        repr({"key": [secret]}),
        json.dumps([secret], default=str),
    ]
    assert all("wo/rd" not in text for text in shown)
    assert secret.reveal() == "pa'ss\\wo/rd+ü"
    with pytest.raises(TypeError):
        pickle.dumps(secret)


def test_a_secret_is_masked_however_it_is_written(secret: Secret) -> None:
    text = secret.reveal()
    forms = [
        text,
        repr(text),
        repr(text.encode()),
        json.dumps(text),
        quote(text, safe=""),
        b64encode(text.encode()).decode(),
        f"x{text}y",
    ]
    for form in forms:
        shown = without_secrets(f"login {form} refused")
        assert "***" in shown, form
        assert "wo" not in shown, form
        assert shown.startswith("login ")


def test_a_short_secret_is_masked_where_it_stands_alone() -> None:
    for secret in held("demo"):
        assert without_secrets(f"key={secret.reveal()}; demonstration of demo-2") == "key=***; demonstration of ***-2"


@given(st.text(min_size=4, max_size=40))
def test_no_secret_of_any_form_comes_through(text: str) -> None:
    for secret in held(f"§{text}§"):
        assert secret.reveal() not in masked(f"a {secret.reveal()} b")


@pytest.mark.parametrize("phone", PHONES)
def test_a_phone_number_is_masked(phone: str, written: tuple[logging.Logger, io.StringIO]) -> None:
    logger, stream = written
    logger.info("asked for %s at last", phone)
    assert "555" not in stream.getvalue()
    assert "1234567" not in stream.getvalue()
    assert stream.getvalue().startswith("INFO asked for ")
    assert stream.getvalue().endswith(" at last\n")


@pytest.mark.parametrize("mail", MAILS)
def test_a_mail_address_is_masked(mail: str, written: tuple[logging.Logger, io.StringIO]) -> None:
    logger, stream = written
    logger.warning(f"wrote to {mail} today")  # noqa: G004
    assert "nn@" not in stream.getvalue()
    assert "nn%40" not in stream.getvalue()
    assert "smith" not in stream.getvalue()
    assert "***" in stream.getvalue()


@pytest.mark.parametrize("line", LINES)
def test_what_names_nobody_stays_as_it_is(line: str) -> None:
    assert masked(line, dumps=True) == line


@pytest.mark.parametrize(
    "line",
    [
        "GET http://me:hidden@registry:8081/subjects",
        "https://hidden@api.example.com",
        "http://a%40b:hidden%2F@h/",
        "Authorization: Bearer hidden.hidden-hidden",
        "Basic aGlkZGVuOmhpZGRlbg==",
        "{'url': 'https://u:hidden@h/x'}",
    ],
)
def test_credentials_in_urls_and_headers_are_masked_whoever_they_are_of(line: str) -> None:
    assert "hidden" not in masked(line)
    assert "aGlkZGVu" not in masked(line)


def test_a_library_that_dumps_its_requests_shows_neither_logins_nor_texts(
    written: tuple[logging.Logger, io.StringIO],
) -> None:
    logger, stream = written
    logger.debug("Request to %s:%d %d: %s", "127.0.0.1", 9092, 3, SaslAuthenticateRequest_v1(b"\0user\0pass word"))
    logger.debug(
        "sent %r",
        {"body": TEXT, "topic": "touches.sms", "value": TEXT.encode(), "中": "您的包裹已到，请来取件，谢谢您"},
    )
    logger.debug("sent %s", [TEXT + '"', "it's " + TEXT])
    for planted in ("pass word", "parcel", "包裹"):
        assert planted not in stream.getvalue()
    for kept in ("127.0.0.1:9092 3: SaslAuthenticateRequest_v1", "touches.sms"):
        assert kept in stream.getvalue()


def test_tracebacks_and_what_filters_make_of_them_are_masked(
    written: tuple[logging.Logger, io.StringIO], secret: Secret
) -> None:
    logger, stream = written
    for number in range(2):
        try:
            Channel(f"+12125550123 or ann@example.com with {secret.reveal()}")
        except ValueError:
            logger.exception("broken: %s", "+12125550124")
        if number == 0:
            logger.handlers[0].addFilter(OneLineTraceback())
    told = stream.getvalue()
    assert told.count("is not a valid Channel") == 2
    assert "Traceback" in told
    assert not any(planted in told for planted in ("5550123", "5550124", "ann@", "wo/rd"))


def test_a_line_whose_arguments_do_not_fit_writes_them_nowhere(
    written: tuple[logging.Logger, io.StringIO], capsys: pytest.CaptureFixture[str]
) -> None:
    logger, stream = written
    logger.info("%d of them", "ann@example.com")
    assert stream.getvalue() == "INFO %d of them [its arguments do not fit: TypeError]\n"
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("text", "url", "login"),
    [
        ("https://me:p%40ss@registry:8081/base", "https://registry:8081/base", ("me", "p@ss")),
        ("http://registry:8081", "http://registry:8081", None),
        ("http://key@registry", "http://registry", ("key", "")),
        ("http://u:p:q@h/a@b?c=d@e#f", "http://h/a@b?c=d@e#f", ("u", "p:q")),
        ("http://h/path@at", "http://h/path@at", None),
        ("http://u:@[::1]:8081/", "http://[::1]:8081/", ("u", "")),
    ],
)
def test_user_and_password_are_split_off_a_url(text: str, url: str, login: tuple[str, str] | None) -> None:
    address = Address.read(text)
    assert (address.url, address.basic) == (url, login)
    assert address.with_login() == text
    assert str(address) == url
    assert login is None or not login[1] or login[1] not in repr(address)


def test_nothing_that_travels_prints_whom_it_is_for_or_what_is_said() -> None:
    said: dict[str, Any] = {
        "subject": TEXT,
        "body": TEXT,
        "text": TEXT,
        "reply_to": "ann@example.com",
        "headers": {"X": TEXT},
    }
    touch = Touch(
        "t-1",
        "c",
        "l",
        Channel.SMS,
        "+12125550123",
        **said,
        variables={"a": TEXT},
        metadata={"a": TEXT},
        attachments=(Attachment("f", None, TEXT.encode(), "https://a.example/" + TEXT),),
    )
    content = Content(**said, attachments=touch.attachments)
    work = Work(
        "t-1",
        "c",
        "l",
        Channel.SMS,
        "+12125550123",
        "default",
        pinned=False,
        content=content,
        digest=b"",
        origin=0,
        metadata={"a": TEXT},
    )
    claim = Claim("c-1", (work,), Request("/messages", TEXT.encode(), "text/plain", ""), 0, 1)
    for value in (touch, content, work, claim):
        assert "t-1" in repr(value) or value is content
        assert not any(planted in repr(value) for planted in ("parcel", "5550123", "ann@")), repr(value)
    assert set(Work.__struct_fields__) > {"to", "content"}


def test_the_traceback_of_what_ended_a_worker_names_nobody(tmp_path: Path, secret: Secret) -> None:
    host: Any = SimpleNamespace(engine_config=SimpleNamespace(folder=tmp_path / "tables"))
    Application._keep_traceback(
        host, ValueError(f"no room for +12125550123, ann@example.com, {secret.reveal()}, {TEXT.encode()!r}")
    )
    told = (tmp_path / "crash.txt").read_text()
    assert "ValueError: no room for ***" in told
    assert not any(planted in told for planted in ("5550123", "ann@", "wo/rd", "parcel"))


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 abc\r\n\r\n",
        b"not HTTP at all\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nBad Header\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"x" * 20_000,
        b"HTTP/9.9 200 OK\r\n\r\n",
    ],
)
async def test_a_look_up_that_fails_does_not_tell_whom_it_was_about(answer: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(answer)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        wire = Wire(f"http://127.0.0.1:{port}", {}, request_timeout_ms=3_000, now_ms=lambda: 0)
        await wire.open()
        try:
            found = await wire.get(
                "/api/default/chats/12125550123@c.us/messages", {"To": "+12125550123", "mail": "ann@example.com"}
            )
            told = repr(found)
        except Unreached as error:
            told = str(error)
        finally:
            await wire.close()
    assert told
    assert "5550123" not in told
    assert "ann" not in told.replace("channel", "").replace("cannot", "")
