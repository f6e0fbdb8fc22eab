"""Simulated time and processes: everything that happens, happens here, one thing at a time, in an order drawn from the seed."""

from __future__ import annotations

import asyncio
import heapq
import random
from asyncio import events
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Callable, Sequence

T0_MS = 1_772_539_200_000
"""2026-03-03 12:00 UTC: when every history begins, epoch milliseconds."""


class World:
    """True time in seconds since the beginning, and what is to happen when."""

    def __init__(self, seed: int, *, tells: bool = False) -> None:
        self.now_s = 0.0
        self.dice = random.Random(seed)
        self.faults: list[str] = []
        """Exceptions that no process caught."""
        self.story: list[str] | None = [] if tells else None
        self._agenda: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._count = 0
        self._processes: list[Process] = []

    @property
    def now_ms(self) -> int:
        """True time, epoch milliseconds."""
        return T0_MS + round(self.now_s * 1000)

    def tell(self, *said: object) -> None:
        """Write a line of the story, if it is recorded."""
        if self.story is not None:
            self.story.append(f"{self.now_s:10.3f}  {' '.join(map(str, said))}")

    def later(self, delay_s: float, call: Callable[..., None], *args: object) -> None:
        """Let `call` happen outside every process, `delay_s` from now."""
        self._count += 1
        heapq.heappush(self._agenda, (self.now_s + delay_s, self._count, call, args))

    def add(self, process: Process) -> None:
        """Let a process run from now on."""
        self._processes.append(process)

    def run(self, until: Callable[[], bool], deadline_s: float) -> bool:
        """Let things happen until `until` holds; False when nothing more happens before `deadline_s`."""
        while not until():
            if not self._happen(deadline_s):
                return False
        return True

    def _happen(self, deadline_s: float) -> bool:
        """Let the next thing happen; of several at one instant, the dice choose."""
        first_s, due = deadline_s, list[Process | None]()
        if self._agenda and self._agenda[0][0] < first_s:
            first_s, due = self._agenda[0][0], [None]
        for process in self._processes:
            at_s = process.next_s()
            if at_s is None or at_s > first_s:
                continue
            due = [*due, process] if at_s == first_s else [process]
            first_s = at_s
        if not due:
            return False
        self.now_s = max(self.now_s, first_s)
        chosen = due[0] if len(due) == 1 else self.dice.choice(due)
        if chosen is None:
            _, _, call, args = heapq.heappop(self._agenda)
            call(*args)
        elif not chosen.turn():
            self._processes.remove(chosen)
        return True


class Died(SystemExit):
    """A process ended itself at once."""


class _NoSelector:
    def select(self, timeout: float | None) -> Sequence[object]:
        del timeout
        return ()

    def close(self) -> None:
        pass


class Process(asyncio.BaseEventLoop):
    """An event loop that the world drives: it can be frozen between two turns, or killed."""

    _ready: deque[asyncio.Handle]
    _scheduled: list[asyncio.TimerHandle]
    _timer_cancelled_count: int
    _run_once: Callable[[], None]

    def __init__(self, world: World, name: str, on_turn: Callable[[Process], None] = lambda _: None) -> None:
        super().__init__()
        self.name = name
        self.is_dead = False
        self._world = world
        self._on_turn = on_turn
        self._frozen_until_s = 0.0
        self._selector = _NoSelector()
        self._clock_resolution = 1e-6
        self.set_exception_handler(self._fault)
        world.add(self)

    def time(self) -> float:
        """Return the monotonic clock; it goes on while the process is frozen."""
        return self._world.now_s

    def freeze(self, until_s: float) -> None:
        """Let nothing run before `until_s`."""
        self._frozen_until_s = max(self._frozen_until_s, until_s)

    @property
    def is_frozen(self) -> bool:
        """Whether it stands still now."""
        return self._frozen_until_s > self._world.now_s

    def kill(self) -> None:
        """End it between two turns: nothing of it runs any more."""
        self.is_dead = True

    def end(self) -> None:
        """End it from within. Raises Died."""
        self.is_dead = True
        raise Died

    def post(self, call: Callable[..., object], *args: object) -> None:
        """Let something from outside happen in this process, in its next turn; nothing reaches the dead."""
        if not self.is_dead:
            self.call_soon(call, *args)

    def next_s(self) -> float | None:
        """Return when it has something to do, or None."""
        if self.is_dead:
            return self._world.now_s
        if self._ready:
            return max(self._world.now_s, self._frozen_until_s)
        while self._scheduled and self._scheduled[0].cancelled():
            heapq.heappop(self._scheduled)
            self._timer_cancelled_count -= 1
        return max(self._scheduled[0].when(), self._world.now_s, self._frozen_until_s) if self._scheduled else None

    def turn(self) -> bool:
        """Run what is ready. False when the process is dead."""
        if not self.is_dead:
            events._set_running_loop(self)
            try:
                self._run_once()
            except Died:
                pass
            finally:
                events._set_running_loop(None)
        if not self.is_dead:
            self._on_turn(self)
        return not self.is_dead

    def _fault(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        if not self.is_dead:
            self._world.faults.append(f"{self.name}: {context.get('message')}: {context.get('exception')!r}")

    def _process_events(self, event_list: Sequence[object]) -> None:
        pass

    def _write_to_self(self) -> None:
        pass

    def __del__(self) -> None:
        """Nothing is open."""
