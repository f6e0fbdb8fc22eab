"""Runs the commands of one group as users do: as processes."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.chaos.stack import ROOT


class Commands:
    """`faust GROUP …`, against an app of ours or the product itself."""

    def __init__(self, app: str, group: str, **environment: str) -> None:
        self._app, self._group, self._env = app, group, {**os.environ, **environment}

    def __call__(self, *command: str, as_json: bool = False) -> tuple[int, str, str]:
        done = self.run(*command, as_json=as_json)
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    def run(self, *command: str, as_json: bool = False) -> subprocess.CompletedProcess[bytes]:
        faust = [sys.executable, "-m", "faust", "-A", self._app, *(["--json"] if as_json else []), self._group]
        return subprocess.run([*faust, *command], check=False, cwd=ROOT, env=self._env, capture_output=True, timeout=60)
