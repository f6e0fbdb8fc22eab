"""Faust's partition assignor, independent of the workers' web addresses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from aiokafka import TopicPartition
from faust.assignor import client_assignment, partition_assignor
from faust.types import TP
from yarl import URL

if TYPE_CHECKING:
    from pipeline.engine.config import EngineConfig


class _KnownPartitions:
    """The metadata of a cluster, reduced to the partitions that the pipeline reads."""

    def __init__(self, cluster: Any, config: EngineConfig) -> None:
        self._cluster, self._config = cluster, config

    def partitions_for_topic(self, topic: str) -> set[int]:
        """Return the partitions of a topic that the pipeline reads."""
        found = self._cluster.partitions_for_topic(topic) or ()
        return {number for number in found if self._config.knows(TopicPartition(topic, number))}


class PartitionAssignor(partition_assignor.PartitionAssignor):
    """Sticky like faust's, and compatible with it, but independent of workers' addresses.

    Faust asserts that the web address in an assignment is the worker's own. A static member that returns with another
    port or host name gets its previous assignment, with the old address: the assertion would end aiokafka's
    coordination task, and the worker would run on outside its group.
    """

    @property
    def _url(self) -> URL:
        """The instance id in place of the address."""
        return URL.build(scheme="http", host=self.app.conf.consumer_group_instance_id or "worker")

    def _perform_assignment(self, cluster: Any, member_metadata: Any) -> Any:
        """Assign the partitions that the pipeline reads; those that were added to a topic later stay unassigned."""
        return super()._perform_assignment(
            _KnownPartitions(cluster, cast("Any", self.app).engine_config), member_metadata
        )

    def is_assigned(self, partition: TopicPartition) -> bool:
        """Return whether the last assignment received here gives `partition` to any worker of the group."""
        return TP(*partition) in self._external_tps_url

    def on_assignment(self, assignment: Any) -> None:
        """Apply the assignment of the group's leader, whatever address this worker had when it joined."""
        found = cast("Any", client_assignment.ClientMetadata.loads(self._decompress(assignment.user_data)))
        self._assignment = found.assignment
        self._topic_groups = dict(found.topic_groups)
        self._active_tps = self._assignment.active_tps
        self._standby_tps = self._assignment.standby_tps
        self.changelog_distribution = found.changelog_distribution
        self.external_topic_distribution = found.external_topic_distribution
