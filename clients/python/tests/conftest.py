"""A real broker for the tests that need one: `lakepass dev`, started once, on free ports."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from lakepass import Lakepass

ROOT = Path(__file__).resolve().parents[3]


@dataclass(frozen=True, repr=False)
class Broker:
    """What the ready file of `lakepass dev` says."""

    url: str
    minio_url: str
    auth_url: str
    bucket: str
    tokens: dict[str, str]
    root_user: str
    root_password: str

    def lake(self, person: str) -> Lakepass:
        return Lakepass(self.url, self.tokens[person])

    def home(self, person: str) -> str:
        return f"s3a://{self.bucket}/users-warehouse/{person}/"


def wait_for(path: Path, process: subprocess.Popen[bytes], log: Path, seconds: float = 60) -> None:
    """Until the file is there; with the log if it never is."""
    end = time.monotonic() + seconds
    while not path.exists():
        if process.poll() is not None or time.monotonic() > end:
            pytest.fail(f"no {path.name}; its log ends:\n{log.read_text()[-2000:]}")
        time.sleep(0.05)


@pytest.fixture(scope="session")
def lakepass_bin() -> Path:
    binary = Path(os.environ.get("LAKEPASS_BIN") or ROOT / "target/release/lakepass").resolve()
    if not binary.exists():
        pytest.fail(f"{binary} is not there: build it with `cargo build --release`, or set LAKEPASS_BIN")
    return binary


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory, lakepass_bin: Path) -> Iterator[Broker]:
    folder = tmp_path_factory.mktemp("broker")
    ready, log = folder / "ready.json", folder / "log"
    command = [str(lakepass_bin), "dev", "--dir", str(folder / "dev"), "--ready-file", str(ready)]
    for listen in ("--listen", "--minio-listen", "--console-listen"):
        command += [listen, "127.0.0.1:0"]
    with log.open("wb") as output:
        # Its tools (MinIO) are where the repository has them.
        process = subprocess.Popen(command, cwd=ROOT, stdout=output, stderr=output)
    try:
        wait_for(ready, process, log)
        said = json.loads(ready.read_text())
        yield Broker(
            url=said["url"],
            minio_url=said["minio_url"],
            auth_url=said["auth_url"],
            bucket=said["bucket"],
            tokens=said["tokens"],
            root_user=said["minio_root_user"],
            root_password=said["minio_root_password"],
        )
    finally:
        process.terminate()
        process.wait(20)


@pytest.fixture
def token_file(broker: Broker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """alice's. The environment leads every AWS SDK to it, and to nothing else."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    file = tmp_path / "token"
    file.write_text(broker.tokens["alice"])
    settings = {
        "AWS_WEB_IDENTITY_TOKEN_FILE": str(file),
        "AWS_ROLE_ARN": "arn:lakepass:iam:::role/granted",
        "AWS_ENDPOINT_URL_STS": broker.url,
        "AWS_ENDPOINT_URL_S3": broker.minio_url,
        # Version 1 of the command line knows the second name only.
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        "HOME": str(tmp_path),
    }
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    return file
