"""JupyterHub's own OIDC sign-in, with the lake in its notebooks by the mixin: a real Hub, broker and MinIO."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from lakepass import Lakepass

from .conftest import Broker
from .oidc_provider import AUDIENCE, OidcProvider
from .stack import Stack, stack
from .test_hub import Visitor, can_read, container, eventually, refreshed, server_environment

pytestmark = pytest.mark.hub


@pytest.fixture(scope="module")
def provider() -> Iterator[OidcProvider]:
    running = OidcProvider("bob", ["BERDL_USER"])
    yield running
    running.close()


@pytest.fixture(scope="module")
def hub(
    broker: Broker, lakepass_bin: Path, provider: OidcProvider, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    issuers = json.dumps([{"issuer": provider.url, "audience": AUDIENCE}])
    with stack(
        broker,
        lakepass_bin,
        tmp_path_factory.mktemp("oidc"),
        config="hub_oidc_config.py",
        serve_env={"LAKEPASS_JWT_ISSUERS": issuers},
        hub_env={"OIDC_ISSUER": provider.url},
    ) as running:
        yield running


def test_a_notebook_of_an_oidc_user_has_the_lake(broker: Broker, hub: Stack, provider: OidcProvider) -> None:
    bob = Visitor(hub)
    bob.client.follow_redirects = True
    assert bob.client.get("/hub/oauth_login").status_code == 200
    bob.client.follow_redirects = False
    assert bob.is_in()
    assert bob.api("POST", "/users/bob/server").status_code in (201, 202)
    eventually(lambda: bob.api("GET", "/users/bob").json()["servers"].get("", {}).get("ready"))
    env = server_environment(hub, "bob")
    assert can_read(broker, container(env).json())
    with Lakepass.from_env(env) as lake:
        assert lake.me().username == "bob"
    assert not any(token in json.dumps(env) for token in provider.issued)
    # The provider ends the token, the Hub renews it, and the server that runs goes on with the new one.
    before = len(provider.issued)
    provider.revoked.update(provider.issued)
    refreshed(bob)
    assert len(provider.issued) > before
    assert can_read(broker, container(env).json())
