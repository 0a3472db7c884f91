"""Dictionaries for other libraries, with secrets in them. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_SECRET = ("key", "secret", "token")


class Options(dict[str, Any]):
    """A dictionary that shows no secret: a notebook prints what stands last in a cell."""

    def __or__(self, other: Mapping[str, Any]) -> Options:  # type: ignore[override]
        return Options({**self, **other})

    def __repr__(self) -> str:
        return repr({name: "[redacted]" if _is_secret(name, value) else value for name, value in self.items()})


def _is_secret(name: str, value: object) -> bool:
    return isinstance(value, str) and any(word in name.lower() for word in _SECRET)
