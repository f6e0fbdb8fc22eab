"""The consumer group: who owns what. Eager, with static members: a restart keeps its partitions, silence loses them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aiokafka import TopicPartition

    from pipeline.lab.simulation.world import World

SESSION_S = 6.0


class Member(Protocol):
    """A worker, as the coordinator sees it."""

    number: int

    def revoke(self, generation: int) -> None:
        """Stand still, then say so with `Group.parked`."""

    def assign(self, partitions: Sequence[TopicPartition]) -> None:
        """Own exactly these."""


class Group:
    """The coordinator."""

    def __init__(self, world: World, partitions: Sequence[TopicPartition]) -> None:
        self._world = world
        self._partitions = list(partitions)
        self._members: dict[int, Member] = {}
        self._owned: dict[int, list[TopicPartition]] = {}
        self._generation = 0
        self._awaited: set[int] = set()
        self._silent: dict[int, int] = {}
        """Members not heard of, with the number of the silence."""
        self._silences = 0

    def join(self, member: Member) -> None:
        """Let a worker in. One that restarts within its session takes up what it had."""
        self._silent.pop(member.number, None)
        known = member.number in self._members
        self._members[member.number] = member
        if known and not self._awaited:
            self._assign(member.number)
        elif known:
            self.parked(member.number, self._generation)
        else:
            self._rebalance()

    def leave(self, number: int) -> None:
        """Let a worker go."""
        if self._members.pop(number, None) is not None:
            self._awaited.discard(number)
            self._rebalance()

    def is_member(self, number: int) -> bool:
        """Whether a worker still belongs."""
        return number in self._members

    def silent(self, number: int) -> None:
        """Hear nothing of a worker from now on: after the session timeout it is out."""
        self._silences += 1
        self._silent[number] = self._silences
        self._world.later(SESSION_S, self._expire, number, self._silences)

    def heard(self, number: int) -> None:
        """Hear of a worker again."""
        self._silent.pop(number, None)

    def parked(self, number: int, generation: int) -> None:
        """Know that a worker stands still."""
        if generation != self._generation or number not in self._awaited:
            return
        self._awaited.discard(number)
        if not self._awaited:
            self._share_out()

    def _expire(self, number: int, silence: int) -> None:
        if self._silent.get(number) == silence:
            self._world.tell(f"group: worker {number} is out")
            del self._silent[number]
            self.leave(number)

    def _rebalance(self) -> None:
        self._generation += 1
        self._awaited = set(self._members)
        for member in list(self._members.values()):
            self._world.later(0.003, member.revoke, self._generation)
        if not self._awaited:
            self._owned = {}

    def _share_out(self) -> None:
        numbers = sorted(self._members)
        turn = self._world.dice.randrange(len(numbers))
        self._owned = {number: [] for number in numbers}
        for at, tp in enumerate(self._partitions):
            self._owned[numbers[(at + turn) % len(numbers)]].append(tp)
        for number in numbers:
            self._assign(number)

    def _assign(self, number: int) -> None:
        mine = self._owned.get(number, [])
        self._world.tell(f"group: worker {number} owns", *(f"{tp.topic}[{tp.partition}]" for tp in mine))
        self._world.later(0.003, self._members[number].assign, mine)
