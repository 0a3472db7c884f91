"""An OIDC provider that lets everybody in as one person: discovery, keys, authorization code, refresh, userinfo.

For the Hub's own OAuthenticator and for the broker, which checks its JWTs by discovery and JWKS as any provider's.
"""

from __future__ import annotations

import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa

AUDIENCE = "lakepass"


class OidcProvider:
    """Runs from its making until `close()`, on loopback."""

    def __init__(self, username: str, roles: list[str]) -> None:
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self._claims = {"preferred_username": username, "roles": roles}
        self.revoked: set[str] = set()
        self.issued: list[str] = []
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                where = urlsplit(self.path)
                if where.path == "/authorize":
                    asked = {name: values[0] for name, values in parse_qs(where.query).items()}
                    self.send_response(302)
                    back = urlencode({"code": "a-code", "state": asked["state"]})
                    self.send_header("Location", f"{asked['redirect_uri']}?{back}")
                    self.end_headers()
                    return
                self._send(*provider._get(where.path, self.headers.get("Authorization", "")))

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                self._send(200, provider._tokens())

            def _send(self, status: int, body: Any) -> None:
                content = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()

    def _tokens(self) -> dict[str, Any]:
        now = int(time.time())
        claims = {
            "iss": self.url,
            "aud": AUDIENCE,
            "sub": "1",
            "iat": now,
            "exp": now + 7200,
            "jti": str(len(self.issued)),
        }
        token = jwt.encode(claims | self._claims, self._key, algorithm="RS256", headers={"kid": "k"})
        self.issued.append(token)
        return {"access_token": token, "token_type": "Bearer", "expires_in": 7200, "refresh_token": "a-refresh-token"}

    def _get(self, path: str, authorization: str) -> tuple[int, Any]:
        if path == "/.well-known/openid-configuration":
            return 200, {"issuer": self.url, "jwks_uri": self.url + "/jwks"}
        if path == "/jwks":
            key = json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(self._key.public_key()))
            return 200, {"keys": [{**key, "kid": "k", "use": "sig", "alg": "RS256"}]}
        token = authorization.removeprefix("Bearer ")
        if token not in self.issued or token in self.revoked:
            return 401, {"error": "invalid_token"}
        return 200, {"sub": "1", **self._claims}
