"""Everything that a Hub with a lake is made of, on this machine: MinIO, KBase's auth, the broker, proxy, Hub.

The broker that the Hub uses is `lakepass serve` on the MinIO of `lakepass dev`, asking the same breakable KBase as the
Hub does: so a token's end is seen through the whole chain.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import httpx

from .conftest import Broker
from .kbase_front import KbaseFront

HERE = Path(__file__).resolve().parent
NODE_BIN = HERE.parent / "test/node_modules/.bin"


@dataclass(frozen=True, repr=False)
class Stack:
    """Where everything is. `folder` has the Hub's database, its log, and the homes of its users."""

    hub_url: str
    hub_api_url: str
    broker_url: str
    kbase: KbaseFront
    folder: Path

    @property
    def log(self) -> Path:
        return self.folder / "hub.log"

    def home(self, person: str) -> Path:
        home = self.folder / "homes" / person
        home.mkdir(parents=True, exist_ok=True)
        return home


@contextmanager
def stack(
    broker: Broker,
    lakepass_bin: Path,
    folder: Path,
    *,
    config: str = "hub_config.py",
    serve_env: Mapping[str, str] = MappingProxyType({}),
    hub_env: Mapping[str, str] = MappingProxyType({}),
) -> Iterator[Stack]:
    """Starts the broker and the Hub, and waits until they answer. `config` is beside this file."""
    kbase = KbaseFront(broker.auth_url, broker.tokens)
    serve_port, hub_port, api_port, proxy_port = (free_port() for _ in range(4))
    broker_url, hub_url = f"http://127.0.0.1:{serve_port}", f"http://127.0.0.1:{hub_port}"
    hub_api_url = f"http://127.0.0.1:{api_port}/hub/api"
    serve_env = {
        **serve_env,
        "LAKEPASS_LISTEN": f"127.0.0.1:{serve_port}",
        "LAKEPASS_MINIO_URL": broker.minio_url,
        "LAKEPASS_MINIO_ROOT_USER": broker.root_user,
        "LAKEPASS_MINIO_ROOT_PASSWORD": broker.root_password,
        "LAKEPASS_KBASE_AUTH_URL": kbase.url,
        "LAKEPASS_REQUIRED_ROLES": "BERDL_USER",
        "LAKEPASS_ADMIN_ROLES": "KBASE_ADMIN",
    }
    hub_env = {
        **hub_env,
        "PATH": f"{Path(sys.executable).parent}:{NODE_BIN}:{os.environ['PATH']}",
        "HOME": str(folder),
        "JUPYTERHUB_CRYPT_KEY": secrets.token_hex(32),
        "LAKEPASS_URL": broker_url,
        "KBASE_AUTH_URL": kbase.url,
        "KBASE_LOGIN_URL": "https://kbase.example.org/login",
        "HUB_HOMES": str(folder / "homes"),
        "HUB_BIND_URL": hub_url,
        "HUB_INTERNAL_URL": f"http://127.0.0.1:{api_port}",
        "HUB_PROXY_API_URL": f"http://127.0.0.1:{proxy_port}",
        "SPARK_SETTINGS": os.environ.get("SPARK_SETTINGS", "{}"),
    }
    processes = []
    try:
        processes.append(start([str(lakepass_bin), "serve"], serve_env, folder, "serve.log"))
        command = [sys.executable, "-m", "jupyterhub", "-f", str(HERE / config)]
        processes.append(start(command, hub_env, folder, "hub.log"))
        for url in (broker_url + "/readyz", hub_url + "/hub/health"):
            wait_until_ok(url, folder)
        yield Stack(hub_url, hub_api_url, broker_url, kbase, folder)
    finally:
        # The Hub ends its proxy and its users' servers.
        for process in reversed(processes):
            process.terminate()
        for process in processes:
            process.wait(30)
        kbase.close()


def start(command: list[str], env: dict[str, str], folder: Path, log: str) -> subprocess.Popen[bytes]:
    """With an environment of its own, so that nothing of this machine's gets into it."""
    with (folder / log).open("wb") as output:
        return subprocess.Popen(command, env=env, cwd=folder, stdout=output, stderr=output)


def wait_until_ok(url: str, folder: Path, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if httpx.get(url, timeout=2).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    logs = "\n".join(f"== {log.name}\n{log.read_text()[-2000:]}" for log in folder.glob("*.log"))
    raise AssertionError(f"{url} did not come up\n{logs}")


def free_port() -> int:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        port: int = held.getsockname()[1]
        return port


def as_json(stack: Stack, broker: Broker) -> str:
    """For the browser's tests, which are another program."""
    return json.dumps(
        {
            "hub_url": stack.hub_url,
            "hub_api_url": stack.hub_api_url,
            "kbase_control_url": stack.kbase.url + "/control",
            "alice_home": str(stack.home("alice")),
            "bucket": broker.bucket,
        }
    )
