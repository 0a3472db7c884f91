"""Who gets in, who stays in, and what only looks like a refusal."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import httpx
import pytest
from tornado import web

from lakepass import Token
from lakepass.jupyterhub import LakepassAuthenticator
from lakepass.jupyterhub.kbase import Identity, KbaseAuth, KbaseAway, NotAdmitted, Rules, TokenRefused

NOW = int(time.time() * 1000)
HOUR = 3_600_000


def error(status: int, code: int | None) -> httpx.Response:
    return httpx.Response(
        status, json={"error": {"httpcode": status, "appcode": code, "apperror": "x", "message": "y"}}
    )


INVALID, DISABLED = error(401, 10020), error(403, 20010)
AWAY = httpx.Response(503, text="<html>away")


class Kbase:
    """Answers for tokens: a person's (name, roles, mfa, created), or the same failure from both endpoints."""

    def __init__(self, tokens: dict[str, Any]) -> None:
        self.tokens = tokens
        self.asked: list[str] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        token = request.headers["authorization"]
        self.asked.append(token)
        answer = self.tokens.get(token, INVALID)
        if isinstance(answer, type):
            raise answer("down")
        if isinstance(answer, httpx.Response):
            return answer
        name, roles, mfa, created = answer
        if request.url.path.endswith("/token"):
            body = {"user": name, "created": created, "expires": NOW + HOUR, "cachefor": 1, "mfa": mfa}
            return httpx.Response(200, json=body)
        return httpx.Response(200, json={"user": name, "customroles": roles})

    def auth(self) -> KbaseAuth:
        return KbaseAuth("http://kbase.test/services/auth/", httpx.MockTransport(self))


def person(name: str = "alice", roles: list[str] | None = None, mfa: str | None = "Used", created: int = NOW) -> Any:
    return name, ["BERDL_USER"] if roles is None else roles, mfa, created


def identify(answer: Any) -> Identity:
    return asyncio.run(Kbase({"T": answer}).auth().identify(Token("T")))


def test_a_good_token_says_who_it_is() -> None:
    kbase = Kbase({"T": person(roles=["A", "B"])})
    identity = asyncio.run(kbase.auth().identify(Token("T")))
    assert identity == Identity("alice", frozenset({"A", "B"}), "Used", NOW, NOW + HOUR)
    # Raw, without Bearer; each endpoint once.
    assert kbase.asked == ["T", "T"]


@pytest.mark.parametrize("answer", [INVALID, DISABLED, error(400, 10010)])
def test_what_is_a_refusal(answer: httpx.Response) -> None:
    with pytest.raises(TokenRefused):
        identify(answer)


@pytest.mark.parametrize(
    "answer",
    [
        AWAY,
        error(500, None),
        error(401, None),
        error(401, 20010),
        error(403, 10020),
        httpx.Response(401, text="<html>the proxy wants a password"),
        httpx.Response(200, text="<html>welcome to the wifi"),
        httpx.Response(200, json=[]),
        httpx.Response(200, json={"user": "alice"}),
        httpx.Response(302, headers={"location": "http://elsewhere.test/"}),
        httpx.ConnectError,
        httpx.ReadTimeout,
        person(name="Alice"),
        person(name="a" * 101),
        person(name=""),
    ],
)
def test_what_is_an_outage_and_no_refusal(answer: Any) -> None:
    with pytest.raises(KbaseAway):
        identify(answer)


def test_a_refusal_outweighs_an_outage() -> None:
    def half(request: httpx.Request) -> httpx.Response:
        return AWAY if request.url.path.endswith("/me") else INVALID

    with pytest.raises(TokenRefused):
        asyncio.run(KbaseAuth("http://kbase.test", httpx.MockTransport(half)).identify(Token("T")))


def test_two_names_for_one_token_are_nobody() -> None:
    def torn(request: httpx.Request) -> httpx.Response:
        name = "alice" if request.url.path.endswith("/me") else "bob"
        return Kbase({"T": person(name)})(request)

    with pytest.raises(KbaseAway):
        asyncio.run(KbaseAuth("http://kbase.test", httpx.MockTransport(torn)).identify(Token("T")))


def test_the_rules() -> None:
    def who(roles: set[str], mfa: str | None = "Used") -> Identity:
        return Identity("alice", frozenset(roles), mfa, 0, 0)

    rules = Rules(frozenset({"USER", "SIGNED"}), frozenset({"ADMIN", "ROOT"}), require_mfa=True)
    assert not rules.admit(who({"USER", "SIGNED"}))
    assert rules.admit(who({"USER", "SIGNED", "ROOT"}))
    with pytest.raises(NotAdmitted, match="SIGNED"):
        rules.admit(who({"USER", "ADMIN"}))
    for mfa in ("NotUsed", "Unknown", None):
        with pytest.raises(NotAdmitted, match="multi-factor"):
            rules.admit(who({"USER", "SIGNED"}, mfa))
    lax = Rules(frozenset(), frozenset(), require_mfa=False)
    assert not lax.admit(who(set(), None))


class Handler:
    """As much of a request as an authenticator looks at."""

    def __init__(self, **cookies: str) -> None:
        self.cookies = cookies

    def get_cookie(self, name: str) -> str | None:
        return self.cookies.get(name)


class User:
    def __init__(self, name: str, state: dict[str, Any] | None, admin: bool = False) -> None:
        self.name, self.state, self.admin = name, state, admin

    async def get_auth_state(self) -> dict[str, Any] | None:
        return self.state


def hub(tokens: dict[str, Any], **settings: Any) -> LakepassAuthenticator:
    authenticator = LakepassAuthenticator(**settings)
    authenticator._kbase = Kbase(tokens).auth()
    return authenticator


