"""KBase's auth service: who a token belongs to. Knows no JupyterHub and no lake.

What is not recognised is an outage: a broken proxy in front of the service must never look like everybody's tokens
having been revoked.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx

from .._token import Token

USERNAME = r"^[a-z][a-z0-9_]{0,99}$"
"""What KBase issues."""

TIME_LIMIT = 5.0
"""Seconds for a validation; both of its calls run at the same time."""

_INVALID_TOKEN, _NO_TOKEN, _DISABLED = 10020, 10010, 20010


class TokenRefused(Exception):
    """KBase says that the token is not valid, has expired, or that its account is disabled: a new login is needed."""


class NotAdmitted(Exception):
    """The token is good, and its person may not come in. The message says why, and is for them to read."""


class KbaseAway(Exception):
    """Nobody can say now whether the token is good. Says nothing about the token."""


@dataclass(frozen=True)
class Identity:
    """Who a token belongs to. Times are in milliseconds since the epoch."""

    username: str
    roles: frozenset[str]
    mfa: str | None
    """`Used`, `NotUsed`, `Unknown`; `None` from an older server."""
    created: int
    expires: int


@dataclass(frozen=True)
class Rules:
    """Who may come in: those with all of `required_roles`, and MFA if it is required. Any admin role administers."""

    required_roles: frozenset[str]
    admin_roles: frozenset[str]
    require_mfa: bool

    def admit(self, identity: Identity) -> bool:
        """Whether they are an administrator. Raises `NotAdmitted`."""
        if missing := sorted(self.required_roles - identity.roles):
            raise NotAdmitted(
                f"your KBase account lacks the role {', '.join(missing)}: ask for access to the data lake"
            )
        # Older servers do not say: they cannot vouch for it, so they do not.
        if self.require_mfa and identity.mfa != "Used":
            raise NotAdmitted("sign in at KBase with multi-factor authentication, which is required here")
        return bool(self.admin_roles & identity.roles)


class KbaseAuth:
    """Asks a KBase auth service. Keeps its connections; remembers no token."""

    def __init__(self, url: str, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self._url = url.rstrip("/")
        self._client = httpx.AsyncClient(timeout=TIME_LIMIT, follow_redirects=False, transport=transport)

    async def identify(self, token: Token) -> Identity:
        """Raises `TokenRefused` or `KbaseAway`. A refusal by one of the two calls outweighs an outage of the other."""
        answers = await asyncio.gather(
            self._ask("/api/V2/token", token), self._ask("/api/V2/me", token), return_exceptions=True
        )
        said, me = answers
        for kind in (TokenRefused, KbaseAway, BaseException):
            for answer in answers:
                if isinstance(answer, kind):
                    raise answer
        assert not isinstance(said, BaseException) and not isinstance(me, BaseException)  # noqa: S101, PT018
        return _identity(said, me)

    async def _ask(self, path: str, token: Token) -> Mapping[str, Any]:
        # The token goes raw, without `Bearer`.
        headers = {"Authorization": token.expose(), "Accept": "application/json"}
        try:
            answer = await asyncio.wait_for(self._client.get(self._url + path, headers=headers), TIME_LIMIT)
        except (httpx.RequestError, asyncio.TimeoutError) as error:
            raise KbaseAway(f"{path}: {type(error).__name__}") from None
        return interpret(path, answer.status_code, answer.content)


def interpret(path: str, status: int, content: bytes) -> Mapping[str, Any]:
    """An answer's body. Only what the service's own error document says is a refusal."""
    try:
        body = httpx.Response(status, content=content).json()
    except ValueError:
        raise KbaseAway(f"{path}: status {status}, and not JSON") from None
    if not isinstance(body, dict):
        raise KbaseAway(f"{path}: status {status}, and not an object")
    if status == 200:
        return body
    error = body.get("error")
    code = error.get("appcode") if isinstance(error, dict) else None
    if (status, code) in ((401, _INVALID_TOKEN), (400, _NO_TOKEN)):
        raise TokenRefused("the token is not valid, or has expired")
    if (status, code) == (403, _DISABLED):
        raise TokenRefused("the account is disabled at KBase")
    raise KbaseAway(f"{path}: status {status}, code {code}")


def _identity(said: Mapping[str, Any], me: Mapping[str, Any]) -> Identity:
    user, roles, mfa = said.get("user"), me.get("customroles"), said.get("mfa")
    created, expires = said.get("created"), said.get("expires")
    if not isinstance(user, str) or re.fullmatch(USERNAME, user) is None or user != me.get("user"):
        raise KbaseAway("the two endpoints do not name one user")
    if not isinstance(roles, list) or not isinstance(created, int) or not isinstance(expires, int):
        raise KbaseAway("the answers lack roles or times")
    if expires <= time.time() * 1000:
        raise TokenRefused("the token has expired")
    mfa = mfa if isinstance(mfa, str) else None
    return Identity(user, frozenset(role for role in roles if isinstance(role, str)), mfa, created, expires)
