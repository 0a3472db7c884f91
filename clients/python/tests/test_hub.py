"""A real Hub with a real proxy, a real broker and a real MinIO; then a real browser in front of it all."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import httpx
import pytest

import lakepass
from lakepass import Lakepass

from .conftest import Broker
from .stack import Stack, as_json, stack

pytestmark = pytest.mark.hub

HERE = Path(__file__).resolve().parent
BROWSER = HERE.parent / "test/browser.test.mjs"


@pytest.fixture(scope="module")
def hub(broker: Broker, lakepass_bin: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    with stack(broker, lakepass_bin, tmp_path_factory.mktemp("hub")) as running:
        yield running


def eventually(what: Callable[[], Any], seconds: float = 40) -> Any:
    end = time.monotonic() + seconds
    while not (answer := what()):
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.1)
    return answer


class Visitor:
    """A browser without a face."""

    def __init__(self, hub: Stack, **cookies: str) -> None:
        self.hub = hub
        self.client = httpx.Client(base_url=hub.hub_url, timeout=30, cookies=cookies)

    def form(self) -> str:
        page = self.client.get("/hub/login").text
        found = re.search(r'name="_xsrf" value="([^"]+)"', page)
        assert found is not None
        return found[1]

    def sign_in(self, token: str = "") -> httpx.Response:
        data = {"_xsrf": self.form()} | ({"token": token} if token else {})
        return self.client.post("/hub/login", data=data, headers={"Sec-Fetch-Mode": "navigate"})

    def api(self, method: str, path: str, body: Any = None) -> httpx.Response:
        xsrf = next(c.value for c in self.client.cookies.jar if c.name == "_xsrf" and c.path == "/hub/") or ""
        return self.client.request(method, f"/hub/api{path}", json=body, headers={"X-XSRFToken": xsrf})

    def start_server(self, person: str) -> None:
        """Theirs, and waits until it runs."""
        assert self.api("POST", f"/users/{person}/server").status_code in (201, 202)
        eventually(lambda: self.api("GET", f"/users/{person}").json()["servers"].get("", {}).get("ready"))

    def is_in(self) -> bool:
        return self.client.get("/hub/home").status_code == 200


def refreshed(visitor: Visitor) -> None:
    """A visit past `auth_refresh_age`, so that the Hub has asked KBase; they are in."""
    time.sleep(1.1)
    assert visitor.is_in()


def server_environment(hub: Stack, person: str) -> dict[str, str]:
    """Of the person's running server, from the machine itself."""
    for process in Path("/proc").glob("[0-9]*"):
        try:
            raw = (process / "environ").read_bytes().decode().split("\0")
        except OSError:
            continue
        env = dict(line.split("=", 1) for line in raw if "=" in line)
        if env.get("JUPYTERHUB_USER") == person and env.get("HOME") == str(hub.home(person)):
            return env
    raise AssertionError(f"{person} has no server")


@pytest.fixture(scope="module")
def bob(hub: Stack) -> Visitor:
    """Signed in by a cookie of KBase's, with a server that runs."""
    visitor = Visitor(hub, kbase_session=hub.kbase.issue("bob"))
    assert visitor.sign_in().status_code == 302
    visitor.start_server("bob")
    return visitor


@pytest.fixture(scope="module")
def bobs(hub: Stack, bob: Visitor) -> dict[str, str]:
    return server_environment(hub, "bob")


def lake(env: dict[str, str]) -> Lakepass:
    return Lakepass.from_env(env)


def container(env: dict[str, str], query: str = "", **headers: str) -> httpx.Response:
    headers = {"Authorization": env["AWS_CONTAINER_AUTHORIZATION_TOKEN"], **headers}
    return httpx.get(env["AWS_CONTAINER_CREDENTIALS_FULL_URI"] + query, headers=headers, timeout=30)


