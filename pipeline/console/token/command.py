"""`faust -A pipeline token`: a new token and its hash."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

import click
import orjson

from pipeline.console.command import DONE, Command
from pipeline.domain.token import TOKEN_BYTES, token_hash

if TYPE_CHECKING:
    from pipeline.console.command_context import CommandContext


class token(Command):  # noqa: N801 - faust names the command after the class
    """Make a token for a user of the web process: the token, for the user, and its hash, for [[web.users]].

    The token is shown this once and kept nowhere. Kafka is not needed.

    \b
    Examples:
      faust -A pipeline token
      faust -A pipeline --json token

    \b
    Exit codes:
      0  printed
      2  wrong usage or configuration
    """  # noqa: D301 - \b is click's

    options: list[Any] = []  # noqa: RUF012 - faust reads it off the class

    async def serve(self, context: CommandContext) -> int:
        """Print both."""
        del context
        made = secrets.token_urlsafe(TOKEN_BYTES)
        if self.json:
            click.echo(orjson.dumps({"token": made, "token_hash": token_hash(made)}).decode())
        else:
            click.echo(f"token       {made}\ntoken_hash  {token_hash(made)}")
        return DONE
