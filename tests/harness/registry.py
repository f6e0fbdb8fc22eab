"""A schema registry without a network."""

from __future__ import annotations

from typing import Any

import httpx

from pipeline.records import schemas
from pipeline.records.registry import Registry
from pipeline.secret import Address


class FakeRegistry(Registry):
    """A registry that has one schema under every id but 404."""

    def __init__(self, name: str) -> None:
        super().__init__(Address("http://registry.example"))
        self.name = name
        self.asked: list[int] = []

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> httpx.Response:
        self.asked.append(int(path.rpartition("/")[2]))
        if self.asked[-1] == httpx.codes.NOT_FOUND:
            return httpx.Response(404, json={"error_code": 40403})
        return httpx.Response(200, json={"schema": schemas.current(self.name).text})
