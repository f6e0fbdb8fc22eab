"""Whom an entry is for, as it is typed or stands in a file; and the defaults that follow from it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypedDict

import click
from faust.cli.base import option

from pipeline.console.typed_address import typed_address
from pipeline.domain.address_hash import AddressKind, address_hash
from pipeline.domain.order import escaped_id
from pipeline.domain.rules import is_name
from pipeline.domain.suppression import Scope, SuppressionReason
from pipeline.domain.work import Channel
from pipeline.records.control import scope_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pipeline.domain.policy import ChannelPolicy

_HASH: Final = re.compile(r"[0-9a-f]{32}")
_FITS: Final = {
    AddressKind.EMAIL: {Scope.EMAIL, Scope.ANY},
    AddressKind.PHONE: {Scope.WHATSAPP, Scope.SMS, Scope.PHONE, Scope.ANY},
}
_DEFAULT_SCOPE: Final = {AddressKind.EMAIL: Scope.EMAIL, AddressKind.PHONE: Scope.PHONE}


@dataclass(frozen=True, slots=True)
class Recipient:
    """Whom entries are for: an address by its hash, or a lead."""

    hashed: str | None
    lead: str | None
    kind: AddressKind | None = None
    """None: a hash does not tell, and a lead has any."""

    @property
    def key_part(self) -> bytes:
        """The middle part of the keys of its entries."""
        return (self.hashed or f"lead:{escaped_id(self.lead or '')}").encode()

    def scope(self, typed: str | None) -> Scope:
        """Return the scope that was given, or the default. Raises ValueError for one that cannot fit."""
        if typed is None:
            if self.hashed is not None and self.kind is None:
                raise ValueError("a hash does not say what it stands for: give a scope")
            return Scope.ANY if self.kind is None else _DEFAULT_SCOPE[self.kind]
        scope = scope_of(typed)
        if self.kind is not None and scope not in _FITS[self.kind]:
            raise ValueError(f"scope {scope} does not fit this kind of address")
        return scope

    @classmethod
    def by_address(cls, address: tuple[AddressKind, str], key: bytes) -> Recipient:
        """Return the recipient with this address."""
        return cls(address_hash(*address, key), None, address[0])


WHOM_OPTIONS: Final[list[Any]] = [
    option(
        "--address",
        default=None,
        callback=typed_address,
        metavar="ADDRESS",
        help="A phone number with its +, or an e-mail address.",
    ),
    option("--hash", "hashed", default=None, metavar="HASH", help="The hash of an address, as statuses have it."),
    option("--lead", default=None, metavar="ID", help="A person, on every address."),
]
WHAT_OPTIONS: Final[list[Any]] = [
    option(
        "--scope",
        default=None,
        type=click.Choice([str(each) for each in Scope]),
        help="Channels concerned: phone is WhatsApp and SMS, * is all.",
    ),
    option("--reason", default=None, type=click.Choice([str(each) for each in SuppressionReason]), help="Why."),
]


class TypedRecipient(TypedDict):
    """The options that name a recipient."""

    address: tuple[AddressKind, str] | None
    hashed: str | None
    lead: str | None


def recipient_of(typed: TypedRecipient, key: bytes, ctx: click.Context) -> Recipient | None:
    """Return whom the options name, None for nobody. Raises UsageError for two, or for none that can be."""
    if sum(typed[name] is not None for name in ("address", "hashed", "lead")) > 1:
        raise click.UsageError("one of --address, --hash and --lead", ctx)
    if typed["hashed"] is not None and _HASH.fullmatch(typed["hashed"]) is None:
        raise click.UsageError("--hash must be 32 lower-case hexadecimal digits", ctx)
    if typed["lead"] is not None and not is_name(typed["lead"]):
        raise click.UsageError("--lead must be 1 to 256 characters, none a control character", ctx)
    if typed["address"] is not None:
        return Recipient.by_address(typed["address"], key)
    if typed["hashed"] is None and typed["lead"] is None:
        return None
    return Recipient(typed["hashed"], typed["lead"])


def lanes_of_scopes(scopes: Iterable[Scope], policies: Mapping[Channel, ChannelPolicy]) -> list[str]:
    """Return the lanes that entries with these scopes concern, as `<channel>/<sender>`."""
    channels = frozenset().union(*(scope.channels for scope in scopes))
    return [
        f"{channel}/{sender.name}"
        for channel, policy in policies.items()
        if channel in channels
        for sender in policy.senders
    ]
