"""A Hub with JupyterHub's own OIDC authenticator, and the lake by the mixin."""

import os
from pathlib import Path

from oauthenticator.generic import GenericOAuthenticator

from lakepass.jupyterhub import LakepassMixin

c = get_config()  # noqa: F821

load_subconfig(str(Path(__file__).resolve().parents[3] / "deploy/jupyterhub/jupyterhub_config.py"))  # noqa: F821


class LakepassOIDC(LakepassMixin, GenericOAuthenticator):
    """Tokens for the broker are the provider's access tokens."""


issuer = os.environ["OIDC_ISSUER"]
c.JupyterHub.authenticator_class = LakepassOIDC
c.LakepassOIDC.lakepass_url = os.environ["LAKEPASS_URL"]
c.LakepassOIDC.client_id = "jupyterhub"
c.LakepassOIDC.client_secret = "not-a-secret"
c.LakepassOIDC.authorize_url = issuer + "/authorize"
c.LakepassOIDC.token_url = issuer + "/token"
c.LakepassOIDC.userdata_url = issuer + "/userinfo"
c.LakepassOIDC.oauth_callback_url = os.environ["HUB_BIND_URL"] + "/hub/oauth_callback"
c.LakepassOIDC.username_claim = "preferred_username"
c.LakepassOIDC.allow_all = True
c.LakepassOIDC.auth_refresh_age = 1
