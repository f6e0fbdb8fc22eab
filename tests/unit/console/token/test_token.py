"""A new token, as an administrator makes it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from hashlib import sha256

from pipeline.settings.users import TOKEN_HASH
from tests.harness.stack import ROOT


def typed(*command: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "faust", "-A", "pipeline", *command],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def test_token_prints_a_new_token_and_the_hash_that_the_configuration_takes():
    said = re.fullmatch(r"token       ([A-Za-z0-9_-]{43})\ntoken_hash  ([0-9a-f]{64})\n", typed("token"))
    assert said is not None
    assert TOKEN_HASH.parse(said[2]) == sha256(said[1].encode()).hexdigest()
    other = json.loads(typed("--json", "token"))
    assert other["token"] != said[1]
    assert other["token_hash"] == sha256(other["token"].encode()).hexdigest()
