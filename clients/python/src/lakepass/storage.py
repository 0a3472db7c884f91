"""Options for other libraries, so that they find the lake and its keys. Imports none of them."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any
from urllib.parse import urlsplit

from . import _time
from ._errors import ConfigurationError
from ._models import Session
from ._options import Options

CONTAINER_URI = "AWS_CONTAINER_CREDENTIALS_FULL_URI"
CREDENTIAL_PROCESS = "LAKEPASS_CREDENTIAL_PROCESS"
"""Set where `AWS_CONFIG_FILE` names a file with our `credential_process`."""

IN_ENVIRONMENT_PROVIDER = "org.apache.hadoop.fs.s3a.auth.IAMInstanceCredentialsProvider"
"""S3A's name for container credentials (hadoop-aws 3.3 and 3.4)."""

PROFILE_PROVIDER = "software.amazon.awssdk.auth.credentials.ProfileCredentialsProvider"
"""S3A's name for `credential_process` (hadoop-aws 3.4)."""


@dataclass(frozen=True, repr=False)
class ContainerKeys:
    """Session keys as the container-credentials protocol gives them. The secret parts are in no `repr`."""

    access_key_id: str
    secret_access_key: str
    session_token: str
    expiration: datetime

    @classmethod
    def read(cls, body: Mapping[str, Any]) -> ContainerKeys:
        end = _time.parse(body["Expiration"])
        return cls(body["AccessKeyId"], body["SecretAccessKey"], body["Token"], end)

    def __repr__(self) -> str:
        return f"ContainerKeys({self.access_key_id}, until {self.expiration.isoformat()}, secrets [redacted])"


Renew = Callable[[], Session | ContainerKeys]
"""Gives keys that are good for a while: for libraries that ask for them."""

_RENEW_BEFORE = 300
"""Seconds before their end that keys are not handed out any more."""