def sign_in(authenticator: LakepassAuthenticator, token: str | None = None, **cookies: str) -> Any:
    data = None if token is None else {"token": token}
    return asyncio.run(authenticator.get_authenticated_user(Handler(**cookies), data))  # type: ignore[arg-type]


def refresh(authenticator: LakepassAuthenticator, user: User, **cookies: str) -> Any:
    return asyncio.run(authenticator.refresh_user(user, Handler(**cookies)))  # type: ignore[arg-type]


ALICE = User("alice", {"kbase_token": "T1", "created": NOW})


def test_signing_in_by_either_cookie_or_a_form() -> None:
    authenticator = hub({"T1": person(), "T2": person("bob")})
    assert sign_in(authenticator, kbase_session="T1", kbase_session_backup="T2")["name"] == "alice"
    assert sign_in(authenticator, kbase_session_backup="T2")["name"] == "bob"
    signed = sign_in(authenticator, "  T2\n", kbase_session="T1")
    assert signed["name"] == "bob"
    assert signed["auth_state"] == {"kbase_token": "T2", "created": NOW}


def test_the_administrators() -> None:
    authenticator = hub({"T1": person(), "T2": person("dana", ["BERDL_USER", "KBASE_ADMIN"])}, admin_users={"carol"})
    assert sign_in(authenticator, "T2")["admin"] is True
    # Said outright, so that whoever loses the role loses the Hub.
    assert sign_in(authenticator, "T1")["admin"] is False


@pytest.mark.parametrize(
    ("answer", "token", "status", "word"),
    [
        (INVALID, "T", 403, "Sign in to KBase anew"),
        (DISABLED, "T", 403, "disabled"),
        (person(roles=[]), "T", 403, "BERDL_USER"),
        (person(mfa="NotUsed"), "T", 403, "multi-factor"),
        (AWAY, "T", 503, "does not answer"),
        (person(), None, 403, "not signed in"),
        (person(), "two words", 403, "not a KBase token"),
        (person("mallory"), "T", 403, "does not admit"),
    ],
)
def test_who_does_not_get_in_and_what_they_are_told(answer: Any, token: str | None, status: int, word: str) -> None:
    authenticator = hub({"T": answer}, blocked_users={"mallory"})
    with pytest.raises(web.HTTPError) as caught:
        sign_in(authenticator, token)
    assert caught.value.status_code == status
    assert word in (caught.value.log_message or "")


def test_listed_names_win_over_everybody() -> None:
    authenticator = hub({"T1": person(), "T2": person("bob")}, allowed_users={"bob"})
    assert sign_in(authenticator, "T2")["name"] == "bob"
    with pytest.raises(web.HTTPError):
        sign_in(authenticator, "T1")
    # Nobody at all, if no role is required and no name is listed.
    with pytest.raises(web.HTTPError):
        sign_in(hub({"T1": person()}, required_roles=set()), "T1")


def test_staying_in() -> None:
    assert refresh(hub({"T1": person()}), ALICE) is True
    # An outage is no logout.
    for away in (AWAY, httpx.ConnectError, httpx.ReadTimeout, error(401, None)):
        assert refresh(hub({"T1": away}), ALICE) is True
    assert refresh(hub({"T1": person()}), ALICE, kbase_session="T1") is True


@pytest.mark.parametrize("answer", [INVALID, DISABLED, person(roles=[]), person(mfa="NotUsed"), person("bob")])
def test_having_to_sign_in_again(answer: Any) -> None:
    assert refresh(hub({"T1": answer}), ALICE) is False


def test_auth_state_that_is_gone_means_signing_in() -> None:
    for state in (None, {}, {"kbase_token": None}, {"kbase_token": "two words"}):
        assert refresh(hub({"T1": person()}), User("alice", state)) is False


def test_a_newer_cookie_of_the_same_person_replaces_the_token() -> None:
    newer = person(created=NOW + 1)
    fresh = refresh(hub({"T1": person(), "T2": newer}), ALICE, kbase_session="T2")
    assert fresh["auth_state"] == {"kbase_token": "T2", "created": NOW + 1}
    # Also when the old one has ended: that is what a new sign-in at KBase is for.
    assert refresh(hub({"T2": newer}), ALICE, kbase_session_backup="T2")["auth_state"]["kbase_token"] == "T2"


@pytest.mark.parametrize(
    "cookie",
    [person(created=NOW - 1), person("bob", created=NOW + 1), person(created=NOW + 1, roles=[]), INVALID, AWAY],
)
def test_any_other_cookie_is_left_alone(cookie: Any) -> None:
    assert refresh(hub({"T1": person(), "T2": cookie}), ALICE, kbase_session="T2") is True
    assert refresh(hub({"T1": INVALID, "T2": cookie}), ALICE, kbase_session="T2") is False


def test_a_change_of_role_reaches_the_hub() -> None:
    admin = person(roles=["BERDL_USER", "CDM_JUPYTERHUB_ADMIN"])
    assert refresh(hub({"T1": admin}), ALICE)["admin"] is True
    assert refresh(hub({"T1": person()}), User("alice", ALICE.state, admin=True))["admin"] is False


def test_the_form_has_no_markup_of_others() -> None:
    from jinja2 import Template

    authenticator = LakepassAuthenticator(kbase_login_url="https://kbase.us/'\"><script>")
    html = Template(authenticator.get_custom_html("/hub/")).render(
        login_error="<script>", authenticator_login_url='/hub/login?next="><script>', xsrf="x"
    )
    assert "<script>" not in html


def test_no_token_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    for answer in (INVALID, AWAY, person(roles=[])):
        refresh(hub({"T1SECRET": answer}), User("alice", {"kbase_token": "T1SECRET", "created": 0}))
    assert caplog.records
    assert "T1SECRET" not in caplog.text + json.dumps([str(record.args) for record in caplog.records])
