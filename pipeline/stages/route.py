"""The router: decodes and validates touches, drops repeats, refuses conflicts, chooses the sender, composes, and writes to the lane."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

from pipeline.composer import Composer, NotComposable
from pipeline.domain.address import BadAddress
from pipeline.domain.address_hash import address_hash
from pipeline.domain.dead_letter import DeadReason
from pipeline.domain.link import link_faults
from pipeline.domain.mailbox import normal_header, normal_mailbox
from pipeline.domain.policy import ChannelPolicy
from pipeline.domain.reading import parse_touch
from pipeline.domain.rules import is_touch_id
from pipeline.domain.sender_choice import find_sender
from pipeline.domain.sender_policy import SenderPolicy
from pipeline.domain.story import Event, Reason, State
from pipeline.domain.touch import InvalidTouch, Touch, TouchHeader, digest
from pipeline.domain.unsubscribe import VARIABLE, UnsubscribeLinks, with_one_click
from pipeline.domain.value import replace
from pipeline.domain.work import Channel, Content, Purpose, Work
from pipeline.flow import RESULTS, TOUCH_BYTES, WORK_BYTES, channel_topic
from pipeline.records import encode_event, encode_work
from pipeline.records.framing import Undecodable
from pipeline.records.registry import SchemaNotHere
from pipeline.stage_io import Output, Overlay, Record, Table
from pipeline.stages.dead_letters import STOPS, DeadLetterWriter, apply_each
from pipeline.stages.forward import Homes, as_produced, forwarded, forwarded_refusal, refusal_of
from pipeline.stages.schema_wait import SchemaWait
from pipeline.stages.step import DeadLettered, Forwarded, RepeatDropped, StageStep, UnknownMembers, rest_ms
from pipeline.stages.ttl import TtlSweep, recall, remember

log = logging.getLogger(__name__)

MOST_REST_MS = 250
"""Longest time for which touches of a busy partition wait for each other."""
REFUSED = b"refused"
"""Stored instead of a digest for a touch that was refused as invalid; equals no digest."""
READABLE_BYTES = 8 * 1024 * 1024
"""A value that is too long for a touch is still decoded up to this size, to find its touch_id."""
NAME_CHARACTERS = 256
REFUSED_BEFORE = "a touch with this touch_id was refused as invalid before; its story has ended"
OTHER_BEFORE = "another touch with this touch_id and other content came before"


class TouchDecoder(Protocol):
    """Reads the value of a record."""

    def read(self, value: bytes | None) -> dict[str, Any]:
        """Return the decoded touch. Raises Undecodable."""

    def unknown_members(self, datum: Mapping[str, Any]) -> int:
        """Return the number of members of `datum` that the schema does not have."""

    def has_schema(self, schema_id: int) -> bool:
        """Return whether the schema with this id is loaded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RouterDeps:
    """What the router decides with."""

    policies: Mapping[Channel, ChannelPolicy]
    decoder: TouchDecoder
    composer: Composer
    dead_letters: DeadLetterWriter
    dedup_for_ms: int
    """Time for which a touch's state is kept after its end."""
    homes: Homes
    privacy_key: bytes = b""
    """What address hashes are keyed with; empty: they are not."""
    unsubscribe: UnsubscribeLinks | None = None
    """None: e-mails get no link of ours."""


