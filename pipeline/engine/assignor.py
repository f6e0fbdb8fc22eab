"""Faust's partition assignor, without a worker's web address in it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from aiokafka import TopicPartition
from faust.assignor import client_assignment, partition_assignor
from faust.types import TP
from yarl import URL

if TYPE_CHECKING:
    from pipeline.engine.config import EngineConfig


class _Known:
    """The metadata of a cluster, without partitions that nobody reads."""

    def __init__(self, cluster: Any, config: EngineConfig) -> None:
        self._cluster, self._config = cluster, config

    def partitions_for_topic(self, topic: str) -> set[int]:
        """Return the partitions of a topic that the pipeline knows."""
        found = self._cluster.partitions_for_topic(topic) or ()
        return {number for number in found if self._config.knows(TopicPartition(topic, number))}


class PartitionAssignor(partition_assignor.PartitionAssignor):
    """Sticky as faust's, and compatible with it; no address of a worker matters.

    Faust asserts that the web address in an assignment is the worker's own. A static member that comes back under another
    port or host name is handed the assignment it had before, with the old address: the assertion ends aiokafka's
    coordination task, and the worker lives on without a place in its group.
    """

    @property
    def _url(self) -> URL:
        """What stands for the address: who the worker is, wherever it runs."""
        return URL.build(scheme="http", host=self.app.conf.consumer_group_instance_id or "worker")

    def _perform_assignment(self, cluster: Any, member_metadata: Any) -> Any:
        """Hand out the partitions that the pipeline knows; a topic that has grown keeps the others for itself."""
        return super()._perform_assignment(_Known(cluster, cast("Any", self.app).engine_config), member_metadata)

    def is_covered(self, partition: TopicPartition) -> bool:
        """Whether the assignment that this worker was handed last gives `partition` to any worker of the group."""
        return TP(*partition) in self._external_tps_url

    def on_assignment(self, assignment: Any) -> None:
        """Take over what the group's leader decided, whichever address this worker had when it joined."""
        found = cast("Any", client_assignment.ClientMetadata.loads(self._decompress(assignment.user_data)))
        self._assignment = found.assignment
        self._topic_groups = dict(found.topic_groups)
        self._active_tps = self._assignment.active_tps
        self._standby_tps = self._assignment.standby_tps
        self.changelog_distribution = found.changelog_distribution
        self.external_topic_distribution = found.external_topic_distribution
