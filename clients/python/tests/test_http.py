"""Faults: what is sent again, how long is waited, and what an exception carries."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from typing import Any

import httpx
import pytest

import lakepass
from lakepass import Lakepass
from lakepass._http import Http, base_url

TOKEN = "SECRETTOKEN2345"
PROBLEM = {
    "type": "urn:lakepass:problem:forbidden",
    "title": "forbidden",
    "status": 403,
    "detail": "only the owner may",
    "request_id": "r-1",
}


class Answers:
    """Answers in turn (the last one again and again), and notes what was asked and how long was waited."""

    def __init__(self, *answers: httpx.Response | type[httpx.TransportError]) -> None:
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []
        self.waits: list[float] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, type):
            raise answer("it is down")
        return answer

    def http(self, url: str = "http://broker.test") -> Http:
        token = lakepass._token.from_text(TOKEN)
        return Http(base_url(url), token, 1.0, httpx.MockTransport(self), self.waits.append)


def answer(status: int, body: Any = None, **headers: str) -> httpx.Response:
    return httpx.Response(status, json=body, headers={k.replace("_", "-"): v for k, v in headers.items()})


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, lakepass.InvalidRequest),
        (401, lakepass.Unauthenticated),
        (403, lakepass.Forbidden),
        (404, lakepass.NotFound),
        (409, lakepass.Conflict),
        (418, lakepass.Refused),
        (422, lakepass.InvalidRequest),
        (429, lakepass.RateLimited),
        (500, lakepass.Refused),
        (503, lakepass.Unavailable),
    ],
)
def test_each_status_has_its_exception_with_the_problem(status: int, kind: type[lakepass.Refused]) -> None:
    answers = Answers(answer(status, {**PROBLEM, "status": status}))
    with pytest.raises(kind) as caught:
        answers.http().json("POST", "sessions")
    problem = caught.value.problem
    assert type(caught.value) is kind
    assert (problem.type, problem.status, problem.request_id) == (PROBLEM["type"], status, "r-1")
    assert "only the owner may" in str(caught.value)
    assert "r-1" in str(caught.value)
    assert pickle.loads(pickle.dumps(caught.value)).problem == problem


def test_an_outage_is_asked_again_as_long_as_the_server_says() -> None:
    answers = Answers(
        answer(503, PROBLEM, retry_after="2"), answer(429, PROBLEM, retry_after="1"), answer(200, {"a": 1})
    )
    assert answers.http().json("POST", "sessions", {}) == {"a": 1}
    assert 2 <= answers.waits[0] <= 2.5
    assert 1 <= answers.waits[1] <= 1.5


def test_it_gives_up_in_the_end_and_says_when_to_ask_again() -> None:
    answers = Answers(answer(503, PROBLEM, retry_after="3"))
    with pytest.raises(lakepass.Unavailable) as caught:
        answers.http().json("GET", "me")
    assert caught.value.retry_after == 3
    assert (len(answers.requests), len(answers.waits)) == (4, 3)


def test_a_server_that_asks_for_too_much_patience_gets_none() -> None:
    date = format_datetime(datetime.now(timezone.utc) + timedelta(minutes=5), usegmt=True)
    for after in ("300", date):
        answers = Answers(answer(503, PROBLEM, retry_after=after))
        with pytest.raises(lakepass.Unavailable) as caught:
            answers.http().json("GET", "me")
        assert caught.value.retry_after is not None
        assert 295 < caught.value.retry_after <= 300
        assert answers.waits == []


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 422, 500])
def test_what_will_not_pass_is_not_asked_again(status: int) -> None:
    answers = Answers(answer(status, PROBLEM))
    with pytest.raises(lakepass.Refused):
        answers.http().json("GET", "me")
    assert len(answers.requests) == 1


def test_a_change_is_not_sent_twice_when_it_may_have_been_made() -> None:
    for fault in (httpx.ReadTimeout, httpx.ReadError, httpx.RemoteProtocolError):
        answers = Answers(fault)
        with pytest.raises(lakepass.Unreachable):
            answers.http().json("POST", "users/alice/share", {})
        assert len(answers.requests) == 1
    answers = Answers(answer(502))
    with pytest.raises(lakepass.Unavailable):
        answers.http().json("POST", "users/alice/share", {})
    assert len(answers.requests) == 1


def test_a_read_is_sent_again_after_any_passing_fault() -> None:
    answers = Answers(httpx.ReadTimeout, httpx.ConnectError, answer(502), answer(200, {}))
    assert answers.http().json("GET", "me") == {}
    assert len(answers.requests) == 4
    # Never two clients in step: about 0.2, 0.4, 0.8 s.
    assert all(0.1 * 2**n <= wait <= 0.3 * 2**n for n, wait in enumerate(answers.waits))


def test_the_token_is_in_its_header_and_nowhere_else(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    answers = Answers(answer(200, {}), answer(401, PROBLEM))
    http = answers.http()
    http.json("GET", "access", params={"path": "s3a://x/y/"})
    with pytest.raises(lakepass.Unauthenticated) as caught:
        http.json("GET", "me")
    request = answers.requests[0]
    assert request.headers["authorization"] == f"Bearer {TOKEN}"
    assert TOKEN not in str(request.url)
    assert TOKEN not in caplog.text + repr(caught.value) + str(caught.value)


def test_a_redirect_does_not_get_the_token() -> None:
    answers = Answers(answer(302, None, location="http://elsewhere.test/"))
    with pytest.raises(lakepass.Refused):
        answers.http().json("GET", "me")
    assert [request.url.host for request in answers.requests] == ["broker.test"]


def test_something_that_is_no_broker_is_told_apart() -> None:
    answers = Answers(httpx.Response(200, text="<html>hello"))
    with pytest.raises(lakepass.Refused, match="is this the broker's address"):
        answers.http().json("GET", "me")
    answers = Answers(httpx.Response(403, text="<html>blocked by the proxy"))
    with pytest.raises(lakepass.Forbidden) as caught:
        answers.http().json("GET", "me")
    assert caught.value.problem.type == "about:blank"


def test_the_address_keeps_its_path() -> None:
    answers = Answers(answer(200, {}))
    answers.http("https://hub.test/hub/api/lakepass").json("GET", "me")
    assert str(answers.requests[0].url) == "https://hub.test/hub/api/lakepass/me"


@pytest.mark.parametrize("url", ["", "broker", "ftp://x", "http://", "http://user:pw@x", "http://x?y", "http://x#y"])
def test_what_is_no_address(url: str) -> None:
    with pytest.raises(lakepass.ConfigurationError):
        Lakepass(url, TOKEN)


def test_the_environment_needs_an_address_and_a_token() -> None:
    with pytest.raises(lakepass.ConfigurationError, match="LAKEPASS_URL"):
        Lakepass.from_env({"LAKEPASS_TOKEN": TOKEN})
    with pytest.raises(lakepass.ConfigurationError, match="LAKEPASS_TOKEN"):
        Lakepass.from_env({"LAKEPASS_URL": "http://x"})
    assert repr(Lakepass.from_env({"LAKEPASS_URL": "http://x/", "LAKEPASS_TOKEN": TOKEN})) == "Lakepass('http://x')"


def lake_of(handle: Callable[[httpx.Request], httpx.Response], token: Any = TOKEN) -> Lakepass:
    return Lakepass("http://broker.test", token, transport=httpx.MockTransport(handle))


def test_a_partly_failed_share_raises_and_carries_the_results() -> None:
    lines = [
        {"grantee": "bob", "kind": "user", "ok": True},
        {"grantee": "Nobody", "kind": "group", "ok": False, "error": "there is no such group"},
    ]
    lake = lake_of(lambda _: answer(207, {"path": "s3a://x/y/", "results": lines}))
    with pytest.raises(lakepass.ShareFailed, match="group Nobody: there is no such group") as caught:
        lake.share("x", with_user="bob", with_group="Nobody", owner="alice")
    assert [line.grantee for line in caught.value.result.failed] == ["Nobody"]
    assert caught.value.problem.status == 207
    assert pickle.loads(pickle.dumps(caught.value)).result == caught.value.result
    result = lake.share("x", with_user="bob", with_group="Nobody", owner="alice", check=False)
    assert not result.ok


def test_sharing_with_nobody_sends_nothing() -> None:
    def never(_: httpx.Request) -> httpx.Response:
        raise AssertionError("it was sent")

    for share in (lake_of(never).share, lake_of(never).unshare):
        with pytest.raises(lakepass.ConfigurationError, match="whom"):
            share("x", owner="alice")


def test_whose_token_it_is_is_asked_once_for_each_token() -> None:
    token = {"now": "first"}
    asked: list[str] = []

    def handle(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        if request.url.path == "/me":
            name = "alice" if "first" in request.headers["authorization"] else "bob"
            empty: dict[str, Any] = dict.fromkeys(
                ("home", "groups", "access", "grants_received", "grants_given", "lake_keys", "policies"), ()
            )
            return answer(200, {"username": name, "disabled": False, **empty})
        return answer(200, {"path": "s3a://x/y/", "results": []})

    lake = lake_of(handle, lambda: lakepass.Token(token["now"]))
    lake.share("y", with_user="carol")
    lake.share("y", with_user="carol")
    token["now"] = "second"
    lake.unshare("y", from_user="carol")
    expected = ["/me", "/users/alice/share", "/users/alice/share", "/me", "/users/bob/unshare"]
    assert asked == expected


def test_a_name_cannot_leave_its_place_in_the_address() -> None:
    seen: list[bytes] = []

    def handle(request: httpx.Request) -> httpx.Response:
        seen.append(request.url.raw_path)
        return answer(200, {"path": "s3a://x/y/", "results": []})

    lake_of(handle).share("y", with_user="bob", owner="../admin/users/x?y#z")
    assert seen == [b"/users/..%2Fadmin%2Fusers%2Fx%3Fy%23z/share"]
