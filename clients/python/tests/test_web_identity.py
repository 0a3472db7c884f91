"""A web-identity token file and the broker as STS: what AWS's own SDK and command line do with it, by themselves."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore import UNSIGNED
from botocore.client import Config
from botocore.exceptions import ClientError

from .conftest import Broker

pytestmark = pytest.mark.broker

LOG_IN_AGAIN = "the token is not valid, or has expired: log in again for a new one"


def aws(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).parent / "aws"), *arguments]
    return subprocess.run(command, env={**os.environ, **env}, capture_output=True, text=True, timeout=60)


def s3(keys: Any) -> Any:
    return boto3.client(
        "s3",
        aws_access_key_id=keys["AccessKeyId"],
        aws_secret_access_key=keys["SecretAccessKey"],
        aws_session_token=keys["SessionToken"],
    )


def denied(client: Any, bucket: str, key: str) -> bool:
    with pytest.raises(ClientError) as caught:
        client.put_object(Bucket=bucket, Key=key, Body=b"x")
    return bool(caught.value.response["Error"]["Code"] == "AccessDenied")


def test_boto3_by_itself(broker: Broker, token_file: Path) -> None:
    session = boto3.Session()
    client = session.client("s3")
    client.put_object(Bucket=broker.bucket, Key="users-warehouse/alice/by-boto3", Body=b"x")
    assert denied(client, broker.bucket, "users-warehouse/bob/by-boto3")
    assert session.get_credentials().method == "assume-role-with-web-identity"
    me = session.client("sts").get_caller_identity()
    assert (me["Arn"], me["Account"]) == ("arn:lakepass:sts:::assumed-role/lakepass/alice", "000000000000")
    token_file.write_text("NOTATOKEN")
    with pytest.raises(ClientError) as caught:
        boto3.Session().client("s3").list_objects_v2(Bucket=broker.bucket, Prefix="users-warehouse/alice/")
    assert caught.value.response["Error"] == {"Type": "Sender", "Code": "InvalidIdentityToken", "Message": LOG_IN_AGAIN}


def test_boto3_narrows_a_session_by_a_policy(broker: Broker, token_file: Path) -> None:
    sts = boto3.client("sts", config=Config(signature_version=UNSIGNED))

    def assume(policy: str) -> Any:
        return sts.assume_role_with_web_identity(
            RoleArn=os.environ["AWS_ROLE_ARN"],
            RoleSessionName="job",
            WebIdentityToken=token_file.read_text(),
            Policy=policy,
        )

    folder = f"arn:aws:s3:::{broker.bucket}/users-warehouse/alice/narrowed/*"
    statement = {"Effect": "Allow", "Action": ["s3:GetObject", "s3:PutObject"], "Resource": folder}
    answer = assume(json.dumps({"Version": "2012-10-17", "Statement": [statement]}))
    assert answer["SubjectFromWebIdentityToken"] == "alice"
    assert answer["AssumedRoleUser"]["Arn"] == "arn:lakepass:sts:::assumed-role/granted/job"
    narrow = s3(answer["Credentials"])
    narrow.put_object(Bucket=broker.bucket, Key="users-warehouse/alice/narrowed/a", Body=b"x")
    assert denied(narrow, broker.bucket, "users-warehouse/alice/wide")
    statement["Resource"] = f"arn:aws:s3:::{broker.bucket}/*"
    wide = s3(assume(json.dumps({"Version": "2012-10-17", "Statement": [statement]}))["Credentials"])
    wide.put_object(Bucket=broker.bucket, Key="users-warehouse/alice/wide", Body=b"x")
    assert denied(wide, broker.bucket, "users-warehouse/bob/wide")
    with pytest.raises(ClientError, match=r"\(MalformedPolicyDocument\)"):
        assume("{}")


def test_the_command_line_by_itself(broker: Broker, token_file: Path) -> None:
    home = f"s3://{broker.bucket}/users-warehouse/alice/"
    listed = aws("s3", "ls", home)
    assert (listed.returncode, listed.stderr) == (0, "")
    assert "genomes.csv" in listed.stdout
    assert "Escherichia coli" in aws("s3", "cp", home + "genomes.csv", "-").stdout
    me = aws("sts", "get-caller-identity", "--query", "Arn", "--output", "text")
    assert me.stdout.strip() == "arn:lakepass:sts:::assumed-role/lakepass/alice"
    foreign = aws("s3", "ls", f"s3://{broker.bucket}/users-warehouse/bob/")
    assert foreign.returncode != 0
    assert "AccessDenied" in foreign.stderr
    token_file.write_text("NOTATOKEN")
    refused = aws("s3", "ls", home)
    assert (refused.returncode, refused.stdout) == (255, "")
    assert (
        f"(InvalidIdentityToken) when calling the AssumeRoleWithWebIdentity operation: {LOG_IN_AGAIN}" in refused.stderr
    )
    assert "NOTATOKEN" not in refused.stderr


def test_the_command_line_says_whose_keys_these_are(broker: Broker, token_file: Path) -> None:
    with broker.lake("carol") as carol:
        session = carol.session()
        keys = {
            "AWS_ACCESS_KEY_ID": session.access_key_id,
            "AWS_SECRET_ACCESS_KEY": session.secret_access_key,
            "AWS_SESSION_TOKEN": session.session_token,
        }
        said = aws("sts", "get-caller-identity", **keys)
        assert json.loads(said.stdout)["UserId"] == f"{session.access_key_id}:carol"
        carol.revoke_sessions()
    gone = aws("sts", "get-caller-identity", **keys)
    assert gone.returncode != 0
    assert "(InvalidClientTokenId) when calling the GetCallerIdentity operation" in gone.stderr
