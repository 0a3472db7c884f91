"""What a user's server is given: where the lake is, how keys are found, and no key."""

from __future__ import annotations

import asyncio
import json
import shlex
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from jupyterhub.auth import DummyAuthenticator
from tornado import web

from lakepass.jupyterhub import LakepassAuthenticator, LakepassMixin
from lakepass.jupyterhub.environment import way_for

from .test_models import SESSION


@pytest.mark.parametrize(
    ("url", "way"),
    [
        ("http://127.0.0.1:8081/hub/api", "container"),
        ("http://localhost:8081/hub/api", "container"),
        ("http://[::1]:8081/hub/api", "container"),
        ("https://hub.example.org/hub/api", "container"),
        ("http://hub:8081/hub/api", "process"),
        ("http://10.0.0.7:8081/hub/api", "process"),
        ("http://127.0.0.1.example.org/hub/api", "process"),
        ("http://localhost.example.org/hub/api", "process"),
    ],
)
def test_how_sdks_can_be_reached(url: str, way: str) -> None:
    assert way_for(url) == way


class LakepassDummy(LakepassMixin, DummyAuthenticator):  # type: ignore[misc]
    """Any authenticator, with the lake: as `LakepassMixin, GenericOAuthenticator` would be."""


def broker(answer: httpx.Response | type[httpx.TransportError]) -> httpx.MockTransport:
    def handle(request: httpx.Request) -> httpx.Response:
        assert request.headers["authorization"] == "Bearer USERTOKEN"
        assert (request.method, request.url.path) == ("POST", "/sessions")
        if isinstance(answer, type):
            raise answer("down")
        return answer

    return httpx.MockTransport(handle)


def start(
    authenticator: LakepassMixin, answer: Any, hub: str = "http://127.0.0.1:8081", **changes: Any
) -> dict[str, str]:
    """The environment that a server gets."""
    authenticator._transport = broker(answer)
    state = changes.pop("state", {authenticator.token_state_key: "USERTOKEN"})

    async def auth_state() -> Any:
        return state

    spawner = SimpleNamespace(
        hub=SimpleNamespace(api_url=f"{hub}/hub/api"),
        hub_connect_url=None,
        api_token="SERVERTOKEN",
        environment={"MINE": "1"},
        **changes,
    )
    asyncio.run(authenticator.pre_spawn_start(SimpleNamespace(name="alice", get_auth_state=auth_state), spawner))
    return dict(spawner.environment)


WELCOME = httpx.Response(200, json=SESSION)


def settings(env: dict[str, str]) -> dict[str, str]:
    words = shlex.split(env["PYSPARK_SUBMIT_ARGS"])
    assert words[-1] == "pyspark-shell"
    return dict(pair.split("=", 1) for pair in words[1:-1:2])


def test_by_container_credentials() -> None:
    env = start(LakepassAuthenticator(lakepass_url="http://broker.test"), WELCOME)
    assert env["MINE"] == "1"
    assert env["LAKEPASS_URL"] == "http://127.0.0.1:8081/hub/api/lakepass"
    assert env["AWS_CONTAINER_CREDENTIALS_FULL_URI"] == env["LAKEPASS_URL"] + "/aws/container-credentials"
    assert env["AWS_CONTAINER_AUTHORIZATION_TOKEN"] == "Bearer SERVERTOKEN"
    assert env["AWS_ENDPOINT_URL_S3"] == "http://127.0.0.1:9000"
    assert env["AWS_EC2_METADATA_DISABLED"] == "true"
    assert "AWS_CONFIG_FILE" not in env
    spark = settings(env)
    assert spark["spark.hadoop.fs.s3a.endpoint"] == "http://127.0.0.1:9000"
    assert spark["spark.hadoop.fs.s3a.aws.credentials.provider"].endswith("IAMInstanceCredentialsProvider")


def test_by_credential_process_where_http_would_be_refused() -> None:
    env = start(LakepassAuthenticator(lakepass_url="http://broker.test"), WELCOME, hub="http://hub:8081")
    assert "AWS_CONTAINER_CREDENTIALS_FULL_URI" not in env
    assert "credential_process = lakepass-credential-process" in Path(env["AWS_CONFIG_FILE"]).read_text()
    assert settings(env)["spark.hadoop.fs.s3a.aws.credentials.provider"].endswith("ProfileCredentialsProvider")
    forced = LakepassAuthenticator(lakepass_url="http://broker.test", credentials="process", aws_config_file="/etc/x")
    assert start(forced, WELCOME)["AWS_CONFIG_FILE"] == "/etc/x"


def test_neither_the_user_s_token_nor_a_key_is_there() -> None:
    text = json.dumps(start(LakepassAuthenticator(lakepass_url="http://broker.test"), WELCOME))
    for secret in ("USERTOKEN", "VERYSECRET", "VERYTOKEN", "AKID"):
        assert secret not in text


def test_an_operator_s_settings_win() -> None:
    authenticator = LakepassAuthenticator(
        lakepass_url="http://broker.test",
        s3_endpoint="https://minio.example.org/",
        s3_region="eu-1",
        spark_settings={"spark.a": "b c", "spark.hadoop.fs.s3a.aws.credentials.provider": "org.example.Mine"},
    )
    env = start(authenticator, WELCOME)
    assert (env["AWS_ENDPOINT_URL_S3"], env["AWS_REGION"]) == ("https://minio.example.org", "eu-1")
    spark = settings(env)
    assert spark["spark.a"] == "b c"
    assert spark["spark.hadoop.fs.s3a.aws.credentials.provider"] == "org.example.Mine"


def test_any_authenticator_can_have_the_lake() -> None:
    env = start(LakepassDummy(lakepass_url="http://broker.test", token_state_key="id_token"), WELCOME)
    assert "AWS_CONTAINER_CREDENTIALS_FULL_URI" in env
    paths = [handler[0] for handler in LakepassDummy().get_handlers(None)]
    assert "/api/lakepass/(.*)" in paths


@pytest.mark.parametrize(
    ("answer", "status", "word"),
    [
        (httpx.Response(403, json={"type": "x", "detail": "the account is disabled"}), 403, "the account is disabled"),
        (httpx.Response(401, json={"type": "x", "detail": "log in"}), 403, "log in"),
        (httpx.Response(503), 503, "try again"),
        (httpx.Response(500), 503, "try again"),
        (httpx.Response(200, text="<html>"), 503, "try again"),
        (httpx.ConnectError, 503, "try again"),
        (httpx.Response(200, json={**SESSION, "username": "bob"}), 403, "another name"),
    ],
)
def test_a_server_that_cannot_have_the_lake_says_why(answer: Any, status: int, word: str) -> None:
    with pytest.raises(web.HTTPError) as caught:
        start(LakepassAuthenticator(lakepass_url="http://broker.test"), answer)
    assert caught.value.status_code == status
    assert word in caught.value.jupyterhub_message  # type: ignore[attr-defined]


def test_without_a_token_a_login_is_asked_for() -> None:
    states: list[dict[str, str] | None] = [None, {}]
    for state in states:
        with pytest.raises(web.HTTPError, match="sign in"):
            start(LakepassAuthenticator(lakepass_url="http://broker.test"), WELCOME, state=state)


def test_a_server_starts_with_the_lake_away_if_its_place_is_known() -> None:
    authenticator = LakepassAuthenticator(lakepass_url="http://broker.test", s3_endpoint="http://minio:9000")
    env = start(authenticator, httpx.ConnectError)
    assert env["AWS_ENDPOINT_URL_S3"] == "http://minio:9000"
    assert settings(env)["spark.hadoop.fs.s3a.path.style.access"] == "true"
