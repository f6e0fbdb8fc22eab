"""A Jinja environment in which no template can block its process: the cost of each operation is checked first.

Time is bounded by the thread's own CPU time (a frozen machine costs a touch nothing), looked at wherever a template can
repeat something; size by weighing what goes into each operation that can make much out of little.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from functools import wraps
from itertools import chain
from typing import Any, Final

from jinja2 import StrictUndefined, nodes, pass_context, pass_eval_context
from jinja2.ext import Extension
from jinja2.lexer import Token, TokenStream
from jinja2.nodes import EvalContext
from jinja2.runtime import Context, markup_join, str_join
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace
from jinja2.visitor import NodeTransformer

MOST_CPU_S: Final = 0.1
"""CPU seconds of one rendering. An ordinary message takes a thousandth of it."""
MOST_CHARACTERS: Final = 1_000_000
"""Most characters of a value and of the result, which travels in records of 4 MiB."""
MOST_WORK: Final = 20_000_000
"""Largest product of the two largest operands of an operation: characters, items, widths."""
MOST_ROUNDS: Final = 100_000
"""Most iterations of one loop."""
MOST_BITS: Final = 8_192
"""Of a whole number."""
MOST_TOKENS: Final = 10_000
"""Most tokens of one template: compiling takes about 30 µs for each."""
MOST_FORMAT: Final = 10_000
MOST_PLACES: Final = 100
"""Characters of a format, and places to round to."""
MOST_TEMPLATES: Final = 100
"""Most templates included, imported or extended in one rendering."""
_SLOW: Final = {
    **dict.fromkeys(("striptags", "wordwrap", "title", "wordcount", "urlize", "unique", "sort", "tojson"), 100_000),
    **dict.fromkeys(("sum", "groupby"), 10_000),
}
"""Most characters for operations that are slow or not linear."""
_WIDE: Final = frozenset(
    {"center", "indent", "wordwrap", "truncate", "batch", "slice", "ljust", "rjust", "zfill", "expandtabs", "to_bytes"}
)
"""Filters and methods that make text as wide as a given number."""
_REMOVED: Final = frozenset({"pprint", "random", "xmlattr"})
_WIDTH = re.compile(r"\d{4}|\*|\{[^{}]*\{")
"""In a format: a width of a thousand and more, or one that is filled in."""


class TooMuch(Exception):
    """The template needs more time or memory than a message can need."""


class _Meter:
    """What one rendering has used."""

    __slots__ = ("characters", "ends_s", "templates")

    def __init__(self) -> None:
        self.ends_s = time.thread_time() + MOST_CPU_S
        self.templates = self.characters = 0

    def look(self) -> None:
        if time.thread_time() > self.ends_s:
            raise TooMuch(f"it takes longer than {MOST_CPU_S * 1000:.0f} ms")

    def opened(self) -> None:
        self.templates += 1
        if self.templates > MOST_TEMPLATES:
            raise TooMuch(f"it opens more than {MOST_TEMPLATES} templates")


_meter: ContextVar[_Meter | None] = ContextVar("meter", default=None)


def _look() -> None:
    if (meter := _meter.get()) is not None:
        meter.look()


class metered:  # noqa: N801 - a context manager, used like a function
    """Start the clock of one rendering."""

    def __enter__(self) -> None:
        self._token = _meter.set(_Meter())

    def __exit__(self, *_: object) -> None:
        _meter.reset(self._token)


def joined(parts: Iterable[str]) -> str:
    """Return the parts of an output as one text. Raises TooMuch before joining them."""
    kept, size = [], 0
    for part in parts:
        kept.append(part)
        size += len(part)
        if size > MOST_CHARACTERS:
            raise TooMuch(f"it says more than {MOST_CHARACTERS} characters")
    _look()
    return "".join(kept)


def weight(value: object, left: int = MOST_CHARACTERS) -> int:
    """Return how many characters `value` could become. Raises TooMuch as soon as they are too many."""
    if isinstance(value, str | bytes):
        size = len(value)
    elif isinstance(value, int):
        size = _digits(value)
    elif isinstance(value, dict):
        size = _sum(chain(value.keys(), value.values()), left)
    elif isinstance(value, list | tuple | set | frozenset):
        size = _sum(value, left)
    else:
        size = 6 * len(value) if isinstance(value, range) else 5
    if size > left:
        raise TooMuch(f"a value is larger than {MOST_CHARACTERS} characters")
    return size


def _digits(number: int) -> int:
    if number.bit_length() > MOST_BITS:
        raise TooMuch("a number is too large")
    return 1 + number.bit_length() // 3


def _sum(values: Iterable[object], left: int) -> int:
    size = 1
    for each in values:
        size += weight(each, left - size) + 1
        if size > left:
            raise TooMuch(f"a value is larger than {MOST_CHARACTERS} characters")
    return size


def _given(args: Iterable[object]) -> list[Any]:
    """Return arguments with what can be read only once made a list, and none endless."""
    return [list(_each(each)) if isinstance(each, Iterator) else each for each in args]


def _weigh(name: str, args: Iterable[object]) -> None:
    """Refuse an operation whose result could be far larger than its operands, before it runs."""
    wide = name in _WIDE
    sizes = sorted((abs(each) if wide and isinstance(each, int) else weight(each) for each in args), reverse=True)
    largest, next_largest = [*sizes, 1, 1][:2]
    if largest * max(next_largest, 1) > MOST_WORK or largest > _SLOW.get(name, largest):
        raise TooMuch(f"{name} is given too much")


def _check_format(name: str, said: object) -> None:
    if isinstance(said, str) and (len(said) > MOST_FORMAT or _WIDTH.search(said)):
        raise TooMuch(f"{name}: a width of a thousand or more, or one that is filled in, is not allowed")


def _bounded(name: str, filter_: Callable[..., Any]) -> Callable[..., Any]:
    skipped = 1 if hasattr(filter_, "jinja_pass_arg") else 0

    @wraps(filter_)
    def bounded(*args: Any, **named: Any) -> Any:
        _look()
        given = [*args[:skipped], *_given(args[skipped:])]
        _weigh(name, [*given[skipped:], *named.values()])
        if name == "format":
            _check_format(name, given[skipped])
        elif name == "round" and any(
            isinstance(each, int) and abs(each) > MOST_PLACES for each in (*given[1:], *named.values())
        ):
            raise TooMuch(f"round to more than {MOST_PLACES} places")
        made = filter_(*given, **named)
        if not isinstance(made, Iterator):
            weight(made)
        return made

    return bounded


def _each(values: Iterable[Any]) -> Iterator[Any]:
    for count, each in enumerate(values):
        if count % 16 == 0:
            _look()
        if count > MOST_ROUNDS:
            raise TooMuch(f"more than {MOST_ROUNDS} rounds")
        yield each


@pass_eval_context
def _concatenated(context: EvalContext, parts: list[Any]) -> Any:
    _look()
    weight(parts)
    return markup_join(parts) if context.autoescape else str_join(parts)


@pass_context
def _said(_: Context, value: Any) -> Any:
    """Checks each expression that is written to the output."""
    if not isinstance(value, str):
        _look()
        weight(value)
    return value


class _Space(Namespace):
    """A namespace whose repr does not show its content, which may contain itself."""

    __repr__ = object.__repr__


class _Weighed(NodeTransformer):
    """Inserts checks where a template has operations that an environment cannot intercept."""

    def _through(self, node: Any, filter_: str) -> nodes.Filter:
        return nodes.Filter(node, filter_, [], [], None, None, lineno=node.lineno)

    def visit_Concat(self, node: nodes.Concat) -> nodes.Node:  # noqa: N802 - Jinja's names
        self.generic_visit(node)
        return self._through(nodes.List(node.nodes, lineno=node.lineno), "_concatenated")

    def visit_For(self, node: nodes.For) -> nodes.Node:  # noqa: N802
        self.generic_visit(node)
        node.iter = self._through(node.iter, "_each")
        return node

    def _made(self, node: nodes.Literal) -> nodes.Node:
        self.generic_visit(node)
        return self._through(node, "_made") if getattr(node, "ctx", "load") == "load" else node

    visit_List = visit_Tuple = visit_Dict = visit_Compare = visit_Getitem = visit_Test = _made  # noqa: N815


class _FewTokens(Extension):
    """Counts the tokens to compile."""

    def filter_stream(self, stream: TokenStream) -> Iterable[Token]:
        for count, token in enumerate(stream):
            if count > MOST_TOKENS:
                raise TooMuch(f"it has more than {MOST_TOKENS} tokens")
            yield token


class BoundedEnvironment(ImmutableSandboxedEnvironment):
    """Renders templates within bounds of time, size and depth."""

    intercepted_binops = frozenset({"+", "-", "*", "/", "//", "**", "%"})

    def __init__(self, **options: Any) -> None:
        super().__init__(undefined=StrictUndefined, finalize=_said, optimized=False, extensions=[_FewTokens], **options)
        self.filters = {name: _bounded(name, each) for name, each in self.filters.items() if name not in _REMOVED}
        self.filters |= {"_concatenated": _concatenated, "_each": _each, "_made": _made}
        self.globals.pop("lipsum", None)
        self.globals["namespace"] = _Space
        self.concat = joined  # type: ignore[method-assign]  # Jinja's seam for it

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree = super()._parse(source, name, filename)
        weighed: nodes.Template = _Weighed().visit(tree)
        return weighed

    def get_template(self, *args: Any, **named: Any) -> Any:
        """Return a template, counting those of one rendering."""
        if (meter := _meter.get()) is not None:
            meter.opened()
            meter.look()
        return super().get_template(*args, **named)

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Return the result of an arithmetic operation."""
        _look()
        if operator == "%" and isinstance(left, str):
            _check_format("%", left)
            _weigh("%", (left, right))
        weighed = weight(left), weight(right)
        if operator == "*":
            sizes = [
                abs(each) if isinstance(each, int) else size for each, size in zip((left, right), weighed, strict=True)
            ]
            if (
                not all(isinstance(each, int | float) for each in (left, right))
                and sizes[0] * sizes[1] > MOST_CHARACTERS
            ):
                raise TooMuch(f"a value is larger than {MOST_CHARACTERS} characters")
        if (
            operator == "**"
            and isinstance(left, int)
            and isinstance(right, int)
            and left.bit_length() * abs(right) > MOST_BITS
        ):
            raise TooMuch("a number is too large")
        made = super().call_binop(context, operator, left, right)
        weight(made)
        return made

    def call(self, context: Context, obj: Any, /, *args: Any, **named: Any) -> Any:
        """Return the result of a call in a template."""
        _look()
        name = str(getattr(obj, "__name__", type(obj).__name__))
        receiver = getattr(getattr(obj, "__wrapped__", obj), "__self__", None)  # the sandbox wraps str.format
        if isinstance(receiver, str | bytes | int | list | tuple | dict):
            given = _given(args)
            _weigh(name, [receiver, *given, *named.values()])
            if name in ("format", "format_map"):
                _check_format(name, receiver)
            args = tuple(given)
        made = super().call(context, obj, *args, **named)
        if not isinstance(made, Iterator):
            weight(made)
        return made


def _made(value: Any) -> Any:
    _look()
    weight(value)
    return value
