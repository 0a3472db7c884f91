"""JupyterHub with the lake in its notebooks, and no key in sight.

>>> import lakepass.jupyterhub
>>> lakepass.jupyterhub.configure(c)
>>> c.JupyterHub.authenticator_class = "lakepass"
>>> c.LakepassAuthenticator.lakepass_url = "https://lakepass.example.org"
>>> c.LakepassAuthenticator.kbase_auth_url = "https://kbase.us/services/auth"
"""

from __future__ import annotations

from typing import Any

from .authenticator import LakepassAuthenticator
from .handler import CREDENTIALS, SCOPES, SHARING
from .mixin import LakepassMixin

__all__ = ["LakepassAuthenticator", "LakepassMixin", "configure"]


def configure(c: Any) -> None:
    """Defines the scopes of the Hub's Lakepass endpoint, and gives them to users and to their servers, for themselves.

    A server's scopes are never more than its user's, so both need them. If you load roles named `user` or `server`
    yourself, add `custom:lakepass:credentials!user` and `custom:lakepass:sharing!user` to both instead.
    """
    ours = [f"{CREDENTIALS}!user", f"{SHARING}!user"]
    c.JupyterHub.custom_scopes.update(SCOPES)
    c.JupyterHub.load_roles.extend(
        [
            {"name": "user", "scopes": ["self", *ours]},
            # What JupyterHub gives a server, and ours.
            {"name": "server", "scopes": ["users:activity!user", "access:servers!server", *ours]},
        ]
    )
    c.Authenticator.enable_auth_state = True
