"""The Hub's Lakepass endpoint: what a user's server may ask of the broker, with the token that the Hub keeps.

- Only an API token with the scope that the route names gets in, and only as the user whose token it is. Cookies do not
  count, so that no page of anybody's can ask.
- The routes are a fixed list of whole addresses, with no room for anything of the request's but the user's own name.
- The user's token goes to the broker and nowhere else. Of an answer's headers, a named few go on.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jupyterhub.apihandlers.base import APIHandler
from jupyterhub.scopes import Scope
from jupyterhub.user import User
from tornado import web

from .. import ConfigurationError
from .._errors import BROKER
from .._token import Token
from ._broker import MAX_ANSWER_BYTES, BrokerAway
from .environment import CONTAINER_PATH

if TYPE_CHECKING:
    from .mixin import LakepassMixin

CREDENTIALS = "custom:lakepass:credentials"
SHARING = "custom:lakepass:sharing"
SCOPES = {
    CREDENTIALS: {"description": "Get session keys to one's own part of the data lake"},
    SHARING: {"description": "See what is one's own in the data lake, and share it"},
}

MAX_BODY_BYTES = 64 * 1024
MAX_WAIT = 60

_FORWARDED = ("Content-Type", "ETag", "Retry-After", "X-Request-Id")


@dataclass(frozen=True)
class Route:
    """What may be asked. `{me}` stands for the user's name; `params` are the query's names, each at most once."""

    scope: str
    params: frozenset[str] = frozenset()


ROUTES: Mapping[tuple[str, str], Route] = {
    ("GET", CONTAINER_PATH): Route(CREDENTIALS, frozenset({"scope", "duration_seconds", "wait"})),
    ("POST", "sessions"): Route(CREDENTIALS),
    ("GET", "sessions"): Route(CREDENTIALS),
    ("DELETE", "sessions"): Route(CREDENTIALS),
    ("GET", "me"): Route(SHARING),
    ("GET", "access"): Route(SHARING, frozenset({"path"})),
    ("POST", "users/{me}/share"): Route(SHARING),
    ("POST", "users/{me}/unshare"): Route(SHARING),
}


class Refusal(Exception):
    """An answer that the Hub itself gives: a problem of the broker's kinds, so that its clients need no other words."""

    def __init__(self, status: int, kind: str, detail: str, retry_after: int | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.kind = kind
        self.detail = detail
        self.retry_after = retry_after


class LakepassHandler(APIHandler):
    """`/hub/api/lakepass/…`"""

    _accept_cookie_auth = False

    def compute_etag(self) -> None:
        """The broker's tag goes on as it is: tornado would put its own in its place."""

    def initialize(self, lakepass: LakepassMixin) -> None:
        self.lakepass = lakepass

    async def get(self, path: str) -> None:
        await self._answer("GET", path)

    async def post(self, path: str) -> None:
        await self._answer("POST", path)

    async def delete(self, path: str) -> None:
        await self._answer("DELETE", path)

    async def _answer(self, method: str, path: str) -> None:
        self.set_header("Cache-Control", "no-store")
        try:
            await self._forward(method, path)
        except Refusal as refusal:
            self._refuse(path, refusal)

    async def _forward(self, method: str, path: str) -> None:
        user = self._user()
        own = {(verb, template.replace("{me}", user.name)): route for (verb, template), route in ROUTES.items()}
        route = own.get((method, path))
        if route is None:
            raise Refusal(404, "no-such-resource", "the Hub passes nothing like this on to the lake's broker")
        if not self._has(route.scope, user.name):
            raise Refusal(403, "forbidden", f"this API token has no scope {route.scope}")
        params = self._params(route)
        if path == CONTAINER_PATH:
            params.setdefault("scope", self.lakepass.lakepass_scope)
        token = await self._token(user)
        headers = {"If-None-Match": tag} if (tag := self.request.headers.get("If-None-Match")) else None
        content = self._body() if method == "POST" else None
        try:
            answer = await self.lakepass.broker.send(
                method, path, token, params=params, content=content, headers=headers, wait=_wait(params)
            )
        except BrokerAway:
            raise Refusal(503, "unavailable", "the lake's broker does not answer now: ask again", 2) from None
        if answer.status_code == 401:
            raise Refusal(401, "unauthenticated", self.lakepass.login_again)
        if answer.has_redirect_location or len(answer.content) > MAX_ANSWER_BYTES:
            raise Refusal(502, "bad-gateway", "the lake's broker answers with something unexpected")
        self.set_status(answer.status_code)
        for header in _FORWARDED:
            if header in answer.headers:
                self.set_header(header, answer.headers[header])
        # The answer may hold keys: it goes on as it is, and is looked at nowhere.
        self.finish(answer.content if answer.status_code not in (204, 304) else None)

    def _user(self) -> User:
        user = self.current_user
        if not isinstance(user, User):
            raise Refusal(401, "unauthenticated", "send the API token of your server in the `Authorization` header")
        return user

    def _has(self, scope: str, name: str) -> bool:
        """Whether the request's API token has the scope, for all or for just this user."""
        granted = self.parsed_scopes.get(scope)
        if granted is None:
            return False
        return granted == Scope.ALL or name in granted.get("user", ())

    async def _token(self, user: User) -> Token:
        """The user's, as it is now: after a new login it is another one, and servers that run need not know."""
        state = await user.get_auth_state()
        try:
            return self.lakepass.lake_token(state or {})
        except ConfigurationError:
            raise Refusal(401, "unauthenticated", self.lakepass.login_again) from None

    def _params(self, route: Route) -> dict[str, str]:
        given = self.request.query_arguments
        if not given.keys() <= route.params or any(len(values) != 1 for values in given.values()):
            names = ", ".join(sorted(route.params)) or "no names"
            raise Refusal(422, "invalid-request", f"the query takes {names}, and none of them twice")
        return {name: values[0].decode("utf-8", "replace") for name, values in given.items()}

    def _body(self) -> bytes:
        if len(self.request.body) > MAX_BODY_BYTES:
            raise Refusal(413, "body-too-large", "the body is too large: send less at once")
        return self.request.body or b"{}"

    def _refuse(self, path: str, refusal: Refusal) -> None:
        self.set_status(refusal.status)
        if refusal.retry_after is not None:
            self.set_header("Retry-After", str(refusal.retry_after))
        body: dict[str, Any] = {"code": refusal.kind, "message": refusal.detail}
        if path == CONTAINER_PATH:
            # The container-credentials protocol has its own two words.
            self.set_header("Content-Type", "application/json")
        else:
            self.set_header("Content-Type", "application/problem+json")
            title = refusal.kind.replace("-", " ")
            body = {"type": BROKER + refusal.kind, "title": title, "status": refusal.status, "detail": refusal.detail}
        self.finish(json.dumps(body))

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Failures that the Hub raises by itself. Nothing of an exception reaches the caller."""
        error = kwargs.get("exc_info", (None, None, None))[1]
        kind = "forbidden" if status_code == 403 else "internal"
        known = isinstance(error, web.HTTPError) and error.status_code < 500
        detail = "the Hub refuses this request" if known else "this should not have happened: tell the Hub's operators"
        self._refuse(self.path_args[0] if self.path_args else "", Refusal(status_code, kind, detail))


def _wait(params: Mapping[str, str]) -> float:
    """How long the broker may hold the answer back, in seconds. It says itself what is wrong with a wrong one."""
    text = params.get("wait", "0")
    return float(min(int(text), MAX_WAIT)) if text.isascii() and text.isdigit() and len(text) < 6 else 0.0
