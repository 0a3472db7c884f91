"""Spark without the jar: the AWS SDK asks the broker by itself, as deploy/spark/container-credentials.conf says."""

import os

import pytest
from lake import SPARK, Session, refused

SDK_V1 = "com.amazonaws.auth.EC2ContainerCredentialsProviderWrapper"


@pytest.fixture(scope="module")
def spark(lake, jars):
    os.environ["AWS_CONTAINER_CREDENTIALS_FULL_URI"] = lake.url + "/aws/container-credentials"
    os.environ["AWS_CONTAINER_AUTHORIZATION_TOKEN"] = lake.tokens["bob"]
    more = {} if SPARK == "4.0" else {"spark.hadoop.fs.s3a.aws.credentials.provider": SDK_V1}
    # Executors in JVMs of their own, for spark.executorEnv.
    session = Session(lake, "bob", "container-credentials.conf", jars[1:], more, master="local-cluster[1,2,1024]")
    yield session.spark
    session.spark.stop()


def test_tables_in_ones_warehouse(spark):
    for format in ("parquet", "delta"):
        spark.sql(f"CREATE TABLE t_{format} USING {format} AS SELECT id FROM range(100)")
        assert spark.sql(f"SELECT * FROM t_{format}").count() == 100


def test_another_users_path_is_refused(spark, lake):
    assert refused(lambda: spark.read.csv(lake.home("alice") + "genomes.csv").count())
    assert refused(lambda: spark.range(10).write.parquet(lake.home("alice") + "intruder"))