class Router:
    """The stage over one partition of `touches`; its table is `accepted`: touch_id → digest."""

    def __init__(self, deps: RouterDeps) -> None:
        self._deps = deps
        self._ttl = TtlSweep()
        self._schema_wait = SchemaWait()
        self.missing: list[int] = []
        """Ids of the schemas that records wait for after the last step; the agent fetches them, then steps again."""

    def step(self, batch: Sequence[Record], table: Table, now_ms: int) -> StageStep:
        """Accept or refuse each touch of `batch`, and each that has waited for its schema."""
        view = Overlay(table)
        records = [*self._schema_wait.take(view, self._deps.decoder.has_schema), *batch]
        try:
            step = self._applied(records, view, now_ms)
        except STOPS:
            self._schema_wait.recount()
            raise
        step.wake_ms = self._ttl.forget(view, now_ms)
        step.changes = view.changes
        step.rest_ms = rest_ms(len(records), MOST_REST_MS)
        self.missing = self._schema_wait.schemas(view)
        return step

    def _applied(self, records: Sequence[Record], view: Overlay, now_ms: int) -> StageStep:
        def at(record: Record, view: Overlay, step: StageStep) -> _Arrival:
            return _Arrival(self._deps, record, view, step, now_ms)

        def route(record: Record, view: Overlay, step: StageStep) -> None:
            try:
                at(record, view, step).route()
            except SchemaNotHere as missing:
                self._schema_wait.put(view, record, missing)

        return apply_each(
            records,
            view,
            route,
            (
                lambda record, error, view, step: at(record, view, step).refuse(error),
                lambda record, error, view, step: at(record, view, step).dead_letter(error),
            ),
            again=self._schema_wait.recount,
        )


