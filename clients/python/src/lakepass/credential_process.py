"""An AWS `credential_process`: prints keys for SDKs where they refuse plain-http container credentials.

Takes `LAKEPASS_URL` and the token from the environment, as `Lakepass.from_env()` does, and no argument: arguments are
seen by every process of the machine.
"""

from __future__ import annotations

import json
import os
import sys

from . import Lakepass, LakepassError


def main() -> int:
    """0 with the keys on standard output; 1 with a word on standard error, which SDKs show."""
    if sys.stdout.isatty():
        print("this prints keys, and is for AWS SDKs: name it as credential_process", file=sys.stderr)
        return 1
    try:
        with Lakepass.from_env(timeout=20.0) as lake:
            keys = lake.container_keys(scope=_scope())
    except LakepassError as error:
        print(f"lakepass: {error}", file=sys.stderr)
        return 1
    answer = {
        "Version": 1,
        "AccessKeyId": keys.access_key_id,
        "SecretAccessKey": keys.secret_access_key,
        "SessionToken": keys.session_token,
        "Expiration": keys.expiration.isoformat(),
    }
    print(json.dumps(answer))
    return 0


def _scope() -> str | None:
    """`granted` or `lake`, from `LAKEPASS_SCOPE`; without it, what the broker (or the Hub) holds to be right."""
    return os.environ.get("LAKEPASS_SCOPE") or None


if __name__ == "__main__":
    sys.exit(main())
