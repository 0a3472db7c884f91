"""A broker behind a proxy that speaks TLS, with a certificate of an organisation's own CA: each client trusts it by its
platform's usual setting, and says what is wrong without it.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import boto3
import pytest
from botocore.exceptions import SSLError

import lakepass
from lakepass import Lakepass

from .conftest import Broker
from .tls_front import TlsFront

pytestmark = pytest.mark.broker


@pytest.fixture(scope="module")
def front(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsFront]:
    with TlsFront(broker.url, tmp_path_factory.mktemp("ca")) as front:
        yield front


def test_the_python_client(broker: Broker, front: TlsFront, monkeypatch: pytest.MonkeyPatch) -> None:
    with Lakepass(front.url, broker.tokens["alice"]) as lake, pytest.raises(lakepass.Unreachable) as caught:
        lake.me()
    assert "unable to get local issuer certificate" in caught.value.problem.detail
    assert "SSL_CERT_FILE" in caught.value.problem.detail
    monkeypatch.setenv("SSL_CERT_FILE", str(front.ca_file))
    with Lakepass(front.url, broker.tokens["alice"]) as lake:
        assert lake.me().username == "alice"


def test_lakepass_credentials(broker: Broker, front: TlsFront, lakepass_bin: Path, tmp_path: Path) -> None:
    command = [str(lakepass_bin), "credentials", "--url", front.url, "--cache-file", str(tmp_path / "keys")]
    env = {"LAKEPASS_TOKEN": broker.tokens["alice"]}
    refused = subprocess.run(command, env=env, capture_output=True, text=True)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "invalid peer certificate: UnknownIssuer" in refused.stderr
    trusting = {**env, "SSL_CERT_FILE": str(front.ca_file)}
    said = subprocess.run(command, env=trusting, capture_output=True, text=True, check=True)
    assert json.loads(said.stdout)["Version"] == 1


def test_boto3_by_web_identity(
    broker: Broker, front: TlsFront, token_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", front.url)

    def listed() -> int:
        answer = boto3.Session().client("s3").list_objects_v2(Bucket=broker.bucket, Prefix="users-warehouse/alice/")
        return int(answer["KeyCount"])

    with pytest.raises(SSLError, match="unable to get local issuer certificate"):
        listed()
    monkeypatch.setenv("AWS_CA_BUNDLE", str(front.ca_file))
    assert listed() > 0
