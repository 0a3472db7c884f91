"""Lakepass: share folders of a MinIO data lake, and reach them with short-lived keys.

>>> from lakepass import Lakepass
>>> lake = Lakepass.from_env()
>>> lake.share("s3a://cdm-lake/users-warehouse/alice/run7/", with_group="KBase")
"""

from ._client import Lakepass, Scope
from ._errors import (
    ConfigurationError,
    Conflict,
    Forbidden,
    InvalidRequest,
    LakepassError,
    NotFound,
    Problem,
    RateLimited,
    Refused,
    ShareFailed,
    Unauthenticated,
    Unavailable,
    Unreachable,
)
from ._models import (
    Access,
    AccessLine,
    AccessReport,
    Grant,
    GranteeResult,
    Group,
    Groups,
    Me,
    Reach,
    Session,
    SessionInfo,
    ShareResult,
)
from ._options import Options
from ._token import Token, TokenSource
from .storage import ContainerKeys, Storage

__version__ = "0.1.0"

__all__ = [
    "Access",
    "AccessLine",
    "AccessReport",
    "ConfigurationError",
    "Conflict",
    "ContainerKeys",
    "Forbidden",
    "Grant",
    "GranteeResult",
    "Group",
    "Groups",
    "InvalidRequest",
    "Lakepass",
    "LakepassError",
    "Me",
    "NotFound",
    "Options",
    "Problem",
    "RateLimited",
    "Reach",
    "Refused",
    "Scope",
    "Session",
    "SessionInfo",
    "ShareFailed",
    "ShareResult",
    "Storage",
    "Token",
    "TokenSource",
    "Unauthenticated",
    "Unavailable",
    "Unreachable",
]
