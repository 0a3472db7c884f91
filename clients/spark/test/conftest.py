import os
import pathlib
import shutil
import sys

import pytest

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parents[1] / "python" / "tests")]
from lake import Lake, Session, new_folder  # noqa: E402


@pytest.fixture(scope="session")
def lake():
    folder = new_folder()
    lake = Lake(folder)
    yield lake
    lake.close()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def jars():
    """For `spark.jars`: ours, then what Spark lacks for S3A and Delta."""
    return os.environ["LAKEPASS_TEST_JARS"].split(":")


@pytest.fixture(scope="session")
def alice(lake, jars):
    """alice's Spark session, with the jar. Several users come later, in the same JVM: so without the filesystem cache."""
    session = Session(lake, "alice", "provider.conf", jars, {"spark.hadoop.fs.s3a.impl.disable.cache": "true"})
    yield session
    session.spark.stop()  # Once more does no harm.
