"""What the broker answers, typed. Pure; unknown fields are ignored, so that an older client reads a newer broker."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from typing import Any, Literal, TypeAlias

from . import _html, _time
from ._options import Options

Access: TypeAlias = Literal["read", "write"]
"""Write includes read and delete."""

Kind: TypeAlias = Literal["user", "group"]

JsonObject: TypeAlias = Mapping[str, Any]


@dataclass(frozen=True)
class Group:
    """A group that the user is in. `role` is `reader`, `writer` or `steward`."""

    name: str
    role: str

    @classmethod
    def read(cls, body: JsonObject) -> Group:
        return cls(body["group"], body["role"])


class Groups(tuple[Group, ...]):
    """The groups that the user is in."""

    __slots__ = ()

    def _repr_html_(self) -> str:
        return _html.table(["group", "role"], [(group.name, group.role) for group in self])


@dataclass(frozen=True)
class Reach:
    """A folder that somebody can reach, and why. `expires_at` is `None` if it has no end."""

    path: str
    access: Access
    because: str
    expires_at: datetime | None

    @classmethod
    def read(cls, body: JsonObject) -> Reach:
        return cls(body["path"], body["access"], body["because"], _end(body))


@dataclass(frozen=True)
class Grant:
    """A folder that was shared. `grantee` and `kind` are set on grants that the user gave."""

    path: str
    access: Access
    given_by: str
    given_at: datetime
    expires_at: datetime | None
    grantee: str | None = None
    kind: Kind | None = None

    @classmethod
    def read(cls, body: JsonObject) -> Grant:
        given_at = _time.parse(body["given_at"])
        grantee, kind = body.get("grantee"), body.get("kind")
        return cls(body["path"], body["access"], body["given_by"], given_at, _end(body), grantee, kind)


@dataclass(frozen=True)
class Me:
    """What is the user's: `home` folders, groups, and everything that they can reach. Holds no secret."""

    username: str
    disabled: bool
    home: tuple[str, ...]
    groups: Groups
    access: tuple[Reach, ...]
    grants_received: tuple[Grant, ...]
    grants_given: tuple[Grant, ...]
    lake_keys: tuple[str, ...]
    """The ids of the user's lake keys."""
    policies: tuple[JsonObject, ...] = field(repr=False)
    """The live policies in force, as MinIO has them."""

    @classmethod
    def read(cls, body: JsonObject) -> Me:
        return cls(
            username=body["username"],
            disabled=body["disabled"],
            home=tuple(body["home"]),
            groups=Groups(Group.read(line) for line in body["groups"]),
            access=tuple(Reach.read(line) for line in body["access"]),
            grants_received=tuple(Grant.read(line) for line in body["grants_received"]),
            grants_given=tuple(Grant.read(line) for line in body["grants_given"]),
            lake_keys=tuple(body["lake_keys"]),
            policies=tuple(body["policies"]),
        )

    def _repr_html_(self) -> str:
        reaches = [(r.path, r.access, r.because, r.expires_at) for r in self.access]
        given = [(g.path, g.access, f"{g.kind} {g.grantee}", g.expires_at) for g in self.grants_given]
        state = " (disabled)" if self.disabled else ""
        return _html.section(
            f"{self.username}{state}",
            _html.paragraph("home: " + ", ".join(self.home)),
            _html.paragraph("groups: " + (", ".join(f"{g.name} ({g.role})" for g in self.groups) or "none")),
            _html.section("can reach", _html.table(["path", "access", "because", "until"], reaches)),
            _html.section("shares", _html.table(["path", "access", "with", "until"], given)),
        )


@dataclass(frozen=True)
class AccessLine:
    """A user or a group that can reach a path or something in it, how, and why."""

    kind: Kind
    name: str
    reach: Reach


