"""The user's token: what it is, and where it comes from. Knows no HTTP."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

from ._errors import ConfigurationError

_MAX_BYTES = 8192


class Token:
    """A KBase token or a JWT.

    - Visible ASCII without spaces, 1 to 8192 characters, as the broker takes them.
    - Shown nowhere: not by `repr`, `str`, formatting, or pickling, which is refused.
    - Two tokens are compared in constant time.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        if not 1 <= len(text) <= _MAX_BYTES or not all("!" <= letter <= "~" for letter in text):
            # The text itself stays out of the message: it may be a token with a stray letter.
            raise ConfigurationError("a token is visible ASCII without spaces or line ends, and is not empty")
        self._text = text

    def expose(self) -> str:
        """The token itself: only for the `Authorization` header."""
        return self._text

    @property
    def digest(self) -> bytes:
        """Its SHA-256, to tell tokens apart without keeping them."""
        return hashlib.sha256(self._text.encode()).digest()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Token):
            return NotImplemented
        return hmac.compare_digest(self._text, other._text)

    def __hash__(self) -> int:
        return hash(self.digest)

    def __repr__(self) -> str:
        return "Token([redacted])"

    __str__ = __repr__

    def __format__(self, _spec: str) -> str:
        return repr(self)

    def __reduce_ex__(self, _protocol: Any) -> NoReturn:
        raise TypeError("a Lakepass token is not pickled, so that it reaches no file and no executor by accident")


TokenSource = Callable[[], Token]
"""Gives the token that is good now: it is asked for every request."""


def from_file(path: str | Path) -> TokenSource:
    """Reads the file anew at each use: whoever renews the token just writes the file."""
    path = Path(path)

    def read() -> Token:
        try:
            text = path.read_text(encoding="ascii", errors="replace")
        except OSError as error:
            raise ConfigurationError(f"the token file {path} cannot be read: {error.strerror}") from None
        return Token(text.strip())

    return read


def from_text(token: str | Token) -> TokenSource:
    """This token, for as long as the client lives."""
    fixed = token if isinstance(token, Token) else Token(token.strip())
    return lambda: fixed


def from_environment(environ: Mapping[str, str]) -> TokenSource:
    """`LAKEPASS_TOKEN`, else the file that `LAKEPASS_TOKEN_FILE` names, else `KBASE_AUTH_TOKEN`."""
    if text := environ.get("LAKEPASS_TOKEN"):
        return from_text(text)
    if path := environ.get("LAKEPASS_TOKEN_FILE"):
        return from_file(path)
    if text := environ.get("KBASE_AUTH_TOKEN"):
        return from_text(text)
    raise ConfigurationError("no token: set LAKEPASS_TOKEN, LAKEPASS_TOKEN_FILE or KBASE_AUTH_TOKEN")