def s3(broker: Broker, keys: dict[str, str]) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=broker.minio_url,
        region_name="us-east-1",
        aws_access_key_id=keys["AccessKeyId"],
        aws_secret_access_key=keys["SecretAccessKey"],
        aws_session_token=keys["Token"],
    )


def can_read(broker: Broker, keys: dict[str, str]) -> bool:
    return bool(s3(broker, keys).get_object(Bucket=broker.bucket, Key="users-warehouse/bob/genomes.csv")["Body"].read())


def test_who_does_not_get_in(hub: Stack) -> None:
    for token, status, word in (
        ("NOTATOKEN", 403, "KBase refuses this sign-in"),
        (hub.kbase.issue("bob", mfa="NotUsed"), 403, "multi-factor"),
        ("", 403, "not signed in to KBase"),
    ):
        visitor = Visitor(hub)
        answer = visitor.sign_in(token)
        assert answer.status_code == status
        assert word in answer.text
        assert not visitor.is_in()


def test_a_server_gets_keys_that_work_and_no_token(broker: Broker, hub: Stack, bobs: dict[str, str]) -> None:
    keys = container(bobs)
    assert keys.status_code == 200
    assert keys.headers["cache-control"] == "no-store"
    assert can_read(broker, keys.json())
    # The same again is not sent again.
    same = container(bobs, **{"If-None-Match": keys.headers["etag"]})
    assert (same.status_code, same.content) == (304, b"")
    assert not any("AWS_SECRET" in name or name in ("AWS_ACCESS_KEY_ID", "KBASE_AUTH_TOKEN") for name in bobs)


def test_a_scope_for_one_job(broker: Broker, bobs: dict[str, str]) -> None:
    home = f"s3a://{broker.bucket}/users-warehouse/bob/"
    narrow = lake(bobs).container_keys(scope=[home + "only/"])
    with pytest.raises(Exception, match="AccessDenied"):
        can_read(
            broker,
            {
                "AccessKeyId": narrow.access_key_id,
                "SecretAccessKey": narrow.secret_access_key,
                "Token": narrow.session_token,
            },
        )
    wrong = container(bobs, "?duration_seconds=1")
    assert (wrong.status_code, set(wrong.json())) == (422, {"code", "message"})


def test_the_client_works_by_way_of_the_hub(broker: Broker, bobs: dict[str, str]) -> None:
    home = f"s3a://{broker.bucket}/users-warehouse/bob/"
    with lake(bobs) as mine:
        assert mine.me().username == "bob"
        assert [group.name for group in mine.groups()] == ["KBase"]
        assert mine.share(home + "run/", with_group="KBase", until="2099-01-01T00:00:00Z").ok
        assert "KBase" in [line.name for line in mine.access(home + "run/").groups]
        assert mine.unshare(home + "run/", from_group="KBase").ok
        assert mine.session().username == "bob"
        assert mine.sessions()
        with pytest.raises(lakepass.ShareFailed, match="nobody_at_all"):
            mine.share(home + "run/", with_user="nobody_at_all")
        with pytest.raises(lakepass.Forbidden) as caught:
            mine.share(f"s3a://{broker.bucket}/users-warehouse/alice/", with_user="bob")
        assert caught.value.problem.request_id


def test_credential_process_works_by_way_of_the_hub(broker: Broker, bobs: dict[str, str]) -> None:
    env = {name: bobs[name] for name in ("PATH", "LAKEPASS_URL", "LAKEPASS_TOKEN")}
    said = subprocess.run(["lakepass-credential-process"], env=env, capture_output=True, text=True, check=True)
    keys = json.loads(said.stdout)
    assert can_read(broker, {**keys, "Token": keys["SessionToken"]})


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/users/bob", 404),
        ("POST", "/users/bob", 404),
        ("POST", "/users/alice/share", 404),
        ("POST", "/users/{me}/share", 404),
        ("POST", "/users/bob/../../admin/users/alice/disable", 404),
        ("POST", "/users%2Fbob%2Fshare%3Fx", 404),
        ("DELETE", "/admin/users/bob", 404),
        ("GET", "/admin/users", 404),
        ("POST", "/me", 404),
        ("GET", "/healthz", 404),
        ("PUT", "/me", 405),
        ("GET", "/me?x=1", 422),
        ("GET", "/access?path=a&path=b", 422),
    ],
)
def test_it_is_no_open_proxy(bobs: dict[str, str], method: str, path: str, status: int) -> None:
    headers = {"Authorization": f"Bearer {bobs['LAKEPASS_TOKEN']}"}
    answer = httpx.request(method, bobs["LAKEPASS_URL"] + path, headers=headers)
    assert answer.status_code == status


