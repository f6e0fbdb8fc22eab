"""Configuration of a secured local Kafka: listeners with TLS and SASL, and nothing allowed without an ACL."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

PLAIN = "org.apache.kafka.common.security.plain.PlainLoginModule"
SCRAM = "org.apache.kafka.common.security.scram.ScramLoginModule"
BEARER = "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule"
UNSECURED = (
    "org.apache.kafka.common.security.oauthbearer.internals.unsecured.OAuthBearerUnsecuredValidatorCallbackHandler"
)
AUTHORIZER = "org.apache.kafka.metadata.authorizer.StandardAuthorizer"


@dataclass(frozen=True, slots=True)
class Security:
    """Who may log in, and by which certificates both sides are known. PLAINTEXT is the administrator's, and the brokers'."""

    cafile: Path
    """Clients' certificates are signed by these (PEM); the name in one is the principal."""
    certfile: Path
    """The brokers' certificate, for 127.0.0.1 (PEM)."""
    keyfile: Path
    """Its key (PEM, PKCS#8)."""
    passwords: Mapping[str, str] = field(repr=False)
    """By user, for PLAIN and SCRAM; a bearer token is believed unsigned."""

    def properties(self) -> dict[str, object]:
        """Return the broker's properties."""
        return {**self._tls(), **self._sasl(), **self._acls()}

    def format_options(self) -> list[str]:
        """Return the storage tool's arguments that create the users before the first start."""
        return [
            word
            for mechanism in ("SCRAM-SHA-256", "SCRAM-SHA-512")
            for user, password in self.passwords.items()
            for word in ("--add-scram", f"{mechanism}=[name={user},password={password}]")
        ]

    def _tls(self) -> dict[str, object]:
        store = self.keyfile.with_name("broker-store.pem")
        store.write_bytes(self.keyfile.read_bytes() + self.certfile.read_bytes())
        return {
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": store,
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": self.cafile,
            "listener.name.ssl.ssl.client.auth": "required",
            "ssl.principal.mapping.rules": r"RULE:^CN=([^,]+),.*$/$1/,DEFAULT",
        }

    def _sasl(self) -> dict[str, object]:
        users = " ".join(f'user_{user}="{password}"' for user, password in self.passwords.items())
        found: dict[str, object] = {"sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER"}
        for listener in ("sasl_plaintext", "sasl_ssl"):
            at = f"listener.name.{listener}"
            found |= {
                f"{at}.plain.sasl.jaas.config": f"{PLAIN} required {users};",
                f"{at}.scram-sha-256.sasl.jaas.config": f"{SCRAM} required;",
                f"{at}.scram-sha-512.sasl.jaas.config": f"{SCRAM} required;",
                f"{at}.oauthbearer.sasl.jaas.config": f'{BEARER} required unsecuredLoginStringClaim_sub="broker";',
                f"{at}.oauthbearer.sasl.server.callback.handler.class": UNSECURED,
                # A session ends with its token (KIP-368); without it a connection outlives the token.
                f"{at}.oauthbearer.connections.max.reauth.ms": 3_600_000,
            }
        return found

    def _acls(self) -> dict[str, object]:
        return {
            "authorizer.class.name": AUTHORIZER,
            "super.users": "User:ANONYMOUS",
            "allow.everyone.if.no.acl.found": "false",
        }
