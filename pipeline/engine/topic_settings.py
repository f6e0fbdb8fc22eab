"""Compares the settings of existing topics with the required ones: each difference is corrected, refused or warned of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import for_code

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from aiokafka.admin import AIOKafkaAdminClient

    from pipeline.engine.required_topic import RequiredTopic

SET_ON_TOPIC = 1
"""`config_source` of a setting of the topic itself (Kafka protocol, DescribeConfigs)."""
UNLIMITED = "-1"


@dataclass(frozen=True, slots=True, kw_only=True)
class SettingFault:
    """A topic setting that differs from the required one."""

    topic: str
    key: str
    found: str
    needed: str
    breaks: bool
    """Whether touches could be lost or sent twice with it; otherwise it only costs time or space."""
    is_public: bool
    """Whether producers own the topic: the worker then corrects the setting instead of stopping."""

    def line(self, servers: str) -> str:
        """Return a line with the difference and the command that corrects it."""
        fix = (
            f"kafka-configs.sh --bootstrap-server {servers} --alter --entity-type topics --entity-name {self.topic} "
            f"--add-config {self.key}={_quoted(self.needed)}"
        )
        return f"topic {self.topic} has {self.key}={self.found}, required is {self.needed}; fix it with: {fix}"


async def settings_of(admin: AIOKafkaAdminClient, topics: Iterable[str]) -> dict[str, dict[str, tuple[str, bool]]]:
    """Return {topic: {setting: (value, whether the topic itself has it)}}. Raises KafkaError."""
    wanted = [ConfigResource(ConfigResourceType.TOPIC, name) for name in topics]
    if not wanted:
        return {}
    found: dict[str, dict[str, tuple[str, bool]]] = {}
    answers: list[Any] = await admin.describe_configs(wanted)
    for code, message, _, name, entries in (row for answer in answers for row in answer.resources):
        if code:
            raise for_code(code)(f"cannot read the settings of topic {name}: {message}")
        found[name] = {entry[0]: (entry[1] or "", entry[3] == SET_ON_TOPIC) for entry in entries}
    return found


def faults(topic: RequiredTopic, found: Mapping[str, str]) -> list[SettingFault]:
    """Return the settings of an existing topic that differ from the required ones."""
    needed = (
        {"retention.bytes": UNLIMITED, **topic.settings}
        if "delete" in topic.settings.get("cleanup.policy", "")
        else topic.settings
    )
    return [
        SettingFault(
            topic=topic.name,
            key=key,
            found=found[key],
            needed=value,
            breaks=_is_breaking(topic, key),
            is_public=topic.is_public,
        )
        for key, value in needed.items()
        if key in found and not _is_enough(key, found[key], value)
    ]


def _is_enough(key: str, found: str, needed: str) -> bool:
    match key:
        case "cleanup.policy":
            return set(found.split(",")) == set(needed.split(","))
        case "retention.ms" | "retention.bytes":
            return found == UNLIMITED or (needed != UNLIMITED and int(found) >= int(needed))
        case "max.message.bytes" | "min.insync.replicas" | "delete.retention.ms":
            return int(found) >= int(needed)
        case "segment.ms" | "segment.bytes" | "min.cleanable.dirty.ratio":
            return float(found) <= float(needed)
        case _:
            return found == needed


def _is_breaking(topic: RequiredTopic, key: str) -> bool:
    if key in ("cleanup.policy", "max.message.bytes", "message.timestamp.type", "delete.retention.ms"):
        return True
    return key in ("retention.ms", "retention.bytes") and topic.settings.get("retention.ms") == UNLIMITED


async def correct(
    admin: AIOKafkaAdminClient, topic: str, wrong: Iterable[SettingFault], found: Mapping[str, tuple[str, bool]]
) -> None:
    """Correct the settings in `wrong` of a topic, and keep its other settings. Raises KafkaError."""
    own = {
        key: value for key, (value, is_own) in found.items() if is_own
    }  # the request removes settings that it does not name
    [answer] = await admin.alter_configs(
        [ConfigResource(ConfigResourceType.TOPIC, topic, {**own, **{each.key: each.needed for each in wrong}})]
    )
    for code, message, *_ in answer.resources:
        if code:
            raise for_code(code)(f"cannot set {', '.join(each.key for each in wrong)} on topic {topic}: {message}")


def _quoted(value: str) -> str:
    return f"[{value}]" if "," in value else value
