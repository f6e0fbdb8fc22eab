"""`[[web.users]]`: who may come in, and what each may do."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Final

from pipeline.domain.audit import Role
from pipeline.secret import Secret
from pipeline.settings.key_path import KeyPath
from pipeline.settings.kinds import member_of, text
from pipeline.settings.schema import REQUIRED, key

LONGEST_NAME: Final = 128
NAME: Final = text(rf"(?=.*\S)[^\x00-\x1f\x7f]{{1,{LONGEST_NAME}}}", f"1 to {LONGEST_NAME} characters")
TOKEN_HASH: Final = text(r"[0-9a-f]{64}", "64 hexadecimal digits, as `faust -A pipeline token` prints them")


@dataclass(frozen=True, slots=True, kw_only=True)
class UserKeys:
    """`[[web.users]]`: one user."""

    name: str = key(NAME, REQUIRED, "Name, as it stands in orders and in the audit. One user has one.")
    role: Role = key(
        member_of(Role),
        REQUIRED,
        '"viewer" reads, "operator" acts, too, "admin" also lifts complaints, reads the audit and unmasks addresses.',
    )
    token_hash: Secret = key(
        TOKEN_HASH,
        REQUIRED,
        "Hash of the user's token; `faust -A pipeline token` prints both. Sessions are signed with it: keep it as secret as a token.",
        secret=True,
    )


def check_users(users: tuple[UserKeys, ...], path: KeyPath) -> None:
    """Note at `path` (`web.users`) names and tokens that stand twice."""
    names = Counter(user.name for user in users)
    hashes = Counter(user.token_hash.reveal() for user in users)
    for index, user in enumerate(users):
        if names[user.name] > 1:
            path.item(index).at("name").note("a name that stands twice", "a name of its own for each user")
        if hashes[user.token_hash.reveal()] > 1:
            path.item(index).at("token_hash").note("a hash that stands twice", "a token of its own for each user")
