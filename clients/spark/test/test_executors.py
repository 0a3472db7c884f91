"""Executors are JVMs of their own: each has its own provider, and reads the token on its own machine."""

import pytest
from lake import Session


@pytest.fixture(scope="module")
def session(lake, jars):
    session = Session(lake, "carol", "provider.conf", jars, master="local-cluster[1,2,1024]")
    yield session
    session.spark.stop()


def test_executors_read_and_write(session, lake):
    path = lake.home("carol") + "from-executors"
    session.spark.range(1000).repartition(4).write.parquet(path)
    assert session.spark.read.parquet(path).count() == 1000
