"""Signing in to JupyterHub with KBase: by its cookie, or with a token in a form."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jupyterhub.auth import Authenticator
from tornado import web
from traitlets import Bool, List, Set, Unicode, default

from .. import ConfigurationError
from .._token import Token
from .kbase import USERNAME, Identity, KbaseAuth, KbaseAway, NotAdmitted, Rules, TokenRefused
from .mixin import LakepassMixin

_AWAY = "KBase's sign-in service does not answer now. That is not your fault: try again in a minute."

_FORM = """
<div class="container" style="max-width: 28rem">
  <h1>Sign in</h1>
  {% if login_error %}<p class="login_error alert alert-danger" id="login-error">{{ login_error | e }}</p>{% endif %}
  <form action="{{ authenticator_login_url | e }}" method="post">
    <input type="hidden" name="_xsrf" value="{{ xsrf | e }}">
    <button type="submit" class="btn btn-jupyter btn-lg w-100" id="with-cookie">Sign in with KBase</button>
    <p class="mt-2">You need to be signed in to KBase in this browser{% if kbase_login_url %}:
      <a href="{{ kbase_login_url | e }}" id="kbase-login">sign in there</a>{% endif %}.</p>
  </form>
  <form action="{{ authenticator_login_url | e }}" method="post" class="mt-4">
    <input type="hidden" name="_xsrf" value="{{ xsrf | e }}">
    <label for="token">Or with a KBase token:</label>
    <input type="password" id="token" name="token" class="form-control" required autocomplete="off" spellcheck="false">
    <button type="submit" class="btn btn-secondary w-100 mt-2" id="with-token">Sign in with this token</button>
  </form>
