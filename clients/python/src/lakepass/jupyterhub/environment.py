"""The environment of a user's server: where the lake is, and how its keys are found. Pure; holds no key to the lake."""

from __future__ import annotations

import ipaddress
import shlex
from collections.abc import Mapping
from typing import Literal
from urllib.parse import urlsplit

from ..storage import CONTAINER_URI, CREDENTIAL_PROCESS, IN_ENVIRONMENT_PROVIDER, PROFILE_PROVIDER

Way = Literal["container", "process"]
"""How AWS SDKs find keys: by container credentials, or by a `credential_process`."""

CONTAINER_PATH = "aws/container-credentials"

_ENDPOINT = "spark.hadoop.fs.s3a.endpoint"


def way_for(url: str) -> Way:
    """SDKs refuse container credentials over plain http from any host but this one."""
    parts = urlsplit(url)
    return "container" if parts.scheme == "https" or _is_loopback(parts.hostname or "") else "process"


def environment(
    *, api_url: str, api_token: str, way: Way, region: str, aws_config_file: str, spark: Mapping[str, str]
) -> dict[str, str]:
    """`api_url` is the Hub's Lakepass address as the server sees it; `spark` holds the endpoint, and no key."""
    env = {
        "LAKEPASS_URL": api_url,
        "LAKEPASS_TOKEN": api_token,
        "AWS_ENDPOINT_URL_S3": spark[_ENDPOINT],
        "AWS_REGION": region,
        "AWS_DEFAULT_REGION": region,
        # Where ours fail, no SDK may go on to ask the machine for its own keys.
        "AWS_EC2_METADATA_DISABLED": "true",
        "PYSPARK_SUBMIT_ARGS": submit_arguments({**spark, **provider(way, spark)}),
    }
    if way == "container":
        env[CONTAINER_URI] = f"{api_url}/{CONTAINER_PATH}"
        env["AWS_CONTAINER_AUTHORIZATION_TOKEN"] = f"Bearer {api_token}"
    else:
        env["AWS_CONFIG_FILE"] = aws_config_file
        env[CREDENTIAL_PROCESS] = "1"
    return env


def provider(way: Way, spark: Mapping[str, str]) -> dict[str, str]:
    """How S3A finds its keys, unless the settings name a provider of their own."""
    name = "spark.hadoop.fs.s3a.aws.credentials.provider"
    return {name: spark.get(name) or (IN_ENVIRONMENT_PROVIDER if way == "container" else PROFILE_PROVIDER)}


def submit_arguments(settings: Mapping[str, str]) -> str:
    """For `PYSPARK_SUBMIT_ARGS`, which pyspark splits as a shell would."""
    words = [word for name, value in sorted(settings.items()) for word in ("--conf", f"{name}={value}")]
    return shlex.join([*words, "pyspark-shell"])


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
