"""Who comes in: by token, by cookie, not at all; and how often a wrong token may be tried."""

from __future__ import annotations

import pytest

from pipeline.console.operator import system_user
from pipeline.domain.audit import Door, Role, Who
from pipeline.domain.token import token_hash
from pipeline.secret import Secret
from pipeline.settings.users import UserKeys
from pipeline.settings.web import Listen, WebKeys
from pipeline.web.access import Access, Credentials
from pipeline.web.problem import Code, Problem

T0 = 1_795_000_000_000
TOKENS = {"vera": "v" * 43, "otto": "o" * 43, "ada": "a" * 43}
ROLES = {"vera": Role.VIEWER, "otto": Role.OPERATOR, "ada": Role.ADMIN}


def user(name: str, token: str | None = None) -> UserKeys:
    return UserKeys(name=name, role=ROLES[name], token_hash=Secret(token_hash(token or TOKENS[name])))


def keys(*users: UserKeys, **more: object) -> WebKeys:
    said = {
        "listen": Listen("127.0.0.1", 0),
        "public_listen": None,
        "public_url": None,
        "certificate": None,
        "private_key": None,
        "behind_tls": False,
        "session_for_ms": 60_000,
        "users": users,
    }
    return WebKeys(**{**dict.fromkeys(WebKeys.__dataclass_fields__), **said, **more})


class Clock:
    def __init__(self) -> None:
        self.ms = T0

    def __call__(self) -> int:
        return self.ms


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def access(clock: Clock) -> Access:
    return Access(keys(*map(user, TOKENS)), clock)


def bearer(token: str, remote: str = "10.0.0.1") -> Credentials:
    return Credentials(remote, Door.API, f"Bearer {token}")


def cookie(text: str) -> Credentials:
    return Credentials("10.0.0.1", Door.CONSOLE, None, text)


@pytest.mark.parametrize("name", TOKENS)
def test_a_token_names_its_user(access: Access, name: str):
    assert access.who(bearer(TOKENS[name])) == Who(name, ROLES[name], Door.API, "10.0.0.1")


def test_no_credential_is_nobody_and_a_wrong_one_is_refused(access: Access):
    assert access.who(Credentials("10.0.0.1", Door.API)) is None
    for wrong in (
        "Bearer x",
        "Bearer",
        "Bearer \udcff\udc80",
        "Bearer " + "x" * 8_000,
        "",
        f"Basic {TOKENS['ada']}",
        f"Bearer {token_hash(TOKENS['ada'])}",
    ):
        with pytest.raises(Problem) as refused:
            access.who(Credentials(wrong or "empty", Door.API, wrong))
        assert refused.value.code is Code.UNAUTHORIZED


def test_the_sixth_wrong_token_of_a_minute_is_too_many_and_a_right_one_never_is(access: Access, clock: Clock):
    def tried(remote: str = "10.0.0.1") -> Code:
        with pytest.raises(Problem) as refused:
            access.who(bearer("wrong", remote))
        return refused.value.code

    assert [tried() for _ in range(7)] == [Code.UNAUTHORIZED] * 5 + [Code.TOO_MANY] * 2
    assert access.who(bearer(TOKENS["ada"])) is not None
    assert access.log_in(TOKENS["vera"], "10.0.0.1")
    assert tried("10.0.0.2") is Code.UNAUTHORIZED, "another host"
    with pytest.raises(Problem) as refused:
        access.log_in("wrong", "10.0.0.1")
    assert refused.value.code is Code.TOO_MANY, "the login counts with the API"
    clock.ms += 60_000
    assert tried() is Code.UNAUTHORIZED


def test_a_cookie_is_good_at_every_process_with_the_same_users_until_it_ends(access: Access, clock: Clock):
    text, lasts_s = access.log_in(TOKENS["otto"], "10.0.0.1")
    assert lasts_s == 60
    other = Access(keys(user("ada"), user("otto")), clock)
    for each in (access, other):
        assert each.who(cookie(text)) == Who("otto", Role.OPERATOR, Door.CONSOLE, "10.0.0.1")
        assert each.is_nonce(access.nonce(text), text)
    clock.ms += 60_000
    assert access.who(cookie(text)) is None


def test_a_session_ends_with_its_user_and_with_its_token(access: Access, clock: Clock):
    text, _ = access.log_in(TOKENS["otto"], "10.0.0.1")
    assert Access(keys(user("ada"), user("vera")), clock).who(cookie(text)) is None
    assert Access(keys(user("otto", "n" * 43)), clock).who(cookie(text)) is None


def test_a_cookie_that_was_touched_is_none(access: Access):
    text, _ = access.log_in(TOKENS["vera"], "10.0.0.1")
    ada, _ = access.log_in(TOKENS["ada"], "10.0.0.1")
    name, until, signature = text.split(".")
    for wrong in (
        f"{ada.split('.')[0]}.{until}.{signature}",
        f"{name}.{int(until) + 1}.{signature}",
        f"{name}.{until}.{signature[:-1]}",
        f"{name}.{until}.",
        f"{name}..{signature}",
        f"{name}.{'9' * 8_000}.{signature}",
        f"{name}.{'9' * 8_000}.",
        "ü.1.2",
        "",
        "...",
    ):
        assert access.who(cookie(wrong)) is None, wrong
    assert access.who(cookie(text)) is not None


def test_a_nonce_is_of_one_session(access: Access):
    first, _ = access.log_in(TOKENS["vera"], "10.0.0.1")
    second, _ = access.log_in(TOKENS["ada"], "10.0.0.1")
    assert access.is_nonce(access.nonce(first), first)
    assert not access.is_nonce(access.nonce(first), second)
    assert not access.is_nonce("", first)
    assert not access.is_nonce("ü", first)


def test_without_users_whoever_is_here_is_admin_under_the_system_s_name(clock: Clock):
    access = Access(keys(), clock)
    assert access.is_open
    assert access.who(Credentials("127.0.0.1", Door.CONSOLE)) == Who(
        system_user(), Role.ADMIN, Door.CONSOLE, "127.0.0.1"
    )
    assert access.is_nonce(access.nonce(None), None)
    assert not Access(keys(), clock).is_nonce(access.nonce(None), None), "another process has another"


def test_wrong_tokens_of_many_hosts_take_no_memory_without_bound(access: Access, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("pipeline.web.access.MOST_HOSTS", 10)
    for number in range(50):
        with pytest.raises(Problem):
            access.who(bearer("wrong", f"10.0.0.{number}"))
    assert len(access._attempts._wrong) == 10
