"""The client: the broker's use cases as methods."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal, TypeAlias
from urllib.parse import quote

import httpx

from . import _http, _time, _token
from ._errors import ConfigurationError, Problem, ShareFailed, refused
from ._models import Access, AccessReport, Groups, Me, Session, SessionInfo, ShareResult
from ._token import Token, TokenSource
from .storage import ContainerKeys, Storage, in_environment

Scope: TypeAlias = Literal["granted", "lake"] | Mapping[str, Access] | Iterable[str]
"""What a session is for.

- `"granted"`: what the user has at this moment.
- `"lake"`: whatever the user has while it lasts, so that a new share reaches a running job.
- paths (to read), or a mapping of paths to `"read"` or `"write"`: these and no more.
"""

Names: TypeAlias = str | Iterable[str]


class Lakepass:
    """A data lake, by way of its Lakepass broker.

    >>> lake = Lakepass.from_env()
    >>> lake.share("s3a://cdm-lake/users-warehouse/alice/run7/", with_group="KBase")

    Every method raises a `LakepassError` that carries the problem. May be used from several threads; closes with
    `with`, or by `close()`.
    """

    def __init__(
        self,
        url: str,
        token: str | Token | TokenSource | Path,
        *,
        timeout: float = 60.0,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """`token` is the token, the path of a file that holds it (read at each use), or a function that gives it.

        `timeout` is in seconds, for each try.
        """
        if isinstance(token, Path):
            token = _token.from_file(token)
        elif isinstance(token, (str, Token)):
            token = _token.from_text(token)
        self._http = _http.Http(_http.base_url(url), token, timeout, transport)
        self._name: tuple[bytes, str] | None = None
        self._endpoint: str | None = None
        self._lock = threading.Lock()

    @classmethod
    def from_env(cls, environ: Mapping[str, str] = os.environ, **options: Any) -> Lakepass:
        """The broker at `LAKEPASS_URL`, with the token in `LAKEPASS_TOKEN`, in the file that `LAKEPASS_TOKEN_FILE`
        names, or in `KBASE_AUTH_TOKEN`.

        In a notebook of a JupyterHub with Lakepass, both are set: the address is the Hub's and the token is the
        server's own, so that no KBase token is there.
        """
        url = environ.get("LAKEPASS_URL")
        if not url:
            raise ConfigurationError("no broker: set LAKEPASS_URL to its address")
        return cls(url, _token.from_environment(environ), **options)

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Lakepass:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Lakepass({str(self._http.base).rstrip('/')!r})"

    # What is mine

    def me(self) -> Me:
        """What the user has: home, groups, everything that they can reach, what they share."""
        me = Me.read(self._http.json("GET", "me"))
        self._name = (self._http.token().digest, me.username)
        return me

    def groups(self) -> Groups:
        """The groups that the user is in, with their role."""
        return self.me().groups

    def access(self, path: str) -> AccessReport:
        """Who can reach a path or something in it, and why. For its owner, stewards of a workspace, administrators."""
        return AccessReport.read(self._http.json("GET", "access", params={"path": path}))

    # Sharing

    def share(
        self,
        path: str,
        *,
        with_group: Names = (),
        with_user: Names = (),
        access: Access = "read",
        until: datetime | timedelta | str | None = None,
        owner: str | None = None,
        check: bool = True,
    ) -> ShareResult:
        """Shares a folder with groups and users, from now on and, if `until` is given, until then.

        `path` is as you use it: `s3a://`, `s3://`, or a key in the lake's bucket. The latest word on a folder counts.
        It holds at once; a session of scope `"lake"` that is under way reaches it too.

        Raises `ShareFailed` if anybody whom you named got nothing: its `result` says who and why, and the others have
        theirs. With `check=False` look at the result's `ok` yourself. `owner` is for administrators: whose it is.
        """
        body: dict[str, Any] = {"path": path, "access": access} | _named("with", with_user, with_group)
        if until is not None:
            body["expires_at"] = _time.until(until)
        return self._change_sharing("share", owner, body, check)

    def unshare(
        self,
        path: str,
        *,
        from_group: Names = (),
        from_user: Names = (),
        owner: str | None = None,
        check: bool = True,
    ) -> ShareResult:
        """Takes back what was shared on exactly this folder; keys that are out stop reaching it at once.

        Raises `ShareFailed` if somebody can reach the folder, or something in it, all the same: the result says how.
        """
        body = {"path": path} | _named("from", from_user, from_group)
        return self._change_sharing("unshare", owner, body, check)

    def _change_sharing(self, verb: str, owner: str | None, body: Mapping[str, Any], check: bool) -> ShareResult:
        name = quote(owner or self._username(), safe="")
        result = ShareResult.read(self._http.json("POST", f"users/{name}/{verb}", body))
        if check and not result.ok:
            raise ShareFailed(result)
        return result

    def _username(self) -> str:
        """Asked once for each token: a file's token may become somebody else's."""
        known, digest = self._name, self._http.token().digest
        if known is not None and known[0] == digest:
            return known[1]
        return self.me().username

    # Keys

    def session(self, scope: Scope | None = None, duration: timedelta | None = None) -> Session:
        """Session keys of the user, for 15 minutes to what the broker allows; they never outlive the token."""
        body: dict[str, Any] = {}
        if scope is not None:
            body["scope"] = _scope(scope)
        if duration is not None:
            body["duration_seconds"] = int(duration.total_seconds())
        return Session.read(self._http.json("POST", "sessions", body))

    def sessions(self) -> tuple[SessionInfo, ...]:
        """The user's sessions that are not over."""
        return tuple(SessionInfo.read(line) for line in self._http.json("GET", "sessions")["sessions"])

    def revoke_sessions(self) -> None:
        """Ends all of the user's sessions at once, wherever they are in use."""
        self._http.json("DELETE", "sessions")

    def container_keys(self, scope: Scope | None = None, duration: timedelta | None = None) -> ContainerKeys:
        """Session keys by the AWS container-credentials protocol: the broker may give the same to several who ask."""
        params: dict[str, str] = {}
        if scope is not None:
            named = _scope(scope)
            params["scope"] = named if isinstance(named, str) else json.dumps(named)
        if duration is not None:
            params["duration_seconds"] = str(int(duration.total_seconds()))
        body = self._http.json("GET", "aws/container-credentials", params=params)
        try:
            return ContainerKeys.read(body)
        except (KeyError, TypeError):
            problem = Problem.of_client("not-a-broker", "the answer holds no keys: is this the broker's address?")
            raise refused(problem, None) from None

    # For other libraries

    def storage(
        self, scope: Scope | None = None, *, keys: Literal["auto", "environment", "session"] = "auto"
    ) -> Storage:
        """Options for s3fs, polars, pyarrow, deltalake, pyiceberg and boto3.

        - `keys="environment"`: the library finds and renews them by itself (container credentials or
          `credential_process`), and there is no key in the options. So it is in a JupyterHub's notebook.
        - `"session"`: keys of a new session, which are in the options and end with it; polars renews them.
        - `"auto"`: the environment's if it has some and no scope is asked for, else a session's.
        """
        if keys == "auto":
            keys = "environment" if scope is None and in_environment(os.environ) else "session"
        if keys == "environment":
            if scope is not None:
                raise ConfigurationError("the environment's keys have their own scope: ask for keys='session'")
            return Storage.from_environment(os.environ, self._lake_endpoint, self.container_keys)

        def renew() -> Session:
            return self.session(scope)

        return Storage.of_session(renew(), renew)

    def spark_settings(self) -> dict[str, str]:
        """Settings for Spark that find their keys in the environment: there is none in them."""
        return self.storage(keys="environment").spark()

    def _lake_endpoint(self) -> str:
        """Where MinIO is: only a session's answer says it. Asked once."""
        with self._lock:
            if self._endpoint is None:
                self._endpoint = self.session(duration=timedelta(seconds=900)).endpoint
            return self._endpoint


def _names(names: Names) -> list[str]:
    return [names] if isinstance(names, str) else list(names)


def _named(preposition: Literal["with", "from"], users: Names, groups: Names) -> dict[str, list[str]]:
    named = {f"{preposition}_users": _names(users), f"{preposition}_groups": _names(groups)}
    if not any(named.values()):
        raise ConfigurationError(f"whom? Give {preposition}_group=… or {preposition}_user=…")
    return named


def _scope(scope: Scope) -> str | list[dict[str, str]]:
    if isinstance(scope, str):
        if scope not in ("granted", "lake"):
            raise ConfigurationError("a scope is 'granted', 'lake', or a list of paths")
        return scope
    if isinstance(scope, Mapping):
        return [{"path": path, "access": access} for path, access in scope.items()]
    return [{"path": path, "access": "read"} for path in scope]