class _Arrival:
    """One record of `touches`."""

    def __init__(self, deps: RouterDeps, record: Record, view: Overlay, step: StageStep, now_ms: int) -> None:
        self._deps, self._record, self._view, self._step, self._now_ms = deps, record, view, step, now_ms
        self._source = as_produced(record)
        """The record as its producer wrote it, before it was forwarded."""
        self._recipient: str | None = None
        """Hash of the address, once that is known to be one."""

    def route(self) -> None:
        if self._record.flaw is not None:
            self.dead_letter(self._record.flaw)
            return
        if len(self._record.value or b"") > TOUCH_BYTES:
            self._refuse_too_long(len(self._record.value or b""))
            return
        try:
            datum = self._deps.decoder.read(self._record.value)
        except Undecodable as error:
            self.dead_letter(str(error))
            return
        if self._is_forwarded(datum):
            return
        refusal = refusal_of(self._record)
        if refusal is not None:
            self._end_refused(_header_of(datum), refusal)
            return
        self._step.counts[UnknownMembers()] += self._deps.decoder.unknown_members(datum)
        try:
            self._admit(*self._normalised(parse_touch(datum, self._source.timestamp_ms)))
        except InvalidTouch as error:
            self._refuse_invalid(error.header, str(error))

    def _is_forwarded(self, datum: Mapping[str, Any]) -> bool:
        """Forward a touch to its home partition, unless this partition already knows the touch; return whether it did.

        Versions without home partitions accepted a touch where it arrived; that partition knows it until `dedup_for` ends.
        """
        touch_id = datum.get("touch_id")
        onward = forwarded(self._record, touch_id, self._deps.homes)
        if onward is None or recall(self._view, str(touch_id).encode()) is not None:
            return False
        self._step.outputs.append(onward)
        self._step.counts[Forwarded()] += 1
        return True

    def refuse(self, error: str) -> None:
        """Refuse a record on which the router failed, and end its touch as failed if the touch is unknown."""
        self._refuse_known(error)

    def dead_letter(self, error: str) -> None:
        """Write the record unchanged as an undecodable dead letter."""
        self._dead_letter(DeadReason.UNDECODABLE, error, None)

    def _refuse_too_long(self, size: int) -> None:
        error = f"the value has {size} bytes; a touch has at most {TOUCH_BYTES}"
        if size > READABLE_BYTES:
            self.dead_letter(error)
        else:
            self._refuse_known(error)

    def _refuse_known(self, error: str) -> None:
        """Refuse the record: as invalid if its touch_id can be read, else as undecodable."""
        try:
            header = _header_of(self._deps.decoder.read(self._record.value))
        except Undecodable:
            self.dead_letter(error)
            return
        if header.touch_id is None:
            self.dead_letter(error)
            return
        onward = forwarded_refusal(self._record, header, error, self._deps.homes)
        if onward is None or recall(self._view, header.touch_id.encode()) is not None:
            self._refuse_invalid(header, error)
        else:
            self._dead_letter(DeadReason.INVALID, error, header.touch_id)
            self._step.outputs.append(onward)

    def _normalised(self, touch: Touch) -> tuple[Touch, bytes, ChannelPolicy]:
        """Return the touch with normalised addresses, its digest, and its channel's policy. Raises InvalidTouch.

        The digest covers the normalised recipient and otherwise what the producer wrote.
        """
        policy, faults = self._deps.policies[touch.channel], list[str]()

        def normal(name: str, read: Callable[..., str], *given: Any) -> str:
            try:
                return read(*given)
            except BadAddress as error:
                faults.append(f"{name}: {error}")
                return ""

        to = partial(policy.spec.normalise, region=policy.region, numbers=policy.numbers)
        touch = replace(touch, to=normal("to", to, touch.to))
        mark = digest(touch)
        reply_to = None if touch.reply_to is None else normal("reply_to", normal_mailbox, touch.reply_to)
        headers = {name: normal(f"headers.{name}", normal_header, name, value) for name, value in touch.headers.items()}
        if reply_to != touch.reply_to or headers != touch.headers:
            touch = replace(touch, reply_to=reply_to, headers=headers)
        if touch.attachments:
            faults += link_faults(touch.attachments, policy.attachment_urls)
        if faults:
            raise InvalidTouch(faults, _header(touch))
        return touch, mark, policy

    def _admit(self, touch: Touch, mark: bytes, policy: ChannelPolicy) -> None:
        known = recall(self._view, touch.touch_id.encode())
        if known == mark:
            self._step.counts[RepeatDropped(touch.channel.value)] += 1
            return
        sender = find_sender(policy, touch.sender, touch.to)
        self._recipient = address_hash(touch.channel, touch.to, self._deps.privacy_key)
        work = self._work(touch, sender, mark) if isinstance(sender, SenderPolicy) else None
        if known is not None:
            self._dead_letter(DeadReason.CONFLICT, REFUSED_BEFORE if known == REFUSED else OTHER_BEFORE, touch.touch_id)
            return
        self._remember(touch, mark, policy)
        if not isinstance(sender, SenderPolicy):
            self._tell(touch, State.FAILED, sender.reason, error=sender.error)
        elif touch.expires_at_ms is not None and touch.expires_at_ms <= max(self._now_ms, touch.not_before_ms or 0):
            self._tell(touch, State.EXPIRED, Reason.EXPIRES_AT)
        elif work is not None:
            self._tell(touch, State.ACCEPTED, sender=sender.name)
            self._step.outputs.append(Output(channel_topic(touch.channel), sender.lane, touch.touch_id.encode(), work))

    def _composed(self, touch: Touch, sender: SenderPolicy) -> Content:
        if touch.from_ is not None and touch.from_ not in sender.addresses:
            allowed = ", ".join(sender.addresses)
            raise InvalidTouch([f"from is {touch.from_!r}; sender {sender.name!r} has: {allowed}"], _header(touch))
        try:
            content = self._with_link(touch)
        except NotComposable as error:
            raise InvalidTouch([str(error)], _header(touch)) from None
        except Exception as error:
            log.exception("touch %s cannot be composed", touch.touch_id)
            raise InvalidTouch([f"it cannot be composed: {error!r:.300}"], _header(touch)) from None
        spec, length = self._deps.policies[touch.channel].spec, len(content.body or "")
        if spec.longest_text is not None and length > spec.longest_text:
            raise InvalidTouch(
                [f"the text has {length} characters; {spec.message} has at most {spec.longest_text}"], _header(touch)
            )
        return content

    def _with_link(self, touch: Touch) -> Content:
        """Compose the touch; an e-mail's template may use the link that unsubscribes, and a marketing one names it in its headers."""
        if touch.channel is not Channel.EMAIL or self._deps.unsubscribe is None:
            return self._deps.composer.compose(touch)
        assert self._recipient is not None
        url = self._deps.unsubscribe.url(self._recipient)
        if touch.template is not None:
            touch = replace(touch, variables={VARIABLE: url, **touch.variables})
        content = self._deps.composer.compose(touch)
        is_marketing = touch.purpose is Purpose.MARKETING
        return replace(content, headers=with_one_click(content.headers, url)) if is_marketing else content

    def _work(self, touch: Touch, sender: SenderPolicy, mark: bytes) -> bytes:
        """Compose the touch and return it as a value of the lane's topic. Raises InvalidTouch."""
        value = encode_work(
            Work(
                touch_id=touch.touch_id,
                campaign_id=touch.campaign_id,
                lead_id=touch.lead_id,
                channel=touch.channel,
                to=touch.to,
                sender=sender.name,
                pinned=touch.sender is not None,
                content=self._composed(touch, sender),
                digest=mark,
                origin=self._record.partition,
                priority=touch.priority,
                time_zone=touch.time_zone,
                not_before_ms=touch.not_before_ms,
                expires_at_ms=touch.expires_at_ms,
                metadata=touch.metadata,
                created_at_ms=touch.created_at_ms,
                purpose=touch.purpose,
                recipient=self._recipient,
                accepted_ms=self._now_ms,
            )
        )
        if len(value) > WORK_BYTES:
            raise InvalidTouch(
                [f"composed it takes {len(value)} bytes; at most {WORK_BYTES} are allowed"], _header(touch)
            )
        return value

    def _refuse_invalid(self, header: TouchHeader, error: str) -> None:
        self._dead_letter(DeadReason.INVALID, error, header.touch_id)
        self._end_refused(header, error)

    def _end_refused(self, header: TouchHeader, error: str) -> None:
        """Write that the touch has failed as invalid, unless its touch_id is known already."""
        if header.touch_id is None or recall(self._view, header.touch_id.encode()) is not None:
            return
        remember(self._view, header.touch_id.encode(), REFUSED, self._now_ms + self._deps.dedup_for_ms)
        self._event(
            Event(
                header.touch_id,
                header.campaign_id,
                header.lead_id,
                header.channel,
                State.FAILED,
                self._now_ms,
                Reason.INVALID,
                error=error,
                metadata=header.metadata,
            )
        )

    def _remember(self, touch: Touch, mark: bytes, policy: ChannelPolicy) -> None:
        """Keep the digest until `dedup_for` after the latest expected end of the touch."""
        ends_ms = max(self._now_ms, touch.not_before_ms or 0) + policy.retry_for_ms
        remember(self._view, touch.touch_id.encode(), mark, ends_ms + self._deps.dedup_for_ms)

    def _tell(
        self,
        touch: Touch,
        state: State,
        reason: Reason | None = None,
        *,
        sender: str | None = None,
        error: str | None = None,
    ) -> None:
        self._event(
            Event(
                touch.touch_id,
                touch.campaign_id,
                touch.lead_id,
                touch.channel.value,
                state,
                self._now_ms,
                reason,
                sender=sender,
                error=error,
                metadata=touch.metadata,
                recipient=self._recipient,
            )
        )

    def _event(self, event: Event) -> None:
        self._step.outputs.append(Output(RESULTS, self._record.partition, event.touch_id.encode(), encode_event(event)))

    def _dead_letter(self, reason: DeadReason, error: str, touch_id: str | None) -> None:
        letter = self._deps.dead_letters.letter(
            self._source, error, self._now_ms, reason=reason, touch_id=touch_id, partition=self._record.partition
        )
        self._step.outputs.append(letter)
        self._step.counts[DeadLettered(reason)] += 1


def _header(touch: Touch) -> TouchHeader:
    return TouchHeader(touch.touch_id, touch.campaign_id, touch.lead_id, touch.channel.value, touch.metadata)


def _header_of(datum: Mapping[str, Any]) -> TouchHeader:
    """Return the header of a record that was not validated."""

    def text(name: str) -> str:
        value = datum.get(name)
        return value[:NAME_CHARACTERS] if isinstance(value, str) else ""

    touch_id = datum.get("touch_id")
    return TouchHeader(
        str(touch_id) if is_touch_id(touch_id) else None, text("campaign_id"), text("lead_id"), text("channel")
    )