@dataclass(frozen=True)
class AccessReport:
    """Everybody who can reach a path or something in it. `owner` is such as `user alice`, or `lake`."""

    path: str
    owner: str
    users: tuple[AccessLine, ...]
    groups: tuple[AccessLine, ...]

    @classmethod
    def read(cls, body: JsonObject) -> AccessReport:
        def lines(kind: Kind, bodies: list[JsonObject]) -> tuple[AccessLine, ...]:
            return tuple(AccessLine(kind, line["name"], Reach.read(line)) for line in bodies)

        owner, name = body["owner"]["kind"], body["owner"].get("name")
        users, groups = lines("user", body["users"]), lines("group", body["groups"])
        return cls(body["path"], f"{owner} {name}" if name else owner, users, groups)

    def __iter__(self) -> Iterator[AccessLine]:
        """Users, then groups."""
        yield from self.users
        yield from self.groups

    def _repr_html_(self) -> str:
        lines = [(f"{line.kind} {line.name}", line.reach) for line in self]
        rows = [(who, reach.access, reach.path, reach.because, reach.expires_at) for who, reach in lines]
        table = _html.table(["who", "access", "path", "because", "until"], rows)
        return _html.section(f"{self.path}, owned by {self.owner}", table)


@dataclass(frozen=True)
class GranteeResult:
    """What came of sharing with (or taking back from) one user or group. `error` says why not."""

    grantee: str
    kind: Kind
    ok: bool
    error: str | None


@dataclass(frozen=True)
class ShareResult:
    """What came of sharing or unsharing a path, for each grantee."""

    path: str
    results: tuple[GranteeResult, ...]

    @classmethod
    def read(cls, body: JsonObject) -> ShareResult:
        results = (GranteeResult(r["grantee"], r["kind"], r["ok"], r.get("error")) for r in body["results"])
        return cls(body["path"], tuple(results))

    @property
    def ok(self) -> bool:
        """Whether it worked for everybody."""
        return all(line.ok for line in self.results)

    @property
    def failed(self) -> tuple[GranteeResult, ...]:
        return tuple(line for line in self.results if not line.ok)

    def _repr_html_(self) -> str:
        rows = [(f"{r.kind} {r.grantee}", "done" if r.ok else f"failed: {r.error}") for r in self.results]
        return _html.section(self.path, _html.table(["who", "result"], rows))


@dataclass(frozen=True)
class SessionInfo:
    """A session that is not over. Holds no secret."""

    access_key_id: str
    expiration: datetime | None

    @classmethod
    def read(cls, body: JsonObject) -> SessionInfo:
        end = body.get("expiration")
        return cls(body["access_key_id"], _time.parse(end) if end else None)


@dataclass(frozen=True, repr=False)
class Session:
    """Session keys. The secret parts are in no `repr`, whichever way it is asked for."""

    username: str
    access_key_id: str
    secret_access_key: str
    session_token: str
    expiration: datetime
    exact: bool
    """`False`: the session policy was widened to fit. What the user may do is what it was."""
    spark_settings: Mapping[str, str]
    """Settings for Spark with these keys in them: for a job that ends before they do."""

    @classmethod
    def read(cls, body: JsonObject) -> Session:
        return cls(
            username=body["username"],
            access_key_id=body["access_key_id"],
            secret_access_key=body["secret_access_key"],
            session_token=body["session_token"],
            expiration=_time.parse(body["expiration"]),
            exact=body["session_policy"]["exact"],
            spark_settings=Options(body["spark"]),
        )

    @property
    def endpoint(self) -> str:
        """Where MinIO is, such as `https://minio.example.org`."""
        return self.spark_settings["spark.hadoop.fs.s3a.endpoint"]

    def seconds_left(self, now: datetime | None = None) -> float:
        """Negative once it is over."""
        return (self.expiration - (now or datetime.now(timezone.utc))).total_seconds()

    def __repr__(self) -> str:
        end = self.expiration.isoformat()
        return f"Session({self.username}, {self.access_key_id}, until {end}, secrets [redacted])"

    def _repr_html_(self) -> str:
        rows = [(self.username, self.access_key_id, self.expiration, "exact" if self.exact else "widened")]
        return _html.table(["user", "access key", "until", "policy"], rows)


def _end(body: JsonObject) -> datetime | None:
    end = body.get("expires_at")
    return _time.parse(end) if end else None
