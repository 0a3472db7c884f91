"""What any authenticator needs to open the lake to its users' servers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

import httpx
from jupyterhub.utils import url_path_join
from tornado import web
from traitlets import Dict, Enum, HasTraits, Unicode, default, validate

from .. import ConfigurationError
from .._http import base_url
from .._token import Token
from ._broker import BrokerAway, BrokerRefused, HubBroker
from .environment import Way, environment, way_for
from .handler import LakepassHandler

if TYPE_CHECKING:
    from jupyterhub.spawner import Spawner
    from jupyterhub.user import User

HANDLER_PATH = "/api/lakepass"


class LakepassMixin(HasTraits):
    """For an authenticator that keeps its users' tokens in encrypted auth state: put it first among the bases.

    >>> class LakepassOIDC(LakepassMixin, GenericOAuthenticator):
    ...     token_state_key = "id_token"

    The token stays in the Hub. A user's server gets the address of an endpoint of the Hub, and its own API token opens
    it; so after a new login a kernel that runs works again without a restart.
    """

    if TYPE_CHECKING:
        log: Any

    lakepass_url = Unicode(help="Where the broker is, as the Hub sees it.").tag(config=True)

    lakepass_scope = Enum(
        ["granted", "lake"],
        default_value="lake",
        help="""What notebooks' keys are for when they do not ask for less. With "lake", what is shared with a user
        reaches their notebooks at once; with "granted", when the keys are renewed. Neither is ever more than the user
        has.""",
    ).tag(config=True)

    token_state_key = Unicode(
        "access_token", help="Where in auth state the user's token is, which the broker must be able to check."
    ).tag(config=True)

    credentials = Enum(
        ["auto", "container", "process"],
        default_value="auto",
        help="""How a notebook's AWS SDKs find keys: by container credentials, which SDKs take over https or from
        loopback only, or by a `credential_process`. "auto" looks at the Hub's address.""",
    ).tag(config=True)

    aws_config_file = Unicode(
        help="""With `credential_process`: where users' servers have Lakepass's AWS configuration file. The default is
        right where they share the Hub's file system; in an image, it is wherever lakepass/aws-config was put."""
    ).tag(config=True)

    s3_endpoint = Unicode(
        help="Where MinIO is, as notebooks see it. Empty: the broker says. Set, servers start even with the lake away."
    ).tag(config=True)

    s3_region = Unicode("us-east-1", help="The region that requests are signed for.").tag(config=True)

    spark_settings = Dict(
        key_trait=Unicode(),
        value_trait=Unicode(),
        help="""More settings for Spark in notebooks, such as
        {"spark.jars.packages": "org.apache.hadoop:hadoop-aws:3.4.1"}. They win over those that Lakepass sets.""",
    ).tag(config=True)

    login_again = Unicode(
        "your login has ended, and the lake with it: sign in to JupyterHub again, and this goes on by itself",
        help="What a notebook is told when the user's token is not good any more.",
    ).tag(config=True)

    @default("aws_config_file")
    def _aws_config_file(self) -> str:
        return str(Path(__file__).resolve().parent.parent / "aws-config")

    @validate("lakepass_url", "s3_endpoint")
    def _address(self, proposal: Any) -> str:
        url: str = proposal["value"]
        if url:
            # It says what is wrong.
            base_url(url)
        return url.rstrip("/")

    @property
    def broker(self) -> HubBroker:
        """Made at first use, in the Hub's event loop."""
        if self._broker is None:
            if not self.lakepass_url:
                raise ConfigurationError("set c.LakepassAuthenticator.lakepass_url: where is the broker?")
            self._broker = HubBroker(self.lakepass_url, self._transport)
        return self._broker

    _broker: HubBroker | None = None
    _transport: httpx.AsyncBaseTransport | None = None

    def lake_token(self, auth_state: Mapping[str, Any]) -> Token:
        """The user's token for the broker. Raises `ConfigurationError` if there is none."""
        token = auth_state.get(self.token_state_key)
        if not isinstance(token, str):
            raise ConfigurationError("there is no token in the auth state")
        return Token(token)

    def get_handlers(self, app: Any) -> list[Any]:
        handlers: list[Any] = super().get_handlers(app)  # type: ignore[misc]
        return [*handlers, (rf"{HANDLER_PATH}/(.*)", LakepassHandler, {"lakepass": self})]

    async def pre_spawn_start(self, user: User, spawner: Spawner) -> None:
        """Makes sure that the user is in the lake, and sets the environment of their server."""
        await _maybe(super().pre_spawn_start(user, spawner))  # type: ignore[misc]
        try:
            token = self.lake_token(await user.get_auth_state() or {})
        except ConfigurationError:
            raise failed_start(403, self.login_again) from None
        spark = await self._welcome(user.name, token)
        api_url = hub_api_url(spawner) + HANDLER_PATH.removeprefix("/api")
        way: Way = way_for(api_url) if self.credentials == "auto" else cast(Way, self.credentials)
        env = environment(
            api_url=api_url,
            api_token=spawner.api_token,
            way=way,
            region=self.s3_region,
            aws_config_file=self.aws_config_file,
            spark=spark,
        )
        spawner.environment = {**spawner.environment, **env}

    async def _welcome(self, name: str, token: Token) -> dict[str, str]:
        """Settings for Spark, without keys."""
        settings: Mapping[str, str]
        try:
            username, settings = await self.broker.welcome(token)
        except BrokerRefused as error:
            raise failed_start(403, f"the data lake refuses you: {error.problem.detail}") from None
        except BrokerAway as error:
            if not self.s3_endpoint:
                raise failed_start(503, "the data lake does not answer now: try again in a minute") from None
            # Its user is made with its first keys, too.
            self.log.warning("Lakepass does not answer (%s): the server of %s starts without it", error, name)
            ssl = str(urlsplit(self.s3_endpoint).scheme == "https").lower()
            settings = {
                "spark.hadoop.fs.s3a.path.style.access": "true",
                "spark.hadoop.fs.s3a.connection.ssl.enabled": ssl,
            }
        else:
            if username != name:
                # Two names for one person would give this server somebody else's lake.
                self.log.error("the broker knows the token of %s as somebody else's", name)
                raise failed_start(403, "the data lake knows you by another name: tell the Hub's operators")
        endpoint = {"spark.hadoop.fs.s3a.endpoint": self.s3_endpoint} if self.s3_endpoint else {}
        return {**settings, **endpoint, **self.spark_settings}


def hub_api_url(spawner: Spawner) -> str:
    """The Hub's API as the user's server sees it: the same that JupyterHub puts into `JUPYTERHUB_API_URL`."""
    url: str = spawner.hub.api_url
    if spawner.hub_connect_url is not None:
        url = url_path_join(spawner.hub_connect_url, urlsplit(url).path)
    return url


def failed_start(status: int, message: str) -> web.HTTPError:
    """A server that does not start; the user reads why."""
    error = web.HTTPError(status, message)
    # JupyterHub shows this, on the page that waits for the server.
    setattr(error, "jupyterhub_message", message)  # noqa: B010
    return error


async def _maybe(result: Any) -> None:
    """JupyterHub's hooks may be coroutines, or not."""
    if hasattr(result, "__await__"):
        await result
