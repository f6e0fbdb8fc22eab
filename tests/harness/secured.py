"""A local Kafka with TLS, SASL and ACLs, and the ways in: what tests of a secured Kafka share."""

from __future__ import annotations

import base64
import json
import re
import time
from argparse import ArgumentParser
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from aiokafka.client import AIOKafkaClient
from aiokafka.protocol.admin import CreateAclsRequest

from pipeline.lab.local.kafka import LocalKafka
from pipeline.lab.local.security import Security
from tests.harness.certificates import Authority
from tests.harness.stack import CONFIG, Stack

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.harness.certificates import Pair

PASSWORDS = {
    "pipeline": "pipeline's-long-password",
    "shop": "shop-password",
    "reporting": "reporting-password",
    "stranger": "stranger-password",
}
RESOURCES = {"topic": 2, "group": 3, "transactional_id": 5}
OPERATIONS = {
    name: number
    for number, name in enumerate(
        ["All", "Read", "Write", "Create", "Delete", "Alter", "Describe", "ClusterAction", "DescribeConfigs"], start=2
    )
}
PATTERNS = {"literal": 3, "prefixed": 4}
ALLOW = 3


class SmallStack(Stack):
    """A stack with few partitions: each has connections of its own, and each of those a handshake."""

    template = CONFIG.replace("partitions = 4", "partitions = 1").replace("lanes = 4", "lanes = 3")
    partitions = 1


class Acl(NamedTuple):
    """One permission."""

    resource: int
    name: str
    pattern: int
    principal: str
    operation: int


def acls_of(text: str, prefix: str) -> Iterator[Acl]:
    """Yield what the `kafka-acls.sh` commands of the documentation in `text` grant."""
    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--bootstrap-server", required=True)
    parser.add_argument("--add", action="store_true", required=True)
    parser.add_argument("--allow-principal", required=True)
    parser.add_argument("--resource-pattern-type", choices=PATTERNS, default="literal")
    for name in ("operation", *RESOURCES):
        parser.add_argument(f"--{name.replace('_', '-')}", action="append", default=[])
    for block in re.findall(r"^```sh acl\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE):
        for line in block.replace("${PREFIX}", prefix).splitlines():
            said = parser.parse_args(line.removeprefix("kafka-acls.sh ").split())
            for kind, number in RESOURCES.items():
                for name in getattr(said, kind):
                    for operation in said.operation:
                        yield Acl(
                            number,
                            name,
                            PATTERNS[said.resource_pattern_type],
                            said.allow_principal,
                            OPERATIONS[operation],
                        )


def token_of(user: str, *, lasts_s: int = 3_600) -> str:
    """Return an unsigned token, which the local broker believes."""
    now = int(time.time())
    parts = ({"alg": "none"}, {"sub": user, "iat": now, "exp": now + lasts_s})
    return ".".join(base64.urlsafe_b64encode(json.dumps(each).encode()).rstrip(b"=").decode() for each in parts) + "."


class Way(NamedTuple):
    """A way in: the servers, and what `[kafka]` says beside them."""

    servers: list[str]
    keys: dict[str, str]

    @property
    def toml(self) -> str:
        return "\n".join(f"{key} = {json.dumps(value)}" for key, value in self.keys.items())

    @property
    def environment(self) -> dict[str, str]:
        return {
            "KAFKA_BOOTSTRAP_SERVERS": ",".join(self.servers),
            **{f"KAFKA_{key.upper()}": value for key, value in self.keys.items()},
        }


class SecuredKafka:
    """One broker with every listener."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        authority = Authority(folder / "certificates")
        broker = authority.certify("broker", "127.0.0.1", "localhost")
        self.certified = {user: authority.certify(user) for user in PASSWORDS}
        self._cafile = authority.cafile
        self._kafka = LocalKafka(
            folder / "kafka", security=Security(authority.cafile, broker.certfile, broker.keyfile, PASSWORDS)
        )

    def __enter__(self) -> Self:
        self._kafka.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._kafka.stop()

    @property
    def admin(self) -> list[str]:
        """The plain listener, whose users may do everything."""
        return self._kafka.bootstrap_servers

    async def grant(self, text: str, prefix: str) -> None:
        """Grant what the documentation in `text` says, for topics that begin with `prefix`."""
        client = AIOKafkaClient(bootstrap_servers=self.admin)
        await client.bootstrap()
        try:
            for acl in acls_of(text, prefix):
                answer = await client.send(
                    client.get_random_node(),
                    CreateAclsRequest(acl.resource, acl.name, acl.pattern, acl.principal, "*", acl.operation, ALLOW),
                )
                assert answer.creation_responses[0][0] == 0, answer
        finally:
            await client.close()

    def by_password(self, user: str, protocol: str, mechanism: str, password: str | None = None) -> Way:
        said = {
            "security_protocol": protocol,
            "sasl_mechanism": mechanism,
            "sasl_username": user,
            "sasl_password": PASSWORDS[user] if password is None else password,
        }
        return Way(self._kafka.secured_servers(protocol), {**said, **self._trust(protocol)})

    def by_certificate(self, user: str) -> Way:
        pair: Pair = self.certified[user]
        said = {"security_protocol": "SSL", "ssl_certfile": str(pair.certfile), "ssl_keyfile": str(pair.keyfile)}
        return Way(self._kafka.secured_servers("SSL"), {**said, **self._trust("SSL")})

    def by_token(self, user: str, protocol: str) -> Way:
        path = self.folder / f"{user}.token"
        path.write_text(token_of(user))
        return self._by_bearer(protocol, sasl_token_file=str(path))

    def by_command(self, user: str, protocol: str, command: str | None = None) -> Way:
        path = self.folder / f"{user}.token"
        path.write_text(token_of(user))
        return self._by_bearer(protocol, sasl_token_command=command or f"cat {path}")

    def _by_bearer(self, protocol: str, **source: str) -> Way:
        said = {"security_protocol": protocol, "sasl_mechanism": "OAUTHBEARER", **source}
        return Way(self._kafka.secured_servers(protocol), {**said, **self._trust(protocol)})

    def without_login(self, protocol: str, listener: str, **keys: str) -> Way:
        return Way(
            self._kafka.secured_servers(listener), {"security_protocol": protocol, **self._trust(protocol), **keys}
        )

    def _trust(self, protocol: str) -> dict[str, Any]:
        return {"ssl_cafile": str(self._cafile)} if protocol.endswith("SSL") else {}
