"""Who comes in: tokens, the cookie of a login, the nonce of forms, and how often a wrong token may be tried."""

from __future__ import annotations

import base64
import hmac
import secrets
from collections import OrderedDict, deque
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Final

from pipeline.console.operator import system_user
from pipeline.domain.audit import Role, Who
from pipeline.domain.token import TOKEN_BYTES, token_hash
from pipeline.web.problem import Code, Problem

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pipeline.domain.audit import Door
    from pipeline.settings.users import UserKeys
    from pipeline.settings.web import WebKeys

COOKIE: Final = "touch_session"
WRONG_A_MINUTE: Final = 5
MINUTE_MS: Final = 60_000
MOST_HOSTS: Final = 10_000
"""Remote hosts whose wrong tries are remembered."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a request brings."""

    remote: str
    """The host it comes from."""
    door: Door
    authorization: str | None = field(default=None, repr=False)
    cookie: str | None = field(default=None, repr=False)


class Attempts:
    """Wrong tokens by remote host. A right one is never refused: it is looked at first."""

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self._now_ms = now_ms
        self._wrong: OrderedDict[str, deque[int]] = OrderedDict()

    def take(self, remote: str) -> None:
        """Count a wrong token. Raises Problem `too_many` beyond five a minute, else `unauthorized`."""
        now = self._now_ms()
        times = self._wrong.setdefault(remote, deque(maxlen=WRONG_A_MINUTE + 1))
        self._wrong.move_to_end(remote)
        if len(self._wrong) > MOST_HOSTS:
            self._wrong.popitem(last=False)
        times.append(now)
        while times[0] <= now - MINUTE_MS:
            times.popleft()
        if len(times) > WRONG_A_MINUTE:
            raise Problem(Code.TOO_MANY, "too many wrong tokens came from this host: wait a minute")
        raise Problem(Code.UNAUTHORIZED, "this token is not known")


class Access:
    """Says who a request is from. Every comparison of a secret takes the same time, whatever it finds."""

    def __init__(self, web: WebKeys, now_ms: Callable[[], int]) -> None:
        self._users: Sequence[UserKeys] = web.users
        self._session_for_ms = web.session_for_ms
        self._now_ms = now_ms
        self._attempts = Attempts(now_ms)
        self._own_key = secrets.token_bytes(TOKEN_BYTES)
        """Signs forms where there are no users."""
        self._anybody = "" if web.users else system_user()
        self.is_secure = web.behind_tls or web.certificate is not None
        """Whether browsers come by https."""

    @property
    def is_open(self) -> bool:
        """Whether there are no users: whoever is on this machine is an admin."""
        return not self._users

    def who(self, brought: Credentials) -> Who | None:
        """Return who brings these; None for nobody. Raises Problem for a wrong token."""
        if self.is_open:
            return Who(self._anybody, Role.ADMIN, brought.door, brought.remote)
        user = self._by_header(brought) if brought.authorization is not None else self._by_cookie(brought.cookie)
        return None if user is None else Who(user.name, user.role, brought.door, brought.remote)

    def log_in(self, token: str, remote: str) -> tuple[str, int]:
        """Return the cookie of a new session, and how many seconds it lasts. Raises Problem for a wrong token."""
        user = self._user_of(token)
        if user is None:
            self._attempts.take(remote)
            raise AssertionError  # pragma: no cover - take raises
        until_ms = self._now_ms() + self._session_for_ms
        name = base64.urlsafe_b64encode(user.name.encode()).decode().rstrip("=")
        said = f"{name}.{until_ms}"
        return f"{said}.{self._signed(user, 'session', said)}", self._session_for_ms // 1000

    def nonce(self, cookie: str | None) -> str:
        """Return what the forms of a session carry; it is the same at every web process."""
        user = None if self.is_open else self._by_cookie(cookie)
        if user is None:
            return hmac.new(self._own_key, b"form", sha256).hexdigest()
        return self._signed(user, "form", cookie or "")

    def is_nonce(self, brought: str, cookie: str | None) -> bool:
        """Return whether a form was made for this session."""
        return hmac.compare_digest(brought.encode("utf-8", "replace"), self.nonce(cookie).encode())

    def _by_header(self, brought: Credentials) -> UserKeys | None:
        scheme, _, token = (brought.authorization or "").partition(" ")
        user = self._user_of(token.strip()) if scheme.lower() == "bearer" else None
        if user is None:
            self._attempts.take(brought.remote)
        return user

    def _user_of(self, token: str) -> UserKeys | None:
        found, hashed = None, token_hash(token).encode()
        for user in self._users:
            if hmac.compare_digest(hashed, user.token_hash.reveal().encode()):
                found = user
        return found

    def _by_cookie(self, cookie: str | None) -> UserKeys | None:
        """Return the user of a session that has not ended. It ends also when the user, or its token, is taken out."""
        if cookie is None or not cookie.isascii():
            return None
        said, _, signature = cookie.rpartition(".")
        name, _, until = said.partition(".")
        found = None
        for user in self._users:
            is_his = hmac.compare_digest(signature.encode(), self._signed(user, "session", said).encode())
            is_named = base64.urlsafe_b64encode(user.name.encode()).decode().rstrip("=") == name
            if is_his and is_named:
                found = user
        if found is None:
            return None  # whoever wrote it: its numbers may have any length
        is_over = not until.isdecimal() or int(until) <= self._now_ms()
        return None if is_over else found

    def _signed(self, user: UserKeys, purpose: str, text: str) -> str:
        key = sha256(b"touch-pipeline session\0" + user.token_hash.reveal().encode()).digest()
        return hmac.new(key, f"{purpose}\0{text}".encode(), sha256).hexdigest()
