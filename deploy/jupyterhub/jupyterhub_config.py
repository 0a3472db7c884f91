"""JupyterHub with KBase's sign-in and the lake in its notebooks.

It runs as it is, on this machine, against `lakepass dev` (see README.md beside this file). What to change for a real
one stands next to each setting.
"""

import json
import os
import sys

import lakepass.jupyterhub

c = get_config()  # noqa: F821


def needed(name: str, what: str) -> str:
    """A setting from the environment, or a word on what it is."""
    value = os.environ.get(name)
    if not value:
        sys.exit(f"{name} is not set: {what}")
    return value


# Users' tokens are kept encrypted with this, which the Hub reads by itself. It stays the same from start to start.
needed("JUPYTERHUB_CRYPT_KEY", "the key that users' tokens are kept under, such as `openssl rand -hex 32` prints")

# Scopes for the Hub's Lakepass endpoint, for users and their servers; encrypted auth state on.
lakepass.jupyterhub.configure(c)

c.JupyterHub.authenticator_class = "lakepass"
c.LakepassAuthenticator.lakepass_url = needed("LAKEPASS_URL", "where the broker is")
c.LakepassAuthenticator.kbase_auth_url = needed("KBASE_AUTH_URL", "KBase's auth service")
c.LakepassAuthenticator.kbase_login_url = os.environ.get("KBASE_LOGIN_URL", "")

# Who gets in, and who administers. As in the broker's own configuration.
c.LakepassAuthenticator.required_roles = {"BERDL_USER"}
c.LakepassAuthenticator.admin_roles = {"KBASE_ADMIN", "CDM_JUPYTERHUB_ADMIN"}
c.LakepassAuthenticator.require_mfa = True

# S3A is not in pyspark, and this brings it (558 MB, once). With an image that has the jars: `{}`.
S3A = '{"spark.jars.packages": "org.apache.hadoop:hadoop-aws:3.4.1"}'
c.LakepassAuthenticator.spark_settings = json.loads(os.environ.get("SPARK_SETTINGS", S3A))

# Signing out ends the user's servers, and with them their servers' API tokens.
c.JupyterHub.shutdown_on_logout = True

# Here, servers are processes of this machine. Elsewhere: c.JupyterHub.spawner_class = "kubespawner.KubeSpawner", with
# https between servers and Hub (c.JupyterHub.internal_ssl, or an address of the Hub's that is https), or else with
# `credential_process`: Lakepass chooses by the address, and then the image needs the lakepass package.
c.JupyterHub.spawner_class = "simple"
homes = os.environ.get("HUB_HOMES") or os.path.abspath("homes")
c.SimpleLocalProcessSpawner.home_dir_template = os.path.join(homes, "{username}")
c.Spawner.cmd = [sys.executable, "-m", "jupyterhub.singleuser"]
c.Spawner.default_url = "/lab"
if os.getuid() == 0:
    c.Spawner.args = ["--allow-root"]

# In front of it belongs something that speaks https.
c.JupyterHub.bind_url = os.environ.get("HUB_BIND_URL", "http://127.0.0.1:8000")
c.JupyterHub.hub_bind_url = os.environ.get("HUB_INTERNAL_URL", "http://127.0.0.1:8081")
c.ConfigurableHTTPProxy.api_url = os.environ.get("HUB_PROXY_API_URL", "http://127.0.0.1:8001")
