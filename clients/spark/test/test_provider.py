"""The promises of the provider, kept by real Spark on a real MinIO. alice's session runs all through it."""

import json
import threading
import time

import pytest
from lake import OPERATION, POLL_INTERVAL, eventually, refused


def rows(session, path):
    return session.read.parquet(path).count()


def write(session, path, count=100):
    session.range(count).write.mode("overwrite").parquet(path)


def test_parquet_in_ones_warehouse(alice, lake):
    alice.spark.sql("CREATE TABLE genomes (id BIGINT, name STRING) USING parquet")
    alice.spark.sql("INSERT INTO genomes VALUES (1, 'E. coli'), (2, 'B. subtilis')")
    assert [row.name for row in alice.spark.sql("SELECT name FROM genomes ORDER BY id").collect()] == ["E. coli", "B. subtilis"]
    assert "genomes" in alice.files(lake.home("alice")), "spark.sql.warehouse.dir is the home"
    write(alice.spark, lake.home("alice") + "numbers")
    assert rows(alice.spark, lake.home("alice") + "numbers") == 100


def test_a_delta_table(alice):
    spark = alice.spark
    spark.sql("CREATE TABLE samples (id BIGINT, depth_m INT) USING delta")
    spark.sql("INSERT INTO samples VALUES (1, 12), (2, 7)")
    spark.sql("UPDATE samples SET depth_m = 13 WHERE id = 1")
    spark.sql("DELETE FROM samples WHERE id = 2")
    assert [tuple(row) for row in spark.sql("SELECT * FROM samples").collect()] == [(1, 13)]
    assert spark.sql("SELECT * FROM samples VERSION AS OF 1").count() == 2


def test_an_iceberg_table(alice, lake):
    spark = alice.spark
    spark.conf.set("spark.sql.catalog.ice", "org.apache.iceberg.spark.SparkCatalog")
    spark.conf.set("spark.sql.catalog.ice.type", "hadoop")
    spark.conf.set("spark.sql.catalog.ice.warehouse", lake.home("alice") + "iceberg")
    spark.sql("CREATE TABLE ice.db.samples (id BIGINT, depth_m INT) USING iceberg")
    spark.sql("INSERT INTO ice.db.samples VALUES (1, 12), (2, 7)")
    first = spark.sql("SELECT snapshot_id FROM ice.db.samples.snapshots").first().snapshot_id
    spark.sql("INSERT INTO ice.db.samples VALUES (3, 40)")
    assert spark.sql("SELECT * FROM ice.db.samples").count() == 3
    assert spark.sql(f"SELECT * FROM ice.db.samples VERSION AS OF {first}").count() == 2


def test_another_users_path_is_refused(alice, lake):
    genomes = lake.home("bob") + "genomes.csv"
    assert refused(lambda: alice.spark.read.csv(genomes).count())
    assert refused(lambda: alice.files(lake.home("bob")))
    assert refused(lambda: write(alice.spark, lake.home("bob") + "intruder"))
    assert not refused(lambda: alice.spark.read.csv(lake.home("alice") + "genomes.csv").count())


def test_a_share_given_and_taken_in_a_running_session(alice, bob, lake):
    folder = lake.home("bob") + "shared"
    path = folder + "/table"
    write(bob, path)
    assert refused(lambda: rows(alice.spark, path))
    lake.share("bob", folder, "alice")
    took = eventually(lambda: not refused(lambda: rows(alice.spark, path)), POLL_INTERVAL + OPERATION)
    print(f"a new share could be read after {took:.1f} s")
    assert refused(lambda: write(alice.spark, path)), "shared to be read"
    lake.unshare("bob", folder, "alice")
    took = eventually(lambda: refused(lambda: rows(alice.spark, path)), OPERATION)
    print(f"a share taken back was refused after {took:.1f} s")


def test_a_shared_table_is_read_by_its_own_path(alice, bob, lake):
    path = lake.home("bob") + "table"
    write(bob, path)
    lake.share("bob", path, "alice")
    eventually(lambda: not refused(lambda: rows(alice.spark, path)), POLL_INTERVAL + OPERATION)


def test_revoked_keys_are_replaced_within_the_poll_interval(alice, lake):
    path = lake.home("alice") + "revocation"
    write(alice.spark, path)
    before = alice.access_key()
    lake.revoke("alice")
    took = eventually(lambda: not refused(lambda: rows(alice.spark, path)), POLL_INTERVAL + OPERATION, every=0)
    assert alice.access_key() != before
    print(f"working again {took:.1f} s after the keys were revoked")


