"""The Hub's own way to the broker, with a user's token. Knows no JupyterHub."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx

from .._errors import Problem
from .._http import base_url
from .._models import Session
from .._token import Token

MAX_ANSWER_BYTES = 4 * 1024 * 1024

_TIMEOUT = 30.0
"""Seconds, on top of what a long poll waits."""


class BrokerAway(Exception):
    """The broker does not answer, or MinIO or the auth service behind it is away."""


class BrokerRefused(Exception):
    """The broker says no to this user: `problem` says why."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.detail)
        self.problem = problem


class HubBroker:
    """Sends one user's request to the broker, once: whoever asked the Hub may ask again."""

    def __init__(self, url: str, transport: httpx.AsyncBaseTransport | None = None) -> None:
        self._base = base_url(url)
        self._client = httpx.AsyncClient(timeout=_TIMEOUT, follow_redirects=False, transport=transport)

    async def send(
        self,
        method: str,
        path: str,
        token: Token,
        *,
        params: Mapping[str, str] | None = None,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        wait: float = 0,
    ) -> httpx.Response:
        """Raises `BrokerAway` if there is no answer at all."""
        sent = {"Authorization": f"Bearer {token.expose()}", "Accept": "application/json", **(headers or {})}
        if content is not None:
            sent["Content-Type"] = "application/json"
        try:
            return await self._client.request(
                method,
                self._base.join(path),
                params=params,
                content=content,
                headers=sent,
                timeout=_TIMEOUT + wait,
            )
        except httpx.RequestError as error:
            raise BrokerAway(type(error).__name__) from None

    async def welcome(self, token: Token) -> tuple[str, Mapping[str, str]]:
        """Makes sure that the token's user is in the lake: their username, and settings for Spark without keys.

        It is done by asking for a short session, whose keys nobody gets: that makes what is missing, and changes
        nothing. Raises `BrokerAway` or `BrokerRefused`.
        """
        answer = await self.send("POST", "sessions", token, content=b'{"duration_seconds":900}')
        if answer.status_code == 429 or answer.status_code >= 500:
            raise BrokerAway(f"status {answer.status_code}")
        if answer.status_code != 200:
            raise BrokerRefused(_problem(answer))
        try:
            session = Session.read(answer.json())
        except (ValueError, KeyError, TypeError):
            raise BrokerAway("the answer is no session") from None
        keys = ("access.key", "secret.key", "session.token", "aws.credentials.provider")
        settings = {name: value for name, value in session.spark_settings.items() if not name.endswith(keys)}
        return session.username, settings


def _problem(answer: httpx.Response) -> Problem:
    try:
        body: Any = answer.json()
    except ValueError:
        body = None
    return Problem.of_body(answer.status_code, body if isinstance(body, dict) else {})
