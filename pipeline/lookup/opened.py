"""A look-up copy put together: its folder, its reader, its answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pipeline.lookup.copying import Copying
from pipeline.lookup.freshness import Freshness
from pipeline.lookup.keepers import kept_topics
from pipeline.lookup.projector import Projector
from pipeline.lookup.queries import LookupCopy
from pipeline.lookup.store import CopyFolder, CopyStore
from pipeline.lookup.unreadable import UnreadableRecords

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pipeline.kafka.cluster import Cluster
    from pipeline.lookup.keepers import CopyReaders


@dataclass(frozen=True, slots=True)
class OpenedCopy:
    """A copy that this process alone has open. `projector.run()` keeps it up to date; `lookup` answers meanwhile."""

    folder: CopyFolder
    store: CopyStore
    copying: Copying
    projector: Projector
    lookup: LookupCopy

    def close(self) -> None:
        """Note how far it is, close the store and release the folder."""
        self.copying.note()
        self.store.close()
        self.folder.close()


def open_copy(
    path: Path, cluster: Cluster, read: CopyReaders, *, keep_ms: int, now_ms: Callable[[], int]
) -> OpenedCopy:
    """Open the copy in `path`, or begin one. Raises FolderInUse, StoreFailed, OSError."""
    folder = CopyFolder(path)
    try:
        store = folder.open()
    except BaseException:
        folder.close()
        raise
    freshness = Freshness(now_ms, keep_ms)
    copying = Copying(store, kept_topics(read), freshness, UnreadableRecords(now_ms), keep_ms=keep_ms, now_ms=now_ms)
    return OpenedCopy(folder, store, copying, Projector(cluster, copying), LookupCopy(store, freshness))
