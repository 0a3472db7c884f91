"""A job of minutes, while its keys change under it."""

import os
import time

from lake import POLL_INTERVAL, eventually

SECONDS = int(os.environ.get("LAKEPASS_TEST_LONG_JOB_SECONDS", "180"))


def test_a_job_of_minutes_over_three_key_changes(alice, lake):
    spark, home = alice.spark, lake.home("alice")
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
    keys = [alice.access_key()]
    for change in range(1, 4):
        time.sleep(max(0, started + change * SECONDS / 4 - time.monotonic()))
        lake.share("bob", f"{lake.home('bob')}change-{change}", "alice")
        eventually(lambda: alice.access_key() != keys[-1], POLL_INTERVAL + 5)
        keys.append(alice.access_key())
    time.sleep(max(0, started + SECONDS - time.monotonic()))
    batches = query.lastProgress["batchId"]
    assert query.isActive and query.exception() is None
    query.stop()
    assert len(set(keys)) == 4
    tracker = spark.sparkContext.statusTracker()
    stages = [stage for job in tracker.getJobIdsForGroup(str(query.runId)) for stage in tracker.getJobInfo(job).stageIds]
    failed = sum(tracker.getStageInfo(stage).numFailedTasks for stage in stages if tracker.getStageInfo(stage))
    assert len(stages) > 0 and failed == 0
    assert spark.read.parquet(home + "stream").count() > 100 * SECONDS * 0.8
    print(f"{batches} batches, {len(stages)} stages, {failed} failed tasks, keys changed {len(set(keys)) - 1} times")