def test_a_body_that_is_too_large_goes_nowhere(bobs: dict[str, str]) -> None:
    headers = {"Authorization": f"Bearer {bobs['LAKEPASS_TOKEN']}"}
    answer = httpx.post(bobs["LAKEPASS_URL"] + "/users/bob/share", headers=headers, content=b" " * 70_000)
    assert answer.status_code == 413


def test_who_may_ask(hub: Stack, bob: Visitor, bobs: dict[str, str]) -> None:
    url, uri = bobs["LAKEPASS_URL"], bobs["AWS_CONTAINER_CREDENTIALS_FULL_URI"]
    for authorization in (None, "", "Bearer", "Bearer NOTATOKEN", "token NOTATOKEN"):
        answer = httpx.get(uri, headers={} if authorization is None else {"Authorization": authorization})
        assert (answer.status_code, set(answer.json())) == (401, {"code", "message"})
    # A page in bob's browser has his cookies, and gets nothing for them.
    assert bob.is_in()
    assert bob.api("GET", "/lakepass/aws/container-credentials").status_code == 401
    assert bob.api("GET", "/lakepass/me").status_code == 401
    # A service is nobody with a lake, whatever its scopes.
    service = httpx.get(uri, headers={"Authorization": "Bearer service-token-of-the-tests"})
    assert service.status_code == 401
    # Tokens of bob's own that were made for less.
    for scopes, me, keys in (
        (["read:users:name!user"], 403, 403),
        (["custom:lakepass:sharing!user"], 200, 403),
        (["custom:lakepass:credentials!user"], 403, 200),
    ):
        token = bob.api("POST", "/users/bob/tokens", {"scopes": scopes, "expires_in": 60}).json()["token"]
        headers = {"Authorization": f"Bearer {token}"}
        assert httpx.get(url + "/me", headers=headers).status_code == me
        assert httpx.get(uri, headers=headers, timeout=30).status_code == keys


def test_an_administrator_s_token_opens_nobody_else_s_lake(hub: Stack, bobs: dict[str, str]) -> None:
    dana = Visitor(hub, kbase_session_backup=hub.kbase.issue("dana"))
    assert dana.sign_in().status_code == 302
    assert dana.api("GET", "/users/dana").json()["admin"] is True
    token = dana.api("POST", "/users/dana/tokens", {"expires_in": 60}).json()["token"]
    with Lakepass(bobs["LAKEPASS_URL"], token) as lake:
        assert lake.me().username == "dana"
        with pytest.raises(lakepass.NotFound):
            lake.share("users-warehouse/bob/x/", with_user="dana", owner="bob")


def test_the_first_server_makes_who_is_new_to_the_lake(broker: Broker, hub: Stack) -> None:
    def as_administrator(method: str, path: str) -> httpx.Response:
        return httpx.request(method, broker.url + path, headers={"Authorization": broker.tokens["dana"]}, timeout=30)

    assert as_administrator("DELETE", "/admin/users/dana").status_code == 204
    dana = Visitor(hub, kbase_session=hub.kbase.issue("dana"))
    assert dana.sign_in().status_code == 302
    assert as_administrator("GET", "/users/dana").status_code == 404
    dana.start_server("dana")
    assert as_administrator("GET", "/users/dana").json()["home"] == [broker.home("dana")]
    client = s3(broker, container(server_environment(hub, "dana")).json())
    client.put_object(Bucket=broker.bucket, Key="users-warehouse/dana/new", Body=b"")


