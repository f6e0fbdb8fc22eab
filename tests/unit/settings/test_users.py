"""`[[web.users]]`, and what a listener needs that others can reach."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pipeline.domain.audit import Role
from pipeline.settings import SettingsError, load

if TYPE_CHECKING:
    from pathlib import Path

    from pipeline.settings import Settings

HASH, OTHER = "a" * 64, "b" * 64
USER = f'[[web.users]]\nname = "ada"\nrole = "admin"\ntoken_hash = "{HASH}"\n'


def load_text(folder: Path, text: str, **environ: str) -> Settings:
    (folder / "pipeline.toml").write_text(text, encoding="utf-8")
    return load({"PIPELINE_CONFIG": "pipeline.toml", **environ}, folder)


def test_users_have_a_name_a_role_and_a_hash_that_is_never_shown(tmp_path: Path):
    web = load_text(tmp_path, USER.replace(f'"{HASH}"', '{ env = "ADA" }'), ADA=HASH).web
    (user,) = web.users
    assert (user.name, user.role, user.token_hash.reveal()) == ("ada", Role.ADMIN, HASH)
    assert HASH not in repr(web)
    assert (web.session_for_ms, web.behind_tls) == (43_200_000, False)


def test_beyond_loopback_users_and_tls_are_needed(tmp_path: Path):
    beyond = '[web]\nlisten = "0.0.0.0:6080"\n'
    assert load_text(tmp_path, f"{beyond}behind_tls = true\n{USER}").web.listen.host == "0.0.0.0"
    for lacking in (beyond, f"{beyond}behind_tls = true\n", f"{beyond}{USER}"):
        with pytest.raises(SettingsError, match=r"web\.listen: found .* needs web\.users"):
            load_text(tmp_path, lacking)
    assert load_text(tmp_path, USER).web.users, "users on loopback are welcome"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (USER.replace('"ada"', '""'), "web.users[0].name"),
        (USER.replace('"ada"', f'"{"x" * 129}"'), "web.users[0].name"),
        (USER.replace('"admin"', '"root"'), "web.users[0].role"),
        (USER.replace(HASH, "A" * 64), "web.users[0].token_hash: found a value that is not shown"),
        (USER.replace(HASH, "a" * 63), "web.users[0].token_hash: found a value that is not shown"),
        (USER.replace("token_hash", "token"), "web.users[0].token: found an unknown key"),
        (USER + USER.replace(HASH, OTHER), "web.users[0].name: found a name that stands twice"),
        (USER + USER.replace("ada", "bob"), "web.users[0].token_hash: found a hash that stands twice"),
    ],
)
def test_users_that_cannot_be_are_named(text: str, said: str, tmp_path: Path):
    with pytest.raises(SettingsError) as raised:
        load_text(tmp_path, text)
    assert raised.value.lines[0].startswith(said)
    assert not any("a" * 60 in line for line in raised.value.lines)
