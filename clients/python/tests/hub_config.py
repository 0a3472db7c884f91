"""The Hub's tests: the configuration that is shipped, in a hurry."""

from pathlib import Path

c = get_config()  # noqa: F821

load_subconfig(str(Path(__file__).resolve().parents[3] / "deploy/jupyterhub/jupyterhub_config.py"))  # noqa: F821

# So that a token's end shows at the next click.
c.LakepassAuthenticator.auth_refresh_age = 1
# A service with an API token: it is nobody's server.
c.JupyterHub.services = [{"name": "nobody", "api_token": "service-token-of-the-tests"}]
c.JupyterHub.load_roles.append({"name": "nobody", "scopes": ["custom:lakepass:credentials"], "services": ["nobody"]})
c.Spawner.args = [
    *c.Spawner.args,
    # No news, no update checks: nothing here may want the internet.
    "--LabApp.news_url=None",
    "--LabApp.check_for_updates_class=jupyterlab.handlers.announcements.NeverCheckForUpdate",
]
