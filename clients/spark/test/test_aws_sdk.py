"""AWS's SDK for Java gets its keys by itself: a web-identity token file, and the broker as STS."""

import os
import pathlib
import subprocess


def run(lake, token_file):
    program = pathlib.Path(__file__).parent / "AwsSdk.java"
    own, others = "users-warehouse/alice/by-java", "users-warehouse/bob/by-java"
    environment = {
        "PATH": os.environ["PATH"],
        "AWS_WEB_IDENTITY_TOKEN_FILE": str(token_file),
        "AWS_ROLE_ARN": "arn:lakepass:iam:::role/granted",
        "AWS_ENDPOINT_URL_STS": lake.url,
        "AWS_ENDPOINT_URL_S3": lake.minio_url,
        "AWS_REGION": "us-east-1",
    }
    command = ["java", "-cp", os.environ["LAKEPASS_TEST_AWS_SDK"], program, lake.bucket, own, others]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)


def test_with_the_token_in_a_file(lake):
    said = run(lake, lake.token_file("alice"))
    assert said.stdout.split() == ["arn:lakepass:sts:::assumed-role/lakepass/alice", "hello", "AccessDenied"], said.stderr


def test_what_a_bad_token_leads_to(lake, tmp_path):
    file = tmp_path / "token"
    file.write_text("BADTOKENTHATMUSTNOTSHOW")
    said = run(lake, file)
    assert said.returncode != 0
    assert "the token is not valid, or has expired: log in again for a new one" in said.stderr
    assert "MUSTNOTSHOW" not in said.stderr
