"""A KBase auth service that tests can break, for the Hub and the broker to ask.

It stands in front of the demo's real in-process one (`lakepass dev`), passes requests on to it and its answers back.
What it adds is what that one cannot be told from outside:

- further tokens of a person, each with its own creation, expiry and MFA, as a new sign-in would make them;
- a token that is not valid any more: 401 with the code 10020, as kbase/auth2 answers;
- being away: 503 with a page of HTML, as a proxy in front of a service that is down answers.

It lets answers be trusted for one second only (`cachefor`), so that tests need not wait for the broker's cache.
"""

from __future__ import annotations

import json
import secrets
import threading
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

_REFUSED = {
    "error": {
        "httpcode": 401,
        "httpstatus": "Unauthorized",
        "appcode": 10020,
        "apperror": "Invalid token",
        "message": "10020 Invalid token",
        "callid": "0",
        "time": 0,
    }
}


@dataclass
class _Issued:
    real: str
    created: int
    mfa: str
    valid: bool = True


class KbaseFront:
    """Runs from its making until `close()`, on loopback. POST `url`/control is for other test programs."""

    def __init__(self, upstream: str, people: dict[str, str]) -> None:
        self._upstream = upstream
        self._people = people
        self._issued: dict[str, _Issued] = {}
        self.away = False
        front = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                token = self.headers.get("Authorization", "")
                self._send(*front._answer(self.path, token))

            def do_POST(self) -> None:
                order = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                self._send(200, json.dumps(front.control(order)).encode())

            def _send(self, status: int, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Type", "application/json" if body.startswith(b"{") else "text/html")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()

    def issue(self, person: str, mfa: str = "Used") -> str:
        """What a new sign-in of this person gives: a token."""
        token = "".join(secrets.choice("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567") for _ in range(32))
        self._issued[token] = _Issued(self._people[person], int(time.time() * 1000), mfa)
        return token

    @property
    def issued(self) -> list[str]:
        """Every token that was issued here, valid or not."""
        return list(self._issued)

    def expire(self, token: str) -> None:
        self._issued[token].valid = False

    def control(self, order: dict[str, Any]) -> dict[str, Any]:
        """`{"issue": person}`, `{"expire": token}`, `{"away": bool}`: what the methods do, for another process."""
        if "away" in order:
            self.away = order["away"]
        if "expire" in order:
            self.expire(order["expire"])
        return {"token": self.issue(order["issue"])} if "issue" in order else {}

    def _answer(self, path: str, token: str) -> tuple[int, bytes]:
        if self.away:
            return 503, b"<html><h1>503 Service Temporarily Unavailable</h1></html>"
        issued = self._issued.get(token)
        if issued is not None and not issued.valid:
            return 401, json.dumps(_REFUSED).encode()
        request = urllib.request.Request(self._upstream + path)
        if token:
            request.add_header("Authorization", issued.real if issued else token)
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                status, body = answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()
        if path == "/api/V2/token":
            said = json.loads(body) | {"cachefor": 1000}
            if issued is not None:
                said |= {"created": issued.created, "mfa": issued.mfa}
            # Compact, as KBase writes it.
            body = json.dumps(said, separators=(",", ":")).encode()
        return status, body