def test_two_users_in_one_jvm(alice, bob, lake):
    failures = []

    def work(session, mine, others):
        try:
            for round in range(5):
                path = f"{lake.home(mine)}two-users/{round}"
                write(session, path, 10 + round)
                assert rows(session, path) == 10 + round
                assert refused(lambda: rows(session, lake.home(others) + "private"))
                assert refused(lambda: write(session, lake.home(others) + "intruder"))
        except BaseException as failure:
            failures.append(failure)

    write(alice.spark, lake.home("alice") + "private")
    write(bob, lake.home("bob") + "private")
    threads = [
        threading.Thread(target=work, args=(alice.spark, "alice", "bob")),
        threading.Thread(target=work, args=(bob, "bob", "alice")),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    # Spark has opened dozens of filesystems by now.
    assert alice.threads() == 2, "one thread a user"


def test_a_broker_that_hangs_is_not_noticed(alice, lake):
    path = lake.home("alice") + "absence"
    lake.stop_answering()
    try:
        until = time.monotonic() + 25
        while time.monotonic() < until:
            write(alice.spark, path)
            assert rows(alice.spark, path) == 100
    finally:
        lake.answer_again()
    before = alice.access_key()
    lake.share("carol", lake.home("carol") + "news", "alice")
    eventually(lambda: alice.access_key() != before, 30 + POLL_INTERVAL, "not found again")


def test_an_expired_token_is_explained_and_a_new_one_taken_up(alice, lake):
    file = lake.folder / "token-of-a-kernel"
    file.write_text("EXPIREDTOKENTHATMUSTNOTSHOW")
    session = alice.spark.newSession()
    session.conf.set("fs.s3a.lakepass.token.file", str(file))
    path = lake.home("carol") + "genomes.csv"
    with pytest.raises(Exception) as failure:
        session.read.csv(path).count()
    text = str(failure.value)
    assert "does not accept the token" in text and lake.url in text and str(file) in text, text
    assert "MUSTNOTSHOW" not in text
    file.write_text(lake.tokens["carol"])

    def works():
        try:
            return session.read.csv(path).count() > 0
        except Exception as failure:
            assert "does not accept the token" in str(failure), failure
            return False

    eventually(works, POLL_INTERVAL + OPERATION)


def test_a_job_may_have_less_than_its_user(alice, lake):
    home = lake.home("alice")
    write(alice.spark, home + "input")
    job = alice.spark.newSession()
    job.conf.set("fs.s3a.lakepass.scope", json.dumps([{"path": home + "input/", "access": "read"}]))
    assert rows(job, home + "input") == 100
    assert refused(lambda: write(job, home + "output"))
    job.conf.set("fs.s3a.lakepass.scope", json.dumps([{"path": lake.home("bob"), "access": "read"}]))
    with pytest.raises(Exception, match="gives no keys"):
        rows(job, home + "input")


def test_a_buckets_settings_go_first(alice, lake):
    session = alice.spark.newSession()
    session.conf.set(f"fs.s3a.bucket.{lake.bucket}.lakepass.token", lake.tokens["carol"])
    assert session.read.csv(lake.home("carol") + "genomes.csv").count() > 0
    assert refused(lambda: session.read.csv(lake.home("alice") + "genomes.csv").count())


def test_missing_settings_are_named(alice, lake):
    session = alice.spark.newSession()
    session.conf.set("fs.s3a.lakepass.url", "")
    with pytest.raises(Exception, match="Set fs.s3a.lakepass.url to the address"):
        session.read.csv(lake.home("alice") + "genomes.csv").count()


def test_after_the_session(alice, lake):
    """The last one: it ends alice's Spark."""
    application = alice.spark.sparkContext.applicationId
    secrets = [*lake.tokens.values(), *alice.secrets()]
    alice.spark.stop()
    events = alice.event_log(application)
    assert "SparkListenerApplicationEnd" in events and "fs.s3a.lakepass.token" in events, "the event log is in the lake"

    def threads_have_ended():
        alice.jvm.java.lang.System.gc()
        # The stopped context keeps the filesystem of its event log.
        return alice.threads() <= 1

    eventually(threads_have_ended, 30, "the provider's threads outlive the filesystems that Spark opened")
    log = alice.log.read_text(errors="replace")
    assert log.count("New Lakepass keys") > 3, "the log is the right one"
    assert not [secret[:4] + "…" for secret in secrets if secret in log or secret in events]


@pytest.fixture(scope="module")
def bob(alice):
    """Another user in alice's JVM."""
    return alice.newcomer("bob")
