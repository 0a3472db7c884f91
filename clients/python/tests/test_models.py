"""What notebooks show: everything useful, nothing secret, no markup from anybody's names."""

from __future__ import annotations

from typing import Any

import pytest

from lakepass import AccessReport, Me, Session, ShareResult
from lakepass.storage import CONTAINER_URI, CREDENTIAL_PROCESS, ContainerKeys, Storage, in_environment

SESSION: dict[str, Any] = {
    "access_key_id": "AKID",
    "secret_access_key": "VERYSECRET",
    "session_token": "VERYTOKEN",
    "expiration": "2027-01-31T12:00:00Z",
    "username": "alice",
    "session_policy": {"exact": True, "bytes": 551},
    "spark": {
        "spark.hadoop.fs.s3a.endpoint": "http://127.0.0.1:9000",
        "spark.hadoop.fs.s3a.secret.key": "VERYSECRET",
        "spark.hadoop.fs.s3a.session.token": "VERYTOKEN",
    },
    "something_new": 1,
}


def no_keys() -> Session:
    pytest.fail("it was asked")


EVIL = "<script>alert(1)</script>"


def test_session_keys_are_redacted() -> None:
    session = Session.read(SESSION)
    keys = ContainerKeys.read(
        {
            "AccessKeyId": "AKID",
            "SecretAccessKey": "VERYSECRET",
            "Token": "VERYTOKEN",
            "Expiration": "2027-01-31T12:00:00Z",
        }
    )
    storage = Storage.of_session(session)
    options = [storage.boto3(), storage.s3fs(), storage.pyarrow(), storage.deltalake(), storage.pyiceberg()]
    shown = [repr(session), str(session), f"{session}", session._repr_html_(), repr(keys), repr(storage)]
    shown += [str(session.spark_settings), repr(session.spark_settings)]
    shown += [repr(option) for option in options] + [str(storage.polars())]
    for text in shown:
        assert "VERYSECRET" not in text
        assert "VERYTOKEN" not in text
    assert "AKID" in repr(session)
    # They are in there all the same.
    for option in options:
        assert "VERYSECRET" in option.values()
        assert "VERYTOKEN" in option.values()


def test_html_is_escaped() -> None:
    grant = {"path": EVIL, "access": "read", "given_by": EVIL, "given_at": "2027-01-31T12:00:00Z"}
    me = Me.read(
        {
            "username": EVIL,
            "disabled": True,
            "home": [EVIL],
            "groups": [{"group": EVIL, "role": EVIL}],
            "access": [{"path": EVIL, "access": "read", "because": EVIL, "expires_at": "2027-01-31T12:00:00.123Z"}],
            "grants_received": [grant],
            "grants_given": [{**grant, "grantee": EVIL, "kind": "user"}],
            "lake_keys": [],
            "policies": [],
        }
    )
    line = {"name": EVIL, "path": EVIL, "access": "read", "because": EVIL}
    report = AccessReport.read(
        {"path": EVIL, "owner": {"kind": "user", "name": EVIL}, "users": [line], "groups": [line]}
    )
    result = ShareResult.read(
        {"path": EVIL, "results": [{"grantee": EVIL, "kind": "user", "ok": False, "error": EVIL}]}
    )
    session = Session.read({**SESSION, "username": EVIL})
    for shown in (me, me.groups, report, result, session):
        html = shown._repr_html_()
        assert "<script" not in html
        assert "&lt;script&gt;" in html
    assert "2027-01-31 12:00:00 UTC" in me._repr_html_()


def test_the_environment_s_keys_are_in_no_options() -> None:
    environ = {CONTAINER_URI: "http://127.0.0.1:1/x", "AWS_ENDPOINT_URL_S3": "https://minio.test", "AWS_REGION": "eu"}
    storage = Storage.from_environment(environ, lambda: pytest.fail("it was asked"), no_keys)
    assert storage.refreshes
    assert storage.boto3() == {"endpoint_url": "https://minio.test", "region_name": "eu"}
    assert storage.pyarrow() == {"endpoint_override": "minio.test", "scheme": "https", "region": "eu"}
    assert storage.polars()["storage_options"] == {"aws_endpoint_url": "https://minio.test", "aws_region": "eu"}
    spark = storage.spark()
    assert spark["spark.hadoop.fs.s3a.connection.ssl.enabled"] == "true"
    assert spark["spark.hadoop.fs.s3a.aws.credentials.provider"].endswith("IAMInstanceCredentialsProvider")
    process = {CREDENTIAL_PROCESS: "1", "AWS_ENDPOINT_URL_S3": "https://minio.test"}
    provider = Storage.from_environment(process, str, no_keys).spark()["spark.hadoop.fs.s3a.aws.credentials.provider"]
    assert provider.endswith("ProfileCredentialsProvider")


def test_a_static_key_in_the_environment_is_warned_of() -> None:
    environ = {CONTAINER_URI: "http://127.0.0.1:1/x", "AWS_ACCESS_KEY_ID": "x", "AWS_ENDPOINT_URL_S3": "http://m"}
    with pytest.warns(UserWarning, match="unset it"):
        Storage.from_environment(environ, str, no_keys)
    assert not in_environment({"AWS_ACCESS_KEY_ID": "x"})


def test_polars_renews_a_session_that_ends_soon() -> None:
    old = Session.read({**SESSION, "expiration": "2020-01-01T00:00:00Z"})
    new = Session.read({**SESSION, "access_key_id": "NEXT"})
    provider = Storage.of_session(old, lambda: new).polars()["credential_provider"]
    keys, until = provider()
    assert keys["aws_access_key_id"] == "NEXT"
    assert until == int(new.expiration.timestamp())
