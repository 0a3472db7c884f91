"""Executors are JVMs of their own: each has its own provider, and reads the token on its own machine. Here they and the
driver reach the broker by https, with a CA that their truststore has."""

import os
import subprocess

import pytest
from lake import OPERATION, POLL_INTERVAL, Session, eventually, refused
from tls_front import TlsFront


@pytest.fixture(scope="module")
def session(lake, jars):
    with TlsFront(lake.url, lake.folder) as front:
        truststore = lake.folder / "truststore.p12"
        subprocess.run(
            ["keytool", "-importcert", "-noprompt", "-file", front.ca_file, "-keystore", truststore, "-storepass", "changeit"],
            check=True,
            capture_output=True,
        )
        os.environ["JAVA_TOOL_OPTIONS"] = f"-Djavax.net.ssl.trustStore={truststore} -Djavax.net.ssl.trustStorePassword=changeit"
        by_https = {"spark.hadoop.fs.s3a.lakepass.url": front.url}
        session = Session(lake, "carol", "provider.conf", jars, by_https, master="local-cluster[1,2,1024]")
        yield session
        session.spark.stop()


def test_executors_read_and_write(session, lake):
    path = lake.home("carol") + "from-executors"
    session.spark.range(1000).repartition(4).write.parquet(path)
    assert session.spark.read.parquet(path).count() == 1000


def test_new_keys_reach_filesystems_that_are_open(session, lake):
    """Hadoop's cache is on: the driver and the executor have a filesystem each, from the first test to the end."""
    spark, mine, folder = session.spark, lake.home("carol") + "from-executors", lake.home("alice") + "for-carol"

    def processes():
        infos = spark.sparkContext._jsc.sc().statusTracker().getExecutorInfos()
        return sorted((info.host(), info.port()) for info in infos)

    def reads(path):
        return not refused(lambda: spark.read.parquet(path).count())

    filesystem, executors = session.filesystem(), processes()
    lake.revoke("carol")
    took = eventually(lambda: reads(mine), POLL_INTERVAL + OPERATION, every=0)
    print(f"working again {took:.1f} s after the keys were revoked")
    session.newcomer("alice").range(100).write.parquet(folder)
    assert not reads(folder)
    lake.share("alice", folder, "carol")
    took = eventually(lambda: reads(folder), POLL_INTERVAL + OPERATION)
    print(f"a new share could be read after {took:.1f} s")
    assert session.filesystem() == filesystem
    assert processes() == executors


def test_a_certificate_that_is_not_trusted_is_explained(session, lake, tmp_path):
    other = session.spark.newSession()
    other.conf.set("fs.s3a.impl.disable.cache", "true")
    with TlsFront(lake.url, tmp_path) as front:
        other.conf.set("fs.s3a.lakepass.url", front.url)
        with pytest.raises(Exception) as failure:
            other.read.csv(lake.home("carol") + "genomes.csv").count()
    assert f"certificate of Lakepass at {front.url} is not trusted" in str(failure.value)
