"""Values that mean something in the lake of `lakepass dev`, in place of most of those that are made up: without them nearly
every request would end at the first look at its names. By the fields' names, so that new operations need no word here.
"""

import os
import time
import zlib

import schemathesis

PEOPLE = ["alice", "bob", "carol", "dana", "nobody"]
GROUPS = ["KBase", "kbase", "made_by_a_test", "no_such_group"]
PATHS = [f"users-warehouse/{person}/{folder}" for person in PEOPLE for folder in ("", "a/", "a/b/")]
VALUES = {
    "action": ["AssumeRoleWithWebIdentity", "GetCallerIdentity"],
    "rolearn": ["arn:lakepass:iam:::role/granted", "arn:lakepass:iam:::role/lake"],
    "policy": ["", '{"Version":"2012-10-17","Statement":{"Effect":"Allow","Action":"s3:GetObject","Resource":"*"}}'],
    "token": [os.environ["TOKEN"], "NOTATOKEN"],
    "user": PEOPLE,
    "username": PEOPLE,
    "member": PEOPLE,
    "group": GROUPS,
    "path": [*PATHS, "s3a://cdm-lake/groups-warehouse/KBase/", "s3://cdm-lake/"],
    "expiresat": ["2099-01-01T00:00:00Z", "2020-01-01T00:00:00Z"],
    "scope": ["granted", "lake", '[{"path": "users-warehouse/bob/a/"}]'],
    "second": [900, 3600, 59, 43201],
}
"""By the end of a field's name, in lower case, in the singular and without `_`."""


def plausible(name, value):
    if isinstance(value, dict):
        return {name: plausible(name, value) for name, value in value.items()}
    if isinstance(value, list):
        return [plausible(name, value) for value in value]
    end = name.lower().replace("_", "").rstrip("s")
    values = next((values for field, values in VALUES.items() if end.endswith(field)), None)
    # The same for the same, so that failures can be made smaller; and one in four stays as strange as it is.
    choice = zlib.crc32(repr(value).encode())
    return values[choice // 4 % len(values)] if values and choice % 4 else value


@schemathesis.hook
def map_path_parameters(context, path_parameters):
    return plausible("", path_parameters)


@schemathesis.hook
def map_query(context, query):
    return plausible("", query)


@schemathesis.hook
def map_body(context, body):
    return plausible("", body)


@schemathesis.hook
def filter_failure(context, failure, case, response):
    """A 503 is a failure if it is still there when the request is repeated as it says: a busy machine's MinIO may be late."""
    if response.status_code != 503 or "retry-after" not in response.headers:
        return True
    time.sleep(int(response.headers["retry-after"][0]))
    return case.call().status_code == 503
