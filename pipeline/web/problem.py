"""What the web process refuses, as `application/problem+json` tells it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from enum import StrEnum
from functools import wraps
from http import HTTPStatus
from typing import Final, ParamSpec, TypeVar

from pipeline.kafka.cluster import CommandFailed
from pipeline.masking import masked
from pipeline.records.registry import RegistryAway

P = ParamSpec("P")
T = TypeVar("T")


class Code(StrEnum):
    """Why a request is refused."""

    BAD_REQUEST = "bad_request"
    UNAUTHORIZED = "unauthorized"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not_found"
    BAD_METHOD = "bad_method"
    CONFLICT = "conflict"
    TOO_LARGE = "too_large"
    BAD_TYPE = "bad_type"
    TOO_MANY = "too_many"
    KAFKA_AWAY = "kafka_away"
    FAILED = "failed"
    """A fault of ours."""

    @property
    def status(self) -> HTTPStatus:
        """The HTTP status."""
        return _STATUS[self]


_STATUS: Final = {
    Code.BAD_REQUEST: HTTPStatus.BAD_REQUEST,
    Code.UNAUTHORIZED: HTTPStatus.UNAUTHORIZED,
    Code.FORBIDDEN: HTTPStatus.FORBIDDEN,
    Code.NOT_FOUND: HTTPStatus.NOT_FOUND,
    Code.BAD_METHOD: HTTPStatus.METHOD_NOT_ALLOWED,
    Code.CONFLICT: HTTPStatus.CONFLICT,
    Code.TOO_LARGE: HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    Code.BAD_TYPE: HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    Code.TOO_MANY: HTTPStatus.TOO_MANY_REQUESTS,
    Code.KAFKA_AWAY: HTTPStatus.SERVICE_UNAVAILABLE,
    Code.FAILED: HTTPStatus.INTERNAL_SERVER_ERROR,
}


def told(method: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
    """Return `method`, which tells as a Problem `kafka_away` that Kafka or the registry does not do what it needs."""

    @wraps(method)
    async def telling(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return await method(*args, **kwargs)
        except (CommandFailed, RegistryAway) as error:
            raise Problem(Code.KAFKA_AWAY, masked(str(error))) from error

    return telling


def code_of(status: int) -> Code:
    """Return the code of an HTTP status that the framework gives."""
    return next((code for code, known in _STATUS.items() if known == status), Code.BAD_REQUEST)


class Problem(Exception):
    """A request that is refused; `detail` is a sentence for a person, without an address or a secret."""

    def __init__(self, code: Code, detail: str) -> None:
        super().__init__(detail)
        self.code, self.detail = code, detail

    def as_json(self) -> dict[str, str | int]:
        """Return the members of the answer's body."""
        status = self.code.status
        return {"status": status.value, "title": status.phrase, "detail": self.detail, "code": self.code.value}
