"""Reads the lake with one library, by the options that the client gives: run by test_storage.py, once for each.

Arguments: library, session or environment, bucket. Prints the number of rows and whether a key was in the options.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from lakepass import Lakepass, Storage


def boto3(storage: Storage, home: str) -> int:
    import boto3

    bucket, _, key = home.partition("/")
    client: Any = boto3.client("s3", **storage.boto3())
    return lines(client.get_object(Bucket=bucket, Key=f"{key}/genomes.csv")["Body"].read())


def s3fs(storage: Storage, home: str) -> int:
    import s3fs

    return lines(s3fs.S3FileSystem(**storage.s3fs()).cat(f"{home}/genomes.csv"))


def pyarrow(storage: Storage, home: str) -> int:
    from pyarrow import fs

    return lines(fs.S3FileSystem(**storage.pyarrow()).open_input_stream(f"{home}/genomes.csv").read())


def polars(storage: Storage, home: str) -> int:
    import polars

    return int(polars.scan_csv(f"s3://{home}/genomes.csv", **storage.polars()).collect().height)


def deltalake(storage: Storage, home: str) -> int:
    import deltalake
    import pyarrow

    table = f"s3://{home}/delta-{os.getpid()}"
    deltalake.write_deltalake(table, pyarrow.table({"a": [1, 2]}), storage_options=storage.deltalake())
    return int(deltalake.DeltaTable(table, storage_options=storage.deltalake()).to_pyarrow_table().num_rows)


def pyiceberg(storage: Storage, home: str) -> int:
    import pyarrow
    from pyiceberg.catalog.sql import SqlCatalog

    place = {"uri": "sqlite:///:memory:", "warehouse": f"s3://{home}/iceberg-{os.getpid()}"}
    catalog = SqlCatalog("lake", **place, **storage.pyiceberg())
    catalog.create_namespace("n")
    rows = pyarrow.table({"a": [1, 2]})
    catalog.create_table("n.t", schema=rows.schema).append(rows)
    return int(catalog.load_table("n.t").scan().to_arrow().num_rows)


def spark(storage: Storage, home: str) -> int:
    from pyspark.sql import SparkSession

    builder = SparkSession.builder.master("local[1]").config("spark.ui.enabled", "false")
    for name, value in storage.spark().items():
        builder = builder.config(name, value)
    return int(builder.getOrCreate().read.csv(f"s3a://{home}/genomes.csv", header=True).count())


def lines(csv: bytes) -> int:
    return len(csv.decode().splitlines()) - 1


if __name__ == "__main__":
    library, keys, bucket = sys.argv[1:]
    storage = Lakepass.from_env().storage(keys=keys)  # type: ignore[arg-type]
    options = {} if library == "spark" else getattr(storage, library)()
    shown = any(word in name for name in options for word in ("secret", "key")) and not storage.refreshes
    print(globals()[library](storage, f"{bucket}/users-warehouse/alice"), "keys" if shown else "no-keys", flush=True)
    # Without the libraries' own end: some of their threads complain of it.
    os._exit(0)
