"""The client against a real broker and a real MinIO."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError

import lakepass
from lakepass import Lakepass, Session

from .conftest import Broker

pytestmark = pytest.mark.broker


@pytest.fixture(scope="module")
def alice(broker: Broker) -> Iterator[Lakepass]:
    with broker.lake("alice") as lake:
        yield lake


@pytest.fixture(scope="module")
def bob(broker: Broker) -> Iterator[Lakepass]:
    with broker.lake("bob") as lake:
        yield lake


def s3(session: Session) -> Any:
    return boto3.client("s3", **lakepass.Storage.of_session(session).boto3())


def put(broker: Broker, alice: Lakepass, key: str) -> None:
    s3(alice.session()).put_object(Bucket=broker.bucket, Key=f"users-warehouse/alice/{key}", Body=b"x")


def reads(broker: Broker, session: Session, key: str) -> bool:
    try:
        s3(session).get_object(Bucket=broker.bucket, Key=f"users-warehouse/alice/{key}")
    except ClientError as error:
        if error.response["Error"]["Code"] != "AccessDenied":
            raise
        return False
    return True


def test_who_i_am(broker: Broker, alice: Lakepass) -> None:
    me = alice.me()
    assert me.username == "alice"
    assert me.home == (broker.home("alice"),)
    assert [(group.name, group.role) for group in alice.groups()] == [("KBase", "writer")]
    assert broker.home("alice") in [reach.path for reach in me.access]


def test_a_share_in_one_line_reaches_the_group_and_ends(broker: Broker, alice: Lakepass, bob: Lakepass) -> None:
    put(broker, alice, "run7/a.csv")
    session = bob.session(scope="lake")
    assert not reads(broker, session, "run7/a.csv")
    result = alice.share("s3a://cdm-lake/users-warehouse/alice/run7/", with_group="KBase")
    assert result.ok
    assert [(line.kind, line.grantee) for line in result.results] == [("group", "KBase")]
    # At once, with keys that were out before.
    assert reads(broker, session, "run7/a.csv")
    with pytest.raises(ClientError, match="AccessDenied"):
        s3(session).put_object(Bucket=broker.bucket, Key="users-warehouse/alice/run7/b.csv", Body=b"x")
    report = alice.access(broker.home("alice") + "run7/")
    assert report.owner == "user alice"
    assert "KBase" in [line.name for line in report.groups]
    assert alice.unshare(broker.home("alice") + "run7/", from_group="KBase").ok
    assert not reads(broker, session, "run7/a.csv")


def test_a_share_to_write_until_a_time(broker: Broker, alice: Lakepass, bob: Lakepass) -> None:
    end = datetime.now(timezone.utc) + timedelta(hours=2)
    path = broker.home("alice") + "run8/"
    alice.share(path, with_user="bob", access="write", until=end)
    received = [grant for grant in bob.me().grants_received if grant.path == path]
    assert [(grant.access, grant.given_by) for grant in received] == [("write", "alice")]
    assert received[0].expires_at is not None
    assert abs(received[0].expires_at - end) < timedelta(seconds=1)
    s3(bob.session()).put_object(Bucket=broker.bucket, Key="users-warehouse/alice/run8/b.csv", Body=b"x")
    given = [grant for grant in alice.me().grants_given if grant.path == path]
    assert [(grant.kind, grant.grantee) for grant in given] == [("user", "bob")]
    alice.unshare(path, from_user="bob")


def test_those_who_do_not_exist_are_named(broker: Broker, alice: Lakepass) -> None:
    path = broker.home("alice") + "run9/"
    with pytest.raises(lakepass.ShareFailed) as caught:
        alice.share(path, with_user=["bob", "nobody_at_all"])
    assert [line.grantee for line in caught.value.result.failed] == ["nobody_at_all"]
    assert path in [grant.path for grant in alice.me().grants_given]
    alice.unshare(path, from_user="bob")


def test_unsharing_says_what_is_still_open(broker: Broker, alice: Lakepass) -> None:
    home = broker.home("alice")
    alice.share(home + "run10/", with_user="bob")
    alice.share(home + "run10/deep/", with_user="bob")
    with pytest.raises(lakepass.ShareFailed, match="deep"):
        alice.unshare(home + "run10/", from_user="bob")
    alice.unshare(home + "run10/deep/", from_user="bob")


def test_refusals_carry_the_problem(broker: Broker, alice: Lakepass, bob: Lakepass) -> None:
    with pytest.raises(lakepass.Forbidden) as caught:
        bob.share(broker.home("alice"), with_user="carol")
    assert caught.value.problem.type == "urn:lakepass:problem:forbidden"
    assert caught.value.problem.request_id
    with pytest.raises(lakepass.InvalidRequest):
        alice.share("s3a://cdm-lake/users-warehouse/alice/../bob/", with_user="carol")
    with pytest.raises(lakepass.InvalidRequest):
        alice.share(broker.home("alice"), with_user="bob", until="2020-01-01T00:00:00Z")
    with pytest.raises(lakepass.Forbidden) as caught:
        alice.session(scope=[broker.home("bob")])
    assert caught.value.problem.type.endswith("scope-exceeds-grants")
    with pytest.raises(lakepass.Unauthenticated):
        Lakepass(broker.url, "NOTATOKEN").me()


def test_an_administrator_shares_for_somebody(broker: Broker, bob: Lakepass) -> None:
    path = broker.home("alice") + "run11/"
    with broker.lake("dana") as dana:
        dana.share(path, with_user="bob", owner="alice")
        assert path in [grant.path for grant in bob.me().grants_received]
        dana.unshare(path, from_user="bob", owner="alice")


def test_a_session_is_as_narrow_as_was_asked(broker: Broker, alice: Lakepass) -> None:
    put(broker, alice, "narrow/in.csv")
    put(broker, alice, "wide/out.csv")
    session = alice.session(scope={broker.home("alice") + "narrow/": "read"}, duration=timedelta(minutes=15))
    assert reads(broker, session, "narrow/in.csv")
    assert not reads(broker, session, "wide/out.csv")
    assert 890 < session.seconds_left() <= 901


def test_sessions_are_listed_and_revoked(broker: Broker) -> None:
    with broker.lake("carol") as carol:
        session = carol.session()
        listing = s3(session).list_objects_v2(Bucket=broker.bucket, Prefix="users-warehouse/carol/")
        assert listing["KeyCount"] >= 1
        assert session.access_key_id in [line.access_key_id for line in carol.sessions()]
        carol.revoke_sessions()
        with pytest.raises(ClientError):
            s3(session).list_objects_v2(Bucket=broker.bucket, Prefix="users-warehouse/carol/")


def test_a_token_file_may_change_under_way(broker: Broker, tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text(broker.tokens["alice"] + "\n")
    environ = {"LAKEPASS_URL": broker.url, "LAKEPASS_TOKEN_FILE": str(path)}
    with Lakepass.from_env(environ) as lake:
        assert lake.me().username == "alice"
        path.write_text(broker.tokens["bob"])
        assert lake.me().username == "bob"
        assert lake.session().username == "bob"


def test_container_keys_are_keys(broker: Broker, alice: Lakepass) -> None:
    keys = alice.container_keys(scope="lake")
    assert keys.expiration > datetime.now(timezone.utc) + timedelta(minutes=50)
    narrow = alice.container_keys(scope=[broker.home("alice")], duration=timedelta(minutes=15))
    assert narrow.access_key_id != keys.access_key_id
    with pytest.raises(lakepass.Unauthenticated):
        Lakepass(broker.url, "NOTATOKEN").container_keys()


def test_credential_process_prints_keys_that_work(broker: Broker) -> None:
    command = [sys.executable, "-m", "lakepass.credential_process"]
    environ = {"LAKEPASS_URL": broker.url, "LAKEPASS_TOKEN": broker.tokens["alice"]}
    said = subprocess.run(command, env=environ, capture_output=True, text=True, check=True)
    keys = json.loads(said.stdout)
    assert (keys["Version"], said.stderr) == (1, "")
    client = boto3.client(
        "s3",
        endpoint_url=broker.minio_url,
        region_name="us-east-1",
        aws_access_key_id=keys["AccessKeyId"],
        aws_secret_access_key=keys["SecretAccessKey"],
        aws_session_token=keys["SessionToken"],
    )
    client.get_object(Bucket=broker.bucket, Key="users-warehouse/alice/genomes.csv")
    refused = subprocess.run(command, env={**environ, "LAKEPASS_TOKEN": "NOTATOKEN"}, capture_output=True, text=True)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "token" in refused.stderr
    assert "NOTATOKEN" not in refused.stderr
