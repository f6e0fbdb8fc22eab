"""Who acts, with what right and through which door; and the record that is kept of it."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from enum import StrEnum


class Role(StrEnum):
    """What a user may do; each may all that the ones before it may."""

    VIEWER = "viewer"
    """Read, with addresses and texts left out."""
    OPERATOR = "operator"
    """Act."""
    ADMIN = "admin"
    """Lift complaints, read what others did, and see addresses and texts."""

    def covers(self, needed: Role) -> bool:
        """Return whether this role may do what `needed` may."""
        ranks = list(Role)
        return ranks.index(self) >= ranks.index(needed)


class Door(StrEnum):
    """Where somebody came in."""

    CLI = "cli"
    CONSOLE = "console"
    """The pages."""
    API = "api"


class Acted(StrEnum):
    """What somebody did, or was refused."""

    PAUSE = "pause"
    RESUME = "resume"
    CANCEL = "cancel"
    SUPPRESS = "suppress"
    LIFT = "lift"
    IMPORT = "import"
    REPLAY = "replay"
    RESOLVE = "resolve"
    UNMASK = "unmask"


class AuditResult(StrEnum):
    """What became of it."""

    DONE = "done"
    FORBIDDEN = "forbidden"
    """The role does not allow it: nothing was changed."""


@dataclass(frozen=True, slots=True)
class Who:
    """Somebody who acts."""

    name: str
    """A user's name; of a command and where there are no users, the operating system's, or what `--by` says."""
    role: Role | None
    """None: a command, which asks nobody."""
    door: Door
    remote: str | None = None
    """The host that the request came from."""


@dataclass(frozen=True, slots=True)
class Audit:
    """The record of one act. It holds no address and no secret."""

    id: str
    at_ms: int
    """Epoch milliseconds."""
    who: Who
    action: Acted
    _: KW_ONLY
    target: str
    """A key or an id."""
    note: str | None = None
    result: AuditResult = AuditResult.DONE
