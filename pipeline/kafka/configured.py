"""What the configuration says of Kafka: how to connect, which topics there must be, and how public records are written."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from aiokafka.helpers import create_ssl_context

from pipeline import flow
from pipeline.engine.required_topic import RequiredTopic
from pipeline.kafka.connection import Connection, TokenCommand, TokenFile, TokenProvider
from pipeline.records.writing import Confluent, Writer, json_object, single_object

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pipeline.records.registry import Registry
    from pipeline.settings import KafkaSettings, Settings

APPLICATION: Final = "pipeline"


def group_of(settings: Settings) -> str:
    """Return the consumer group of the workers, which is faust's application id."""
    return settings.kafka.topic_prefix + APPLICATION


def connection_of(settings: Settings) -> Connection:
    """Return the connection arguments of every Kafka client."""
    kafka = settings.kafka
    return Connection(
        bootstrap_servers=list(kafka.bootstrap_servers),
        security_protocol=kafka.security_protocol,
        **_tls(kafka),
        **_login(kafka),
    )


def _tls(kafka: KafkaSettings) -> dict[str, Any]:
    if "SSL" not in kafka.security_protocol:
        return {}
    password = kafka.ssl_key_password
    return {
        "ssl_context": create_ssl_context(
            cafile=kafka.ssl_cafile,
            certfile=kafka.ssl_certfile,
            keyfile=kafka.ssl_keyfile,
            password=None if password is None else password.reveal(),
        )
    }


def _login(kafka: KafkaSettings) -> dict[str, Any]:
    how = {"sasl_mechanism": kafka.sasl_mechanism}
    if kafka.sasl_mechanism is None:
        return {}
    if kafka.sasl_token_file is not None:
        return {**how, "sasl_oauth_token_provider": TokenProvider(TokenFile(Path(kafka.sasl_token_file)))}
    if kafka.sasl_token_command is not None:
        return {**how, "sasl_oauth_token_provider": TokenProvider(TokenCommand(kafka.sasl_token_command))}
    assert kafka.sasl_password is not None
    return {**how, "sasl_plain_username": kafka.sasl_username, "sasl_plain_password": kafka.sasl_password.reveal()}


def needed_topics(settings: Settings) -> list[RequiredTopic]:
    """Return every topic the configuration needs, by its name in Kafka."""
    kafka = settings.kafka
    specs = flow.topics(
        partitions=kafka.partitions,
        lanes=kafka.lanes,
        replication=kafka.replication_factor,
        dedup_for_ms=settings.dedup_for_ms,
        has_grown=kafka.partitions_before is not None,
        callbacks=bool(settings.callback_senders),
    )
    return [
        RequiredTopic(
            kafka.topic_prefix + spec.name,
            spec.partitions,
            spec.settings,
            is_public=spec.is_public,
            may_grow=spec.may_grow,
        )
        for spec in specs
    ]


def writer_of(settings: Settings, registry: Registry | None, schemas: Mapping[str, str]) -> Writer:
    """Return what encodes the records of public topics (topic: schema) as configured. Raises RegistryAway."""
    if settings.kafka.status_format == "json":
        return json_object
    if registry is None:
        return single_object
    prefix = settings.kafka.topic_prefix
    return Confluent({name: registry.register(prefix + topic, name) for topic, name in schemas.items()})
