"""Faust's partition assignor, without a worker's web address in it."""

from __future__ import annotations

from typing import Any, cast

from faust.assignor import client_assignment, partition_assignor
from yarl import URL


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

    def on_assignment(self, assignment: Any) -> None:
        """Take over what the group's leader decided, whichever address this worker had when it joined."""
        found = cast("Any", client_assignment.ClientMetadata.loads(self._decompress(assignment.user_data)))
        self._assignment = found.assignment
        self._topic_groups = dict(found.topic_groups)
        self._active_tps = self._assignment.active_tps
        self._standby_tps = self._assignment.standby_tps
        self.changelog_distribution = found.changelog_distribution
        self.external_topic_distribution = found.external_topic_distribution