def test_a_token_s_end_and_a_new_sign_in(broker: Broker, hub: Stack, bob: Visitor, bobs: dict[str, str]) -> None:
    bob.client.cookies.set("kbase_session", old := hub.kbase.issue("bob"))
    refreshed(bob)
    hub.kbase.expire(old)
    # The server that runs is told what to do, and the browser is sent to the login.
    ended = eventually(lambda: (answer := container(bobs)).status_code == 401 and answer)
    assert "sign in to JupyterHub again" in ended.json()["message"]
    with pytest.raises(lakepass.Unauthenticated, match="sign in to JupyterHub again"):
        lake(bobs).me()
    eventually(lambda: not bob.is_in())
    assert "/hub/login" in bob.client.get("/hub/home").headers["location"]
    # A new sign-in here, and the same server with the same API token goes on.
    newer = hub.kbase.issue("bob")
    assert bob.sign_in(newer).status_code == 302
    assert can_read(broker, container(bobs).json())
    # The same by a new sign-in at KBase alone: the next visit here finds its cookie.
    hub.kbase.expire(newer)
    eventually(lambda: not bob.is_in())
    bob.client.cookies.set("kbase_session", hub.kbase.issue("bob"))
    refreshed(bob)
    assert can_read(broker, container(bobs).json())
    assert server_environment(hub, "bob")["LAKEPASS_TOKEN"] == bobs["LAKEPASS_TOKEN"]


def test_kbase_away_is_no_logout(hub: Stack, bob: Visitor, bobs: dict[str, str]) -> None:
    hub.kbase.away = True
    try:
        refreshed(bob)
        away = eventually(lambda: (answer := container(bobs)).status_code == 503 and answer)
        assert int(away.headers["retry-after"]) >= 1
        refused = Visitor(hub).sign_in("ANYTOKEN")
        assert (refused.status_code, "does not answer now" in refused.text) == (503, True)
    finally:
        hub.kbase.away = False
    assert bob.is_in()
    assert container(bobs).status_code == 200


def test_another_person_s_cookie_changes_nobody(hub: Stack, bob: Visitor, bobs: dict[str, str]) -> None:
    bob.client.cookies.set("kbase_session", hub.kbase.issue("carol"))
    refreshed(bob)
    assert lake(bobs).me().username == "bob"


def test_in_a_browser(broker: Broker, hub: Stack, tmp_path: Path) -> None:
    """Sign-in, a notebook with boto3 and Spark, a bad token, a token's end, KBase away, logout: in Chromium."""
    environ = {**os.environ, "LAKEPASS_STACK": as_json(hub, broker), "SHOTS": os.environ.get("SHOTS") or str(tmp_path)}
    command = ["node", "--test", "--test-reporter=spec", str(BROWSER)]
    ran = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=400)
    print(ran.stdout)
    assert ran.returncode == 0, f"{ran.stdout[-6000:]}\n{ran.stderr[-2000:]}\n{hub.log.read_text()[-3000:]}"


def test_no_secret_was_written_anywhere(broker: Broker, hub: Stack) -> None:
    """The last: after everything above, no token of KBase's is on the Hub's disk or in a log."""
    tokens = [token.encode() for token in [*broker.tokens.values(), *hub.kbase.issued]]
    looked = [path for path in hub.folder.rglob("*") if path.is_file()]
    assert {"hub.log", "serve.log", "jupyterhub.sqlite"} <= {path.name for path in looked}
    for path in looked:
        content = path.read_bytes()
        assert not any(token in content for token in tokens), path
    log = hub.log.read_text()
    assert not re.search(r"SecretAccessKey|secret_access_key|session_token", log)
    assert not re.search(r"Bearer \S", log)
