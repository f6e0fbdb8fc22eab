"""The keys of `[kafka]`: where Kafka is, how to log in, and the shape of the topics."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.secret import Address, Secret
from pipeline.settings.kinds import COMMAND, FILE, PASSWORD, SERVERS, URL_WITH_LOGIN, choice, duration, text, whole
from pipeline.settings.schema import ABSENT, key


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaSettings:
    """`[kafka]`."""

    bootstrap_servers: tuple[str, ...] = key(
        SERVERS, ["127.0.0.1:9092"], "Brokers to connect to first.", variable="KAFKA_BOOTSTRAP_SERVERS"
    )
    security_protocol: str = key(
        choice("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"),
        "PLAINTEXT",
        "Encryption and login of the connection.",
        variable="KAFKA_SECURITY_PROTOCOL",
    )
    sasl_mechanism: str | None = key(
        choice("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"),
        ABSENT,
        "SASL mechanism; required with SASL.",
        variable="KAFKA_SASL_MECHANISM",
    )
    sasl_username: str | None = key(
        PASSWORD, ABSENT, "SASL user name; required with PLAIN and SCRAM.", variable="KAFKA_SASL_USERNAME"
    )
    sasl_password: Secret | None = key(
        PASSWORD, ABSENT, "SASL password; required with PLAIN and SCRAM.", secret=True, variable="KAFKA_SASL_PASSWORD"
    )
    sasl_token_file: str | None = key(
        FILE,
        ABSENT,
        "With OAUTHBEARER: the file that holds the token, read for each new connection.",
        variable="KAFKA_SASL_TOKEN_FILE",
    )
    sasl_token_command: str | None = key(
        COMMAND,
        ABSENT,
        "With OAUTHBEARER, instead of a file: the command that prints the token. Run without a shell, at most every 30 s.",
        variable="KAFKA_SASL_TOKEN_COMMAND",
    )
    ssl_cafile: str | None = key(
        FILE,
        ABSENT,
        "Certificates to trust (PEM), with SSL; left out: those of the system.",
        variable="KAFKA_SSL_CAFILE",
    )
    ssl_certfile: str | None = key(
        FILE,
        ABSENT,
        "The client's certificate with its chain (PEM), for brokers that require one.",
        variable="KAFKA_SSL_CERTFILE",
    )
    ssl_keyfile: str | None = key(
        FILE,
        ABSENT,
        "The private key of that certificate (PEM); left out: it is in `ssl_certfile`.",
        variable="KAFKA_SSL_KEYFILE",
    )
    ssl_key_password: Secret | None = key(
        PASSWORD, ABSENT, "Password of the private key.", secret=True, variable="KAFKA_SSL_KEY_PASSWORD"
    )
    schema_registry_url: Address | None = key(
        URL_WITH_LOGIN,
        ABSENT,
        "A Confluent schema registry. With it, `touches` may use Confluent's framing, and statuses are written with it.",
        secret=True,
        variable="SCHEMA_REGISTRY_URL",
    )
    topic_prefix: str = key(
        text(r"[A-Za-z0-9._-]{0,100}", "up to 100 of A-Z a-z 0-9 . _ -"),
        "",
        "Prefix of every topic name and of the application id.",
        variable="KAFKA_TOPIC_PREFIX",
    )
    replication_factor: int = key(
        whole(1, 100), 1, "Of the topics the pipeline creates; from 3 on they require two in-sync replicas."
    )
    status_format: str = key(
        choice("avro", "json"),
        "avro",
        'Format of `touches.status` and `touches.dead-letters`; "json" applies even with a schema registry.',
        variable="KAFKA_STATUS_FORMAT",
    )
    partitions: int = key(whole(1, 10_000), 8, "Partitions of `touches` and of every topic but those of the channels.")
    partitions_before: int | None = key(
        whole(1, 10_000),
        ABSENT,
        "The number of `partitions` before it was raised, to be kept for `dedup_for` (operations.md, 'More partitions').",
    )
    lanes: int = key(
        whole(1, 10_000), 8, "Partitions of each channel's topic: the largest number of senders per channel."
    )
    session_timeout_ms: int = key(
        duration("6s", "30m"), "10s", "Time without a heartbeat after which a worker's partitions go to other workers."
    )