</div>
"""


class LakepassAuthenticator(LakepassMixin, Authenticator):
    """Users of KBase, with the lake open to their servers.

    - The token is in the Hub's encrypted auth state and nowhere else: set `JUPYTERHUB_CRYPT_KEY`.
    - Whoever has the required roles (and MFA) gets in.
    - When KBase is away, nobody new gets in, and nobody is thrown out.
    """

    kbase_auth_url = Unicode(help="KBase's auth service, such as https://kbase.us/services/auth").tag(config=True)

    kbase_login_url = Unicode(help="Where users sign in to KBase: the login page has a link there.").tag(config=True)

    cookie_names = List(
        Unicode(),
        ["kbase_session", "kbase_session_backup"],
        help="Cookies that hold KBase's token. The first one that is there counts.",
    ).tag(config=True)

    required_roles = Set(
        Unicode(), {"BERDL_USER"}, help="KBase's custom roles without which nobody gets in: all of them."
    ).tag(config=True)

    admin_roles = Set(
        Unicode(),
        {"KBASE_ADMIN", "CDM_JUPYTERHUB_ADMIN"},
        help="KBase's custom roles that make an administrator of the Hub: any of them.",
    ).tag(config=True)

    require_mfa = Bool(True, help="Whether a token must have been made with multi-factor authentication.").tag(
        config=True
    )

    token_state_key = Unicode("kbase_token", help="Where in auth state the token is.").tag(config=True)

    @default("enable_auth_state")
    def _enable_auth_state(self) -> bool:
        return True

    @default("auth_refresh_age")
    def _auth_refresh_age(self) -> int:
        return 120

    @default("refresh_pre_spawn")
    def _refresh_pre_spawn(self) -> bool:
        return True

    @default("username_pattern")
    def _username_pattern(self) -> str:
        return USERNAME

    @default("allow_all")
    def _allow_all(self) -> bool:
        """The roles decide, unless names are listed."""
        return bool(self.required_roles) and not self.allowed_users

    @property
    def kbase(self) -> KbaseAuth:
        """Made at first use, in the Hub's event loop."""
        if self._kbase is None:
            if not self.kbase_auth_url:
                raise ConfigurationError("set c.LakepassAuthenticator.kbase_auth_url: where is KBase's auth service?")
            self._kbase = KbaseAuth(self.kbase_auth_url)
        return self._kbase

    _kbase: KbaseAuth | None = None

    @property
    def rules(self) -> Rules:
        return Rules(frozenset(self.required_roles), frozenset(self.admin_roles), self.require_mfa)

    def get_custom_html(self, base_url: str) -> str:
        """The login page's form. A template of its own wins."""
        link = "{% set kbase_login_url = " + repr(self.kbase_login_url) + " %}"
        return self.custom_html or link + _FORM

    async def authenticate(self, handler: web.RequestHandler, data: Mapping[str, str] | None = None) -> dict[str, Any]:
        """The form's token if there is one, else the cookie's. 403 says what to do; an outage is a 503."""
        typed = (data or {}).get("token", "").strip()
        try:
            token = Token(typed) if typed else self._cookie(handler)
        except ConfigurationError:
            raise web.HTTPError(403, "This is not a KBase token.") from None
        if token is None:
            raise web.HTTPError(403, "You are not signed in to KBase in this browser: sign in there first.")
        try:
            identity = await self.kbase.identify(token)
            return self._model(identity, token)
        except TokenRefused as error:
            raise web.HTTPError(403, f"KBase refuses this sign-in: {error}. Sign in to KBase anew.") from None
        except NotAdmitted as error:
            raise web.HTTPError(403, f"You cannot come in: {error}.") from None
        except KbaseAway as error:
            self.log.warning("KBase cannot be asked: %s", error)
            raise web.HTTPError(503, _AWAY) from None

    async def get_authenticated_user(self, handler: web.RequestHandler, data: Mapping[str, str] | None) -> Any:
        """JupyterHub's own form has a username, and JupyterHub stumbles over ours that has none."""
        authenticated = await super().get_authenticated_user(handler, data)
        if authenticated is None:
            raise web.HTTPError(403, "You cannot come in: this Hub does not admit your account.")
        return authenticated

    async def refresh_user(self, user: Any, handler: web.RequestHandler | None = None) -> bool | dict[str, Any]:
        """`True`: nothing has changed, or KBase is away and nobody can say. `False`: to the login.

        A cookie that is newer than what the Hub has replaces it, if it is the same person's: so whoever signs in to
        KBase anew need not do so here.
        """
        if handler is not None and not hasattr(handler, "_token_authenticated"):
            # JupyterHub 6.1 looks at this after a `False`, and on pages it is not there: a traceback at each logout.
            handler._token_authenticated = False  # type: ignore[attr-defined]
        state = await user.get_auth_state()
        if not state:
            return False
        try:
            current = self.lake_token(state)
        except ConfigurationError:
            return False
        fresh = await self._newer_cookie(user.name, handler, current, state.get("created", 0))
        if fresh is not None:
            return fresh
        try:
            identity = await self.kbase.identify(current)
            model = self._model(identity, current)
        except (TokenRefused, NotAdmitted) as error:
            self.log.info("%s has to sign in again: %s", user.name, error)
            return False
        except KbaseAway as error:
            self.log.warning("KBase cannot be asked, so %s stays signed in: %s", user.name, error)
            return True
        if identity.username != user.name:
            return False
        return True if model["admin"] == user.admin else model

    async def _newer_cookie(
        self, name: str, handler: web.RequestHandler | None, current: Token, created: int
    ) -> dict[str, Any] | None:
        """What to remember from now on, if the browser has a later token of the same, admitted person."""
        try:
            token = self._cookie(handler) if handler is not None else None
            if token is None or token == current:
                return None
            identity = await self.kbase.identify(token)
            model = self._model(identity, token)
        except (ConfigurationError, TokenRefused, NotAdmitted, KbaseAway):
            # Whatever the browser has, the token that the Hub has may still be good.
            return None
        return model if identity.username == name and identity.created > created else None

    def _cookie(self, handler: web.RequestHandler) -> Token | None:
        for name in self.cookie_names:
            if value := handler.get_cookie(name):
                return Token(value)
        return None

    def _model(self, identity: Identity, token: Token) -> dict[str, Any]:
        admin = self.rules.admit(identity) or identity.username in self.admin_users
        state = {self.token_state_key: token.expose(), "created": identity.created}
        return {"name": identity.username, "admin": admin, "auth_state": state}
