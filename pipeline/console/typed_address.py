"""An address as it is typed: a phone number with its +, or an e-mail address."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from pipeline.domain.address import BadAddress
from pipeline.domain.address_hash import read_address

if TYPE_CHECKING:
    from pipeline.domain.address_hash import AddressKind


def typed_address(_ctx: click.Context, _param: click.Parameter, value: str | None) -> tuple[AddressKind, str] | None:
    """Return the address that was typed. Raises BadParameter, which does not repeat it."""
    try:
        return None if value is None else read_address(value)
    except BadAddress as error:
        raise click.BadParameter(str(error)) from None
