"""A job of minutes, while its keys change under it: with Hadoop's cache on, so all of it goes through one filesystem."""

import os
import time

import pytest
from lake import POLL_INTERVAL, Session, eventually, refused

SECONDS = int(os.environ.get("LAKEPASS_TEST_LONG_JOB_SECONDS", "180"))


@pytest.fixture(scope="module")
def alice(lake, jars):
    session = Session(lake, "alice", "provider.conf", jars)
    yield session
    session.spark.stop()


def test_a_job_of_minutes_over_three_key_changes(alice, lake):
    spark, home, bob = alice.spark, lake.home("alice"), alice.newcomer("bob")
    filesystem = alice.filesystem()
    query = (
        spark.readStream.format("rate")
        .option("rowsPerSecond", 100)
        .load()
        .writeStream.format("parquet")
        .option("path", home + "stream")
        .option("checkpointLocation", home + "stream-checkpoint")
        .trigger(processingTime="1 second")
        .start()
    )
    started = time.monotonic()
    spark.sparkContext.setJobGroup("reads", "what was shared meanwhile")
    used = {alice.access_key()}
    for change in range(1, 4):
        time.sleep(max(0, started + change * SECONDS / 4 - time.monotonic()))
        folder = f"{lake.home('bob')}change-{change}"
        bob.range(100).write.parquet(folder)
        old = alice.keys()
        assert refused(lambda: alice.files(folder))
        lake.share("bob", folder, "alice")
        eventually(lambda: alice.access_key() != old[0], POLL_INTERVAL + 5)
        assert spark.read.parquet(folder).count() == 100
        assert refused(lambda: alice.files_with(old, folder)), "the old keys would have done it"
        assert alice.files_with(old, home), "and they are good otherwise"
        used.add(alice.access_key())
    time.sleep(max(0, started + SECONDS - time.monotonic()))
    batches = query.lastProgress["batchId"]
    assert query.isActive and query.exception() is None
    query.stop()
    assert alice.filesystem() == filesystem, "the same one all along"
    assert len(used) == 4
    tracker = spark.sparkContext.statusTracker()
    stream, reads = tracker.getJobIdsForGroup(str(query.runId)), tracker.getJobIdsForGroup("reads")
    stages = [tracker.getStageInfo(stage) for job in [*stream, *reads] for stage in tracker.getJobInfo(job).stageIds]
    assert len(stream) >= batches and None not in stages, "the tracker has forgotten some"
    assert len(reads) >= 3
    assert sum(stage.numFailedTasks for stage in stages) == 0
    assert spark.read.parquet(home + "stream").count() > 100 * SECONDS * 0.8
    print(f"{batches} batches, {len(stages)} stages, no failed task, keys changed {len(used) - 1} times")