class Storage:
    """Where the lake is, and the keys to it: in the options, or found and renewed by each library itself."""

    def __init__(self, endpoint: str, region: str, session: Session | None, renew: Renew | None, provider: str) -> None:
        self.endpoint = endpoint
        self.region = region
        self._session = session
        self._renew = renew
        self._asked: Session | ContainerKeys | None = None
        self._spark_provider = provider

    @classmethod
    def of_session(cls, session: Session, renew: Renew | None = None) -> Storage:
        """With the session's keys. `renew` gives the next session, for those libraries that can ask."""
        return cls(session.endpoint, "us-east-1", session, renew, IN_ENVIRONMENT_PROVIDER)

    @classmethod
    def from_environment(cls, environ: Mapping[str, str], endpoint: Callable[[], str], renew: Renew) -> Storage:
        """Without keys. `endpoint` is asked if the environment does not say where MinIO is."""
        if not in_environment(environ):
            raise ConfigurationError(f"no keys in the environment: {CONTAINER_URI} is not set")
        if environ.get("AWS_ACCESS_KEY_ID"):
            warnings.warn("AWS_ACCESS_KEY_ID is set, and every library prefers it: unset it", stacklevel=3)
        region = environ.get("AWS_REGION") or environ.get("AWS_DEFAULT_REGION") or "us-east-1"
        found = environ.get("AWS_ENDPOINT_URL_S3") or environ.get("AWS_ENDPOINT_URL") or endpoint()
        provider = IN_ENVIRONMENT_PROVIDER if environ.get(CONTAINER_URI) else PROFILE_PROVIDER
        return cls(found, region, None, renew, provider)

    @property
    def refreshes(self) -> bool:
        """Whether the libraries find and renew the keys by themselves, so that there is none in the options."""
        return self._session is None

    def __repr__(self) -> str:
        keys = "found in the environment" if self._session is None else f"until {self._session.expiration.isoformat()}"
        return f"Storage({self.endpoint!r}, keys {keys})"

    def boto3(self) -> Options:
        """`boto3.client("s3", **lake.storage().boto3())`"""
        names = ("aws_access_key_id", "aws_secret_access_key", "aws_session_token")
        return Options(endpoint_url=self.endpoint, region_name=self.region) | self._keys(*names)

    def s3fs(self) -> Options:
        """`s3fs.S3FileSystem(**lake.storage().s3fs())`, or `storage_options=` of pandas and dask."""
        # In `client_kwargs`, which every s3fs understands.
        options = Options(client_kwargs={"endpoint_url": self.endpoint, "region_name": self.region})
        return options | self._keys("key", "secret", "token")

    def polars(self) -> Options:
        """`polars.scan_parquet(path, **lake.storage().polars())`. It renews its keys, by asking for them here."""
        return Options(storage_options=self._object_store(), credential_provider=self._polars_keys)

    def pyarrow(self) -> Options:
        """`pyarrow.fs.S3FileSystem(**lake.storage().pyarrow())`"""
        parts = urlsplit(self.endpoint)
        options = Options(endpoint_override=parts.netloc, scheme=parts.scheme, region=self.region)
        return options | self._keys("access_key", "secret_key", "session_token")

    def deltalake(self) -> Options:
        """`deltalake.DeltaTable(path, storage_options=lake.storage().deltalake())`. The path begins with `s3://`."""
        options = self._object_store()
        if self._session is None:
            # At an endpoint of one's own, it would not look for keys.
            options["aws_force_credential_load"] = "true"
        return options | self._keys("aws_access_key_id", "aws_secret_access_key", "aws_session_token")

    def pyiceberg(self) -> Options:
        """Properties of a catalog: `load_catalog("lake", **properties, **lake.storage().pyiceberg())`"""
        options = Options({"s3.endpoint": self.endpoint, "s3.region": self.region})
        return options | self._keys("s3.access-key-id", "s3.secret-access-key", "s3.session-token")

    def spark(self) -> dict[str, str]:
        """Settings for Spark that find their keys in the environment. A session has `spark_settings` of its own."""
        if self._session is not None:
            raise ConfigurationError("these keys are a session's: use its `spark_settings`")
        return spark_settings(self.endpoint, self._spark_provider)

    def _object_store(self) -> Options:
        options = Options(aws_endpoint_url=self.endpoint, aws_region=self.region)
        if urlsplit(self.endpoint).scheme == "http":
            options["aws_allow_http"] = "true"
        return options

    def _keys(self, key: str, secret: str, token: str) -> Options:
        session = self._session
        if session is None:
            return Options()
        return Options({key: session.access_key_id, secret: session.secret_access_key, token: session.session_token})

    def _polars_keys(self) -> tuple[dict[str, str], int]:
        """What polars calls a credential provider: keys, and when they end in seconds since the epoch."""
        keys: Session | ContainerKeys | None = self._asked or self._session
        if self._renew is not None and (keys is None or _seconds_left(keys) < _RENEW_BEFORE):
            keys = self._asked = self._renew()
        if keys is None:
            raise ConfigurationError("there is nobody to ask for keys")
        named = {
            "aws_access_key_id": keys.access_key_id,
            "aws_secret_access_key": keys.secret_access_key,
            "aws_session_token": keys.session_token,
        }
        return named, int(keys.expiration.timestamp())


def _seconds_left(keys: Session | ContainerKeys) -> float:
    return (keys.expiration - datetime.now(timezone.utc)).total_seconds()


def in_environment(environ: Mapping[str, str]) -> bool:
    """Whether AWS SDKs find keys to the lake by themselves here."""
    return bool(environ.get(CONTAINER_URI) or environ.get(CREDENTIAL_PROCESS))


def spark_settings(endpoint: str, provider: str) -> dict[str, str]:
    """What S3A needs to know, without keys."""
    ssl = "true" if urlsplit(endpoint).scheme == "https" else "false"
    s3a = {
        "endpoint": endpoint,
        "path.style.access": "true",
        "connection.ssl.enabled": ssl,
        "aws.credentials.provider": provider,
    }
    return {f"spark.hadoop.fs.s3a.{name}": value for name, value in s3a.items()}
