"""The options for other libraries, with those libraries, against a real broker and a real MinIO."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import Broker

pytestmark = pytest.mark.broker

HERE = Path(__file__).resolve().parent
LIBRARIES = ["boto3", "s3fs", "pyarrow", "polars", "deltalake", "pyiceberg"]


def python(library: str) -> str:
    """s3fs pins a botocore that is older than boto3's: it has an environment of its own (test/run makes it)."""
    if library != "s3fs":
        return sys.executable
    if "S3FS_PYTHON" not in os.environ:
        pytest.skip("S3FS_PYTHON is not set: a Python with s3fs and lakepass")
    return os.environ["S3FS_PYTHON"]


def read(broker: Broker, library: str, keys: str, home: Path, **env: str) -> list[str]:
    """Two words: the number of rows, and whether keys were in the options."""
    command = [python(library), str(HERE / "read_lake.py"), library, keys, broker.bucket]
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    settings = {
        "PATH": path,
        "HOME": str(home),
        "LAKEPASS_URL": broker.url,
        "LAKEPASS_TOKEN": broker.tokens["alice"],
        # As the Hub sets them.
        "AWS_REGION": "us-east-1",
        "AWS_ENDPOINT_URL_S3": broker.minio_url,
        "AWS_EC2_METADATA_DISABLED": "true",
        **env,
    }
    ran = subprocess.run(command, env=settings, capture_output=True, text=True, timeout=200)
    assert ran.returncode == 0, ran.stderr[-3000:]
    return ran.stdout.split()


def by_container(broker: Broker) -> dict[str, str]:
    return {
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{broker.url}/aws/container-credentials",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN": broker.tokens["alice"],
    }


def by_process() -> dict[str, str]:
    config = HERE.parent / "src/lakepass/aws-config"
    return {"AWS_CONFIG_FILE": str(config), "LAKEPASS_CREDENTIAL_PROCESS": "1"}


@pytest.mark.parametrize("library", LIBRARIES)
def test_with_keys_of_a_session(broker: Broker, library: str, tmp_path: Path) -> None:
    rows, keys = read(broker, library, "session", tmp_path)
    # polars asks for its keys, so that it can ask again.
    assert (rows, keys) == ("2", "no-keys" if library == "polars" else "keys")


@pytest.mark.parametrize("library", LIBRARIES)
def test_by_container_credentials_without_a_key(broker: Broker, library: str, tmp_path: Path) -> None:
    assert read(broker, library, "auto", tmp_path, **by_container(broker)) == ["2", "no-keys"]


@pytest.mark.parametrize("library", LIBRARIES)
def test_by_credential_process_without_a_key(broker: Broker, library: str, tmp_path: Path) -> None:
    assert read(broker, library, "auto", tmp_path, **by_process()) == ["2", "no-keys"]


def test_spark_by_credential_process(broker: Broker, tmp_path: Path) -> None:
    """By container credentials it is shown in the Hub's notebook."""
    jars = os.environ.get("S3A_JARS")
    if not jars:
        pytest.skip("S3A_JARS is not set: a folder with hadoop-aws and its bundle")
    submit = f"--conf spark.driver.extraClassPath={jars}/* pyspark-shell"
    rows = read(broker, "spark", "auto", tmp_path, **by_process(), PYSPARK_SUBMIT_ARGS=submit)
    assert rows == ["2", "no-keys"]
