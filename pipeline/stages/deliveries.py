"""Tells each fact once per touch, in whatever order facts and `sent` arrive, and writes the suppressions that callbacks ask for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from pipeline.domain.callback import DeliveryRules
from pipeline.domain.fact import Callback, Entry, PendingOptOut, SentTouch, callback_partition, hidden_place
from pipeline.domain.story import Event
from pipeline.domain.suppression import Scope, Suppression, SuppressionReason
from pipeline.domain.value import replace
from pipeline.domain.work import Channel
from pipeline.flow import CALLBACKS, DELIVERIES, OPT_OUTS, SUPPRESSIONS
from pipeline.records.callbacks import (
    HeldCallbacks,
    HiddenPerson,
    TrackedTouch,
    decode_callback,
    decode_held,
    decode_hidden,
    decode_sent,
    decode_tracked,
    encode_callback,
    encode_held,
    encode_hidden,
    encode_pending,
    encode_sent,
    encode_tracked,
    is_hidden,
    is_sent,
    is_tracked,
)
from pipeline.stage_io import EXPIRY_END, Output, Overlay, Record, Table
from pipeline.stages.dead_letters import PLAIN, DeadLetterWriter, apply_each, bytes_of
from pipeline.stages.step import DeliveryTold, FactDropped, OptOutPending, StageStep, rest_ms
from pipeline.stages.ttl import TtlSweep, recall, remember

MOST_REST_MS = 100
"""Longest time for which facts of a busy partition wait for each other."""
SILENT = b"n"
"""Rows that count the silent touches of a channel."""
MOST_HELD = 100
"""Callbacks kept about one message that is not known: whoever answers a message that none of ours is may do so for ever."""
LIFTED = (Scope.PHONE, Scope.SMS, Scope.WHATSAPP)
"""Scopes of the opt-outs that a word back lifts."""
PENDING = b"p"
"""Row that counts the opt-outs whose number is not known."""
FOR_EVER_MS = 100 * 365 * 86_400_000
HIDDEN_FROM, HIDDEN_TO = b"elid/", b"elid0"
"""Where the rows of accounts that hide their number begin and end."""

DeliveryEncoder = Callable[[SentTouch, Callback, int], bytes]
"""(touch, fact, sequence) → value of `touches.deliveries`."""
SuppressionEncoder = Callable[[Suppression], bytes]
"""entry → value of `touches.suppressions`."""


@dataclass(frozen=True, slots=True)
class SentMarks:
    """Tells the stage of deliveries of each touch that was sent, in the transaction that tells `sent`."""

    senders: frozenset[tuple[str, str]]
    """(channel, name) of the senders whose callbacks are on."""
    partitions: int
    """Partitions of `touches.callbacks`; once some were added, as many as before: what came earlier is held there."""

    def put(self, step: StageStep, event: Event, home: int) -> None:
        """Add the mark of a touch that was sent, if it can have callbacks; `home` is the partition of its statuses."""
        message_id, sender = event.provider_message_id, event.sender
        if message_id is None or sender is None or (event.channel, sender) not in self.senders:
            return
        touch = SentTouch(
            event.touch_id,
            event.campaign_id,
            event.lead_id,
            Channel(event.channel),
            sender,
            message_id,
            event.occurred_at_ms,
            home,
            event.recipient,
            event.metadata,
        )
        at = callback_partition(touch.place, self.partitions)
        step.outputs.append(Output(CALLBACKS, at, touch.place.encode(), encode_sent(touch)))


class Deliveries:
    """The stage over one partition of `touches.callbacks`; its table is `deliveries`.

    A row per message of ours: the touch and the kinds told of it, or the callbacks that came before it. A row per wish
    that was fulfilled, so that it acts once. A count of silent touches per channel.
    """

    def __init__(
        self,
        rules: DeliveryRules,
        partitions: int,
        encode: DeliveryEncoder,
        encode_entry: SuppressionEncoder,
        dead_letters: DeadLetterWriter = PLAIN,
        *,
        before: int | None = None,
    ) -> None:
        """Work on one of `partitions`; `before`: how many there were before some were added."""
        self._before = before or partitions
        self._rules, self._partitions = rules, partitions
        self._encode, self._encode_entry = encode, encode_entry
        self._dead_letters = dead_letters
        self._ttl = TtlSweep()

    def step(self, batch: Sequence[Record], table: Table, now_ms: int, learnt: Sequence[Callback] = ()) -> StageStep:
        """Tell new facts, hold early ones, write suppressions, and forget what is older than configured.

        `learnt` are numbers behind accounts of this partition, which the provider was asked for.
        """
        view = Overlay(table)
        step = apply_each(
            batch,
            view,
            lambda record, view, step: self._take(record, view, step, now_ms),
            (lambda record, error, _, step: self._dead_letters.put(step, record, error, now_ms),),
        )
        for each in learnt:
            self._hear_hidden(each, view, step, now_ms)
        step.wake_ms = self._ttl.forget(view, now_ms, lambda _, value: self._expire(value, view, step, now_ms))
        step.changes = view.changes
        step.rest_ms = rest_ms(len(batch), MOST_REST_MS)
        return step

    def _take(self, record: Record, view: Overlay, step: StageStep, now_ms: int) -> None:
        value = bytes_of(record)
        said = decode_sent(value) if is_sent(value) else decode_callback(value)
        home = callback_partition(said.place, self._partitions)
        if record.partition != home and not self._knows(said, view):
            # Its partition before some were added: what is not known there belongs to its present one.
            step.outputs.append(Output(CALLBACKS, home, record.key, value))
        elif isinstance(said, SentTouch):
            self._track(said, view, step, now_ms)
        else:
            self._hear(said, view, step, now_ms)

    def _knows(self, said: SentTouch | Callback, view: Overlay) -> bool:
        """Return whether this partition has heard of a message, or fulfilled a wish of this message."""
        if recall(view, said.place.encode()) is not None:
            return True
        if isinstance(said, Callback) and recall(view, _wish_key(said, HIDDEN_WISH)) is not None:
            return True
        return isinstance(said, Callback) and any(
            recall(view, _wish_key(said, name)) is not None for name, _, _ in self._wishes(said, None)
        )

    # --- touches that were sent ------------------------------------------------------------------------------------

    def _track(self, touch: SentTouch, view: Overlay, step: StageStep, now_ms: int) -> None:
        """Know `touch` from now on, and tell what came before it."""
        row = recall(view, touch.place.encode())
        if row is not None and is_tracked(row):
            return  # an inbox that is read from its beginning again
        self._keep(TrackedTouch(touch), view, now_ms)
        for callback in () if row is None else decode_held(row).callbacks:
            self._hear(callback, view, step, now_ms)

    def _keep(self, tracked: TrackedTouch, view: Overlay, now_ms: int) -> None:
        """Keep a touch until it is forgotten; one that is not known to be silent, until it would be."""
        until_ms = self._forgotten_ms(tracked)
        if not tracked.told and not tracked.is_silent:
            until_ms = min(until_ms, max(tracked.touch.sent_at_ms + self._rules.silent_after_ms, now_ms + 1))
        remember(view, tracked.touch.place.encode(), encode_tracked(tracked), until_ms)

    def _forgotten_ms(self, tracked: TrackedTouch) -> int:
        return tracked.touch.sent_at_ms + self._rules.remember_for_ms

    def _expire(self, value: bytes, view: Overlay, step: StageStep, now_ms: int) -> None:
        """Take leave of an expired row, or keep it for longer."""
        if not value:
            return  # a wish
        if is_hidden(value):
            return  # its number was learnt, and nothing is pending
        if not is_tracked(value):
            for callback in decode_held(value).callbacks:
                step.counts[FactDropped(callback.channel, "unmatched")] += 1
            return
        tracked = decode_tracked(value)
        if tracked.is_silent:
            _add_silent(view, tracked.touch.channel, -1)
        elif not tracked.told and now_ms < self._forgotten_ms(tracked):
            _add_silent(view, tracked.touch.channel, 1)
            self._keep(replace(tracked, is_silent=True), view, now_ms)

    # --- callbacks -------------------------------------------------------------------------------------------------

    def _hear(self, callback: Callback, view: Overlay, step: StageStep, now_ms: int) -> None:
        if callback.lid and not callback.message_id:
            self._hear_hidden(callback, view, step, now_ms)
            return
        row = recall(view, callback.place.encode()) if callback.message_id else None
        tracked = decode_tracked(row) if row is not None and is_tracked(row) else None
        touch = None if tracked is None else tracked.touch
        waits = self._act(callback, touch, view, step, now_ms)
        if tracked is not None:
            self._reveal(callback, tracked.touch, step)
            self._tell(callback, tracked, view, step, now_ms)
        elif callback.kind is not None or waits:
            self._hold(callback, row, view, step, now_ms)

    def _tell(self, fact: Callback, tracked: TrackedTouch, view: Overlay, step: StageStep, now_ms: int) -> None:
        if fact.kind is None:
            return
        touch = tracked.touch
        if fact.kind in tracked.told:
            step.counts[FactDropped(touch.channel, "repeated")] += 1
            return
        if tracked.is_silent:
            _add_silent(view, touch.channel, -1)
        tracked = TrackedTouch(touch, (*tracked.told, fact.kind))
        self._keep(tracked, view, now_ms)
        value = self._encode(touch, fact, len(tracked.told))
        step.outputs.append(Output(DELIVERIES, touch.home, touch.touch_id.encode(), value))
        step.counts[DeliveryTold(touch.channel, fact.kind)] += 1

    def _hold(self, early: Callback, row: bytes | None, view: Overlay, step: StageStep, now_ms: int) -> None:
        """Keep a callback until its touch is known: one of each kind, and of each wish; of too many, the latest."""
        held = () if row is None else decode_held(row).callbacks
        if any((each.kind, each.acts_as) == (early.kind, early.acts_as) for each in held):
            step.counts[FactDropped(early.channel, "repeated")] += 1
            return
        kept = (*held, early)[-MOST_HELD:]
        for left_out in held[: len(held) + 1 - len(kept)]:
            step.counts[FactDropped(left_out.channel, "unmatched")] += 1
        until_ms = now_ms + self._rules.early_for_ms
        remember(view, early.place.encode(), encode_held(HeldCallbacks(kept)), until_ms)

    # --- WhatsApp accounts that hide their number --------------------------------------------------------------------

    def _reveal(self, callback: Callback, touch: SentTouch, step: StageStep) -> None:
        """Tell the partition of an account that quotes our message whose message it was."""
        if not callback.lid or touch.recipient is None:
            return
        learnt = learnt_number(callback.lid, callback.sender, (touch.recipient,), callback.received_at_ms)
        at = callback_partition(learnt.place, self._before)  # what came earlier is kept there
        step.outputs.append(Output(CALLBACKS, at, learnt.place.encode(), encode_callback(learnt)))

    def _hear_hidden(self, callback: Callback, view: Overlay, step: StageStep, now_ms: int) -> None:
        row = recall(view, callback.place.encode())
        person = HiddenPerson() if row is None else decode_hidden(row)
        if callback.settles:
            left = tuple(each for each in person.pending if each.acts_as != callback.settles)
            self._keep_hidden(callback.lid, (person, HiddenPerson(person.people, left)), view, step, now_ms)
        elif callback.people:
            for each in person.pending:
                self._act(_of_people(each, callback.people), None, view, step, now_ms)
            self._keep_hidden(callback.lid, (person, HiddenPerson(callback.people)), view, step, now_ms)
        elif recall(view, key := _wish_key(callback, HIDDEN_WISH)) is None:
            remember(view, key, b"", now_ms + self._rules.remember_for_ms)
            if person.people:
                self._act(_of_people(callback, person.people), None, view, step, now_ms)
            else:
                after = HiddenPerson((), (callback,))  # the last word counts
                self._keep_hidden(callback.lid, (person, after), view, step, now_ms)

    def _keep_hidden(
        self, lid: str, change: tuple[HiddenPerson, HiddenPerson], view: Overlay, step: StageStep, now_ms: int
    ) -> None:
        """Keep an account, `change` is before and after: for ever while an opt-out is pending, else while something may be on its way."""
        _, after = change
        was, now = ({each.acts_as: each for each in whose.pending if each.entries} for whose in change)
        forget_ms = now_ms + (FOR_EVER_MS if now else self._rules.early_for_ms)
        remember(view, hidden_place(lid).encode(), encode_hidden(after), forget_ms)
        _add(view, PENDING, len(now) - len(was))
        for name in was.keys() - now.keys():
            step.outputs.append(Output(OPT_OUTS, 0, name.encode(), None))
        for name in now.keys() - was.keys():
            shown = PendingOptOut(name, now[name].received_at_ms, now[name].sender, lid)
            step.outputs.append(Output(OPT_OUTS, 0, name.encode(), encode_pending(shown)))
            step.counts[OptOutPending()] += 1

    # --- wishes ----------------------------------------------------------------------------------------------------

    def _act(self, callback: Callback, touch: SentTouch | None, view: Overlay, step: StageStep, now_ms: int) -> bool:
        """Write what `callback` asks for, each wish once; return whether one must wait for the touch."""
        waits = False
        for name, recipient, outputs in self._wishes(callback, touch):
            if recipient is None:
                waits = True
                continue
            key = _wish_key(callback, name)
            if recall(view, key) is None:
                remember(view, key, b"", now_ms + self._rules.remember_for_ms)
                step.outputs += outputs
        return waits and touch is None

    def _wishes(self, callback: Callback, touch: SentTouch | None) -> Iterator[tuple[str, str | None, list[Output]]]:
        """Yield (what is asked for, whose address it is about, the records that fulfil it)."""
        own = None if touch is None else touch.recipient
        for entry in callback.entries:
            recipient = entry.recipient or own
            outputs = [] if recipient is None else [self._entry(entry, recipient, callback, touch)]
            yield f"{entry.scope}:{entry.reason}:{entry.recipient or ''}", recipient, outputs
        for said in callback.lifts:
            recipient = said or own
            yield f"lift:{said or ''}", recipient, [] if recipient is None else list(_lifting(recipient))

    def _entry(self, entry: Entry, recipient: str, callback: Callback, touch: SentTouch | None) -> Output:
        suppression = Suppression(
            entry.scope,
            address_hash=recipient,
            reason=entry.reason,
            note=entry.note,
            touch_id=None if touch is None else touch.touch_id,
            by=entry.by,
            at_ms=callback.received_at_ms,
        )
        return Output(SUPPRESSIONS, 0, suppression.key.encode(), self._encode_entry(suppression))


HIDDEN_WISH = "hidden"
"""What a message of an account that hides its number asks for, as a whole."""


def _wish_key(callback: Callback, name: str) -> bytes:
    return f"wish/{callback.channel}/{callback.acts_as}/{name}".encode()


def _lifting(recipient: str) -> Iterator[Output]:
    """Yield the records that lift the opt-outs of a number; they say nothing where there is none."""
    for scope in LIFTED:
        key = f"{scope}:{recipient}:{SuppressionReason.OPT_OUT}"
        yield Output(SUPPRESSIONS, 0, key.encode(), None)


def learnt_number(lid: str, sender: str, people: tuple[str, ...], now_ms: int) -> Callback:
    """Return what tells the stage the number behind an account: `people` are its hashes."""
    return Callback(Channel.WHATSAPP, sender, "", now_ms, lid=lid, people=people)


def _of_people(callback: Callback, people: tuple[str, ...]) -> Callback:
    """Return what an account asks for, in the name of the number that is behind it."""
    entries = tuple(replace(entry, recipient=each) for entry in callback.entries for each in people)
    return replace(callback, lid="", entries=entries, lifts=people if callback.lifts else ())


def _add_silent(view: Overlay, channel: Channel, count: int) -> None:
    _add(view, SILENT + channel.value.encode(), count)


def _add(view: Overlay, key: bytes, count: int) -> None:
    if count:
        view.put(key, str(int(view.get(key) or b"0") + count).encode())


def silent_touches(table: Table | Overlay) -> dict[Channel, int]:
    """Return how many touches of each channel are silent, by the rows of `table`."""
    return {each: int(table.get(SILENT + each.value.encode()) or b"0") for each in Channel}


def pending_opt_outs(table: Table | Overlay) -> int:
    """Return how many opt-outs wait for a number, by the rows of `table`."""
    return int(table.get(PENDING) or b"0")


def hidden_accounts(table: Table) -> list[tuple[str, str]]:
    """Return (sender, lid) of each account that asks for something and whose number is not known."""
    rows = (decode_hidden(value[EXPIRY_END:]) for _, value in table.scan(HIDDEN_FROM, HIDDEN_TO))
    return [(row.pending[0].sender, row.pending[0].lid) for row in rows if row.pending]
