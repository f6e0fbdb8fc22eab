"""The processes of the demo: Kafka, sandbox, worker, web process. They are started and stopped together, also after an error."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

from pipeline.lab.demo.config import RESEND_SECRET, TWILIO_TOKEN, WAHA_SECRET, config_of
from pipeline.lab.local.kafka import LocalKafka
from pipeline.lab.local.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[3]
START_S = 60.0
STOP_S = 30.0
"""A worker answers SIGTERM within request_timeout + 10 s."""
STOP_ORDER = ("worker", "sandbox", "web")
"""And Kafka behind them."""
SANDBOX_SAYS = re.compile(r"sandbox listening on (http://\S+)")


class DemoFailed(Exception):
    """The demo cannot go on; one line for people."""


class Stack:
    """Kafka, sandbox, worker and web process in one folder, which is emptied first: every start is a first start."""

    def __init__(self, folder: Path, say: Callable[[str], None]) -> None:
        self.folder = folder
        self.kafka = ""
        self.sandbox = ""
        self.web = ""
        """The worker's web server."""
        self._private_port, self._public_port = free_port(), free_port()
        self._say = say
        self._brokers = LocalKafka(folder / "kafka")
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def config(self) -> Path:
        """The configuration file; commands take it from PIPELINE_CONFIG."""
        return self.folder / "pipeline.toml"

    @property
    def public_web(self) -> str:
        """Where the web process takes callbacks and unsubscribe clicks."""
        return f"http://127.0.0.1:{self._public_port}"

    @property
    def private_web(self) -> str:
        """Where the web process serves the console, the API, /live, /ready and /metrics."""
        return f"http://127.0.0.1:{self._private_port}"

    @property
    def environment(self) -> dict[str, str]:
        """The environment of the product's own processes."""
        return {**os.environ, "PIPELINE_CONFIG": str(self.config)}

    def start(self) -> None:
        """Start everything and wait until touches can move. Raises DemoFailed."""
        stop_leftovers(self.folder)
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        secrets = [f"waha={WAHA_SECRET}", f"resend={RESEND_SECRET}", f"twilio={TWILIO_TOKEN}"]
        options = [word for each in secrets for word in ("--secret", each)]
        self._spawn("sandbox", ["pipeline.sandbox", "--port", "0", "--callbacks", self.public_web, *options])
        self._say("starting Kafka (the first time it is fetched, about half a minute)")
        self._brokers.start()
        self._remember()
        self.kafka = self._brokers.bootstrap_servers[0]
        self.sandbox = self._sandbox_url()
        ports = {"private_port": self._private_port, "public_port": self._public_port}
        self.config.write_text(config_of(self.kafka, self.sandbox, str(ROOT / "templates"), time.time(), **ports))
        self._start_worker()
        self._start_web()

    def stop(self) -> None:
        """Stop everything, the worker first."""
        for name in STOP_ORDER:
            if (process := self._running.pop(name, None)) is not None:
                _end(process)
        self._brokers.stop()
        (self.folder / "pids.json").unlink(missing_ok=True)

    def produce(self, file: Path) -> None:
        """Produce `file` with the command, as a user would. A skipped line is no failure of the demo."""
        command = [sys.executable, "-m", "faust", "-A", "pipeline", "produce", str(file)]
        done = subprocess.run(command, cwd=ROOT, env=self.environment, capture_output=True, text=True, check=False)
        for line in (done.stdout + done.stderr).splitlines():
            self._say(f"  {line}")
        if "produced to" not in done.stdout:
            raise DemoFailed("the touches could not be produced")

    def check_alive(self) -> None:
        """Raise DemoFailed if a process has ended."""
        for name, process in self._running.items():
            if (code := process.poll()) is not None:
                raise DemoFailed(f"the {name} ended with {code}; its log: {self.log(name)}")

    def log(self, name: str) -> Path:
        """Where a process writes to."""
        return self.folder / f"{name}.log"

    def _start_worker(self) -> None:
        port = free_port()
        self.web = f"http://127.0.0.1:{port}"
        self._spawn("worker", ["faust", "-A", "pipeline", "worker", "-l", "info", "--web-port", str(port)])
        self._say("starting the worker: faust -A pipeline worker")
        with httpx.Client(timeout=2) as client:
            self._wait("the worker is not ready", lambda: _is_ready(client, f"{self.web}/ready"))

    def _start_web(self) -> None:
        self._spawn("web", ["faust", "-A", "pipeline", "web"])
        self._say("starting the web process: faust -A pipeline web")
        with httpx.Client(timeout=2) as client:
            self._wait("the web process is not ready", lambda: _is_ready(client, f"{self.private_web}/ready"))

    def _spawn(self, name: str, module: list[str]) -> None:
        with self.log(name).open("ab") as log:
            # A session of its own: Ctrl-C reaches only us, and we stop the rest in order.
            self._running[name] = subprocess.Popen(
                [sys.executable, "-u", "-m", *module],
                cwd=ROOT,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._remember()

    def _sandbox_url(self) -> str:
        def said() -> str | None:
            found = SANDBOX_SAYS.search(self.log("sandbox").read_text())
            return found[1] if found else None

        return self._wait("the sandbox does not start", said)

    def _wait(self, problem: str, ask: Callable[[], str | None]) -> str:
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            self.check_alive()
            if answer := ask():
                return answer
            time.sleep(0.1)
        raise DemoFailed(f"{problem} after {START_S:.0f} s; logs: {self.folder}")

    def _remember(self) -> None:
        # In the order in which they are to be stopped.
        named = [(name, self._running[name].pid) for name in STOP_ORDER if name in self._running]
        named += [("Kafka", pid) for pid in self._brokers.pids]
        (self.folder / "pids.json").write_text(json.dumps([[name, pid, _born(pid)] for name, pid in named]))


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Hold `folder` against a second demo at the same time. Raises DemoFailed if there is one."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_suffix(".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # ends with the process, however that ends
        except BlockingIOError:
            raise DemoFailed(f"another one is at work in {folder}") from None
        yield


@dataclass(frozen=True, slots=True)
class Leftovers:
    """What an earlier run left, by name."""

    stopped: tuple[str, ...] = ()
    dead: tuple[str, ...] = ()
    """Had ended before they were stopped."""

    def __str__(self) -> str:
        parts = [f"stopped {', '.join(self.stopped)}"] if self.stopped else []
        parts += [f"{', '.join(self.dead)} had ended before"] if self.dead else []
        return "; ".join(parts) or "nothing was running"


def stop_leftovers(folder: Path) -> Leftovers:
    """Stop what an earlier run in `folder` has left running; return what that was."""
    kept = folder / "pids.json"
    if not kept.exists():
        return Leftovers()
    stopped, dead = [], []
    for name, pid, born in json.loads(kept.read_text()):
        if born is not None and _born(pid) == born:
            _end_pid(pid)
            stopped.append(name)
        else:
            dead.append(name)
    kept.unlink(missing_ok=True)
    return Leftovers(tuple(stopped), tuple(dead))


def _born(pid: int) -> str | None:
    """Return when a process was started: with its id it names a process for ever. None: it does not live."""
    stat = Path(f"/proc/{pid}/stat")
    if Path("/proc/self/stat").exists():
        with suppress(OSError):
            state, *rest = stat.read_text().rpartition(")")[2].split()
            return None if state == "Z" else rest[18]  # starttime, field 22 of proc(5)
        return None
    done = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)  # noqa: S607
    return done.stdout.strip() or None


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _end_pid(pid: int) -> None:
    born, deadline = _born(pid), time.monotonic() + STOP_S
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
        while _born(pid) == born:
            if time.monotonic() > deadline:
                os.kill(pid, signal.SIGKILL)
            time.sleep(0.1)


def _is_ready(client: httpx.Client, url: str) -> str | None:
    with suppress(httpx.HTTPError):
        if client.get(url).status_code == httpx.codes.OK:
            return url
    return None
