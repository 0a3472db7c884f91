"""What can go wrong, and the problem that each exception carries. Knows no HTTP client."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._models import ShareResult

BROKER = "urn:lakepass:problem:"
CLIENT = "urn:lakepass:client:"


@dataclass(frozen=True)
class Problem:
    """An RFC 9457 problem: the broker's, or this client's own (`urn:lakepass:client:…`, status 0).

    - `type` is stable: tell problems apart by it, not by `detail`.
    - `request_id` is in the broker's log: name it when you ask for help. Empty if the broker was not reached.
    """

    type: str
    title: str
    status: int
    detail: str
    request_id: str = ""

    @classmethod
    def of_client(cls, kind: str, detail: str, status: int = 0) -> Problem:
        return cls(CLIENT + kind, kind.replace("-", " "), status, detail)

    @classmethod
    def of_body(cls, status: int, body: Mapping[str, Any]) -> Problem:
        """From a problem document. What is missing or of the wrong type is left empty."""

        def text(name: str) -> str:
            value = body.get(name)
            return value if isinstance(value, str) else ""

        kind = text("type") or "about:blank"
        return cls(kind, text("title") or f"status {status}", status, text("detail"), text("request_id"))


class LakepassError(Exception):
    """The root of all of this package's exceptions. Each carries its `problem`; none ever holds a token or a key.

    `retry_after` is the number of seconds after which asking again makes sense, where the server said so.
    """

    def __init__(self, problem: Problem, retry_after: float | None = None) -> None:
        super().__init__(problem, retry_after)
        self.problem = problem
        self.retry_after = retry_after

    def __str__(self) -> str:
        problem = self.problem
        text = f"{problem.title}: {problem.detail}" if problem.detail else problem.title
        return f"{text} (request {problem.request_id})" if problem.request_id else text


class ConfigurationError(LakepassError):
    """No address or no usable token was given, or an argument makes no sense. Nothing was sent."""

    def __init__(self, detail: str) -> None:
        super().__init__(Problem.of_client("configuration", detail))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.problem.detail,)


class Unreachable(LakepassError):
    """The broker did not answer. A change that was asked for may or may not have been made."""

    def __init__(self, detail: str) -> None:
        super().__init__(Problem.of_client("unreachable", detail))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.problem.detail,)


class Refused(LakepassError):
    """The broker answered with a problem."""


class InvalidRequest(Refused):
    """400, 422: a path, a name or a time is not one."""


class Unauthenticated(Refused):
    """401: the token is not valid, or has expired. Log in again."""


class Forbidden(Refused):
    """403: the token is good, and this is not yours to do."""


class NotFound(Refused):
    """404"""


class Conflict(Refused):
    """409"""


class RateLimited(Refused):
    """429: too many requests. See `retry_after`."""


class Unavailable(Refused):
    """502, 503, 504: the broker, MinIO or the auth service is away. See `retry_after`."""


class ShareFailed(LakepassError):
    """Some or all of those whom you named got nothing, or lost nothing. `result` says who and why."""

    def __init__(self, result: ShareResult) -> None:
        whom = "; ".join(f"{line.kind} {line.grantee}: {line.error}" for line in result.failed)
        detail = f"{result.path}: {len(result.failed)} of {len(result.results)} failed. {whom}"
        super().__init__(Problem.of_client("share-failed", detail, status=207))
        self.result = result

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.result,)


_BY_STATUS: dict[int, type[Refused]] = {
    400: InvalidRequest,
    401: Unauthenticated,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    422: InvalidRequest,
    429: RateLimited,
    502: Unavailable,
    503: Unavailable,
    504: Unavailable,
}


def refused(problem: Problem, retry_after: float | None) -> Refused:
    """The exception for a problem, by its status."""
    return _BY_STATUS.get(problem.status, Refused)(problem, retry_after)
