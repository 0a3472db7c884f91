"""One request to the broker: the token in its header, bounded retries, problems as exceptions.

Knows no endpoint.
"""

from __future__ import annotations

import random
import ssl
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from typing import Any

import httpx

from ._errors import ConfigurationError, Problem, Unreachable, refused
from ._token import TokenSource

TRIES = 4
"""How often a request is sent at most."""

LONGEST_WAIT = 10.0
"""Seconds. A server that asks for more patience than this gets none: its caller is told instead."""

_PASSING = frozenset({429, 502, 503, 504})
_SAID_SO = frozenset({429, 503})


def base_url(text: str) -> httpx.URL:
    """Where the broker is. A path is kept, so that it may be behind a prefix."""
    try:
        url = httpx.URL(text.rstrip("/") + "/")
    except httpx.InvalidURL as error:
        raise ConfigurationError(f"the broker's address is not one: {error}") from None
    if url.scheme not in ("http", "https") or not url.host or url.userinfo or url.query or url.fragment:
        raise ConfigurationError(
            "the broker's address is http:// or https:// with a host, and without user, query and fragment"
        )
    return url


class Http:
    """Sends requests. May be used from several threads."""

    def __init__(
        self,
        base: httpx.URL,
        token: TokenSource,
        timeout: float,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.base = base
        self.token = token
        self._sleep = sleep
        # Redirects are not followed: they would carry the token to wherever an answer says.
        self._client = httpx.Client(timeout=timeout, transport=transport, follow_redirects=False)

    def close(self) -> None:
        self._client.close()

    def json(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
        params: Mapping[str, str] | None = None,
    ) -> Any:
        """The answer's JSON, or `None` for an empty answer.

        A GET is sent again after any passing failure. Anything else only when it cannot have begun, or when the broker
        itself says (429, 503) to ask again: what it does is the same done twice.
        """
        for tried in range(1, TRIES + 1):
            try:
                answer = self._send(method, path, body, params)
            except httpx.RequestError as error:
                if distrust := _distrust(error):
                    raise Unreachable(f"{self.base.host} shows a certificate that is not trusted: {distrust}") from None
                if tried == TRIES or not (method == "GET" or isinstance(error, httpx.ConnectError)):
                    raise Unreachable(f"{self.base.host} does not answer ({type(error).__name__})") from None
                self._sleep(_wait(tried))
                continue
            if answer.is_success:
                return _read(answer)
            failure = refused(_problem(answer), _retry_after(answer))
            again = _PASSING if method == "GET" else _SAID_SO
            wait = _wait(tried, failure.retry_after)
            if answer.status_code not in again or tried == TRIES or wait > LONGEST_WAIT:
                raise failure
            self._sleep(wait)
        raise AssertionError("the last try returns or raises")

    def _send(
        self, method: str, path: str, body: Mapping[str, Any] | None, params: Mapping[str, str] | None
    ) -> httpx.Response:
        # Asked each time: the token may have changed since.
        headers = {"Authorization": f"Bearer {self.token().expose()}", "Accept": "application/json"}
        url = self.base.join(path)
        return self._client.request(method, url, headers=headers, json=body, params=params)


def _wait(tried: int, retry_after: float | None = None) -> float:
    """Seconds: what the server asks for, or about 0.2, 0.4, 0.8. With jitter, so that no two clients stay in step."""
    if retry_after is not None:
        return retry_after + random.uniform(0, 0.5)  # noqa: S311
    return 0.2 * 2.0 ** (tried - 1) * random.uniform(0.5, 1.5)  # noqa: S311


def _distrust(error: BaseException | None) -> str | None:
    """What is wrong with the server's certificate, and what to do; `None` if that is not what failed."""
    while error:
        if isinstance(error, ssl.SSLCertVerificationError):
            return f"{error.verify_message}. If a CA of your own signed it, set SSL_CERT_FILE to that CA's certificate"
        error = error.__cause__ or error.__context__
    return None


def _read(answer: httpx.Response) -> Any:
    if not answer.content:
        return None
    try:
        return answer.json()
    except ValueError:
        detail = f"{answer.request.url.host} answered with something that is not JSON: is this the broker's address?"
        raise refused(Problem.of_client("not-a-broker", detail, answer.status_code), None) from None


def _problem(answer: httpx.Response) -> Problem:
    """The broker's problem; from anything else in between, such as a proxy, just its status."""
    try:
        body = answer.json()
    except ValueError:
        body = None
    if isinstance(body, dict) and "type" in body:
        return Problem.of_body(answer.status_code, body)
    # The AWS surface, and the Hub's, say it in two words.
    message = body.get("message") if isinstance(body, dict) else None
    detail = message if isinstance(message, str) else f"{answer.request.url.host} answered {answer.status_code}"
    return Problem("about:blank", answer.reason_phrase or "refused", answer.status_code, detail)


def _retry_after(answer: httpx.Response) -> float | None:
    """Seconds, from a number or a date. `None` if it was not said, or not in words that we know."""
    text = answer.headers.get("retry-after", "").strip()
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        date = parsedate_to_datetime(text)
    except (TypeError, ValueError):
        return None
    if date.tzinfo is None:
        return None
    return max(0.0, (date - datetime.now(timezone.utc)).total_seconds())
