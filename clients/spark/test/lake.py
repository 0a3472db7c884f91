"""A lake to test against (`lakepass dev`: the broker, a real MinIO, demo users) and Spark sessions on it."""

import json
import os
import pathlib
import signal
import subprocess
import tempfile
import time
import urllib.request

from pyspark import SparkConf, SparkContext
from pyspark.sql import SparkSession

REPOSITORY = pathlib.Path(__file__).resolve().parents[3]
DEPLOY = REPOSITORY / "deploy" / "spark"
SPARK = os.environ["LAKEPASS_TEST_SPARK"]
POLL_INTERVAL = 5
# What an operation of Spark may take on a busy machine, on top of the poll interval.
OPERATION = 5


class Lake:
    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        ready = self.folder / "ready.json"
        arguments = ["--dir", self.folder / "lake", "--ready-file", ready]
        for name in ("--listen", "--minio-listen", "--console-listen"):
            arguments += [name, "127.0.0.1:0"]
        self.log = open(self.folder / "broker.log", "w")
        # There is its MinIO, if other tests have installed it.
        self.process = subprocess.Popen(
            [os.environ["LAKEPASS_BIN"], "dev", *arguments], cwd=REPOSITORY, stdout=self.log, stderr=self.log
        )
        eventually(ready.exists, 180, "the lake does not start: see " + self.log.name)
        facts = json.loads(ready.read_text())
        self.url, self.minio_url = facts["url"], facts["minio_url"]
        self.tokens, self.bucket = facts["tokens"], facts["bucket"]

    def close(self):
        self.process.terminate()
        self.process.wait(30)
        self.log.close()

    def home(self, user):
        return f"s3a://{self.bucket}/users-warehouse/{user}/"

    def call(self, user, method, path, body=None):
        """Asks the broker; the answer's JSON, or nothing."""
        request = urllib.request.Request(
            self.url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": self.tokens[user], "Content-Type": "application/json"},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            text = answer.read()
        return json.loads(text) if text else None

    def share(self, owner, path, user):
        self._change(owner, "share", {"path": path, "with_users": [user], "access": "read"})

    def unshare(self, owner, path, user):
        self._change(owner, "unshare", {"path": path, "from_users": [user]})

    def _change(self, owner, what, body):
        answer = self.call(owner, "POST", f"/users/{owner}/{what}", body)
        assert all(result["ok"] for result in answer["results"]), answer

    def revoke(self, user):
        """All of a user's session keys, at once."""
        self.call(user, "DELETE", "/sessions")

    def token_file(self, user):
        path = self.folder / f"token-{user}"
        path.write_text(self.tokens[user])
        return path

    def stop_answering(self):
        """The broker hangs; MinIO, a process of its own, goes on."""
        self.process.send_signal(signal.SIGSTOP)

    def answer_again(self):
        self.process.send_signal(signal.SIGCONT)


class Session:
    """A Spark session for a user, configured by a file of deploy/spark."""

    def __init__(self, lake, user, file, jars, more=None, master="local[2]"):
        self.lake = lake
        conf = SparkConf().setMaster(master).setAppName("lakepass")
        for name, value in settings(lake, user, file, jars).items():
            conf.set(name, value)
        conf.set("spark.hadoop.fs.s3a.lakepass.poll.interval", f"{POLL_INTERVAL}s")
        conf.set("spark.hadoop.fs.s3a.lakepass.duration", "900s")
        conf.set("spark.ui.enabled", "false")
        conf.set("spark.ui.showConsoleProgress", "false")
        # One JVM, small data.
        conf.set("spark.databricks.delta.snapshotPartitions", "2")
        conf.set("spark.sql.shuffle.partitions", "2")
        conf.set("spark.eventLog.compress", "false")
        conf.set("spark.sql.extensions", "io.delta.sql.DeltaSparkSessionExtension")
        conf.set("spark.sql.catalog.spark_catalog", "org.apache.spark.sql.delta.catalog.DeltaCatalog")
        self.log = lake.folder / "spark.log"
        log4j = pathlib.Path(__file__).parent / "log4j2.properties"
        conf.set("spark.driver.extraJavaOptions", f"-Dlog4j2.configurationFile=file:{log4j} -Dlakepass.test.log={self.log}")
        for name, value in (more or {}).items():
            conf.set(name, value)
        self._make_event_log_folder(conf)
        self.spark = SparkSession.builder.config(conf=conf).getOrCreate()
        self.jvm = self.spark.sparkContext._jvm
        self.hadoop = self.spark.sparkContext._jsc.hadoopConfiguration()

    def access_key(self):
        """The id of the keys that alice's filesystems use now."""
        return self.keys()[0]

    def secrets(self):
        """The secrets in use now."""
        return self.keys()[1:]

    def keys(self):
        uri = self.jvm.java.net.URI.create(self.lake.home("alice"))
        provider = self.jvm.org.lakepass.spark.LakepassCredentialsProvider(uri, self.hadoop)
        try:
            if SPARK == "4.0":
                keys = provider.resolveCredentials()
                return keys.accessKeyId(), keys.secretAccessKey(), keys.sessionToken()
            keys = provider.getCredentials()
            return keys.getAWSAccessKeyId(), keys.getAWSSecretKey(), keys.getSessionToken()
        finally:
            provider.close()

    def threads(self):
        """The provider's threads that are alive."""
        threads = self.jvm.java.lang.Thread.getAllStackTraces().keySet()
        return sum(thread.getName().startswith("lakepass-keys-") for thread in threads)

    def filesystem(self):
        """The one that Spark works with, if Hadoop's cache is on."""
        return self.jvm.org.apache.hadoop.fs.Path(self.lake.home("alice")).getFileSystem(self.hadoop)

    def files(self, folder):
        return self._list(folder, self.hadoop)

    def files_with(self, keys, folder):
        """The same with these keys, whatever the provider has."""
        conf = self.jvm.org.apache.hadoop.conf.Configuration(self.hadoop)
        conf.set("fs.s3a.impl.disable.cache", "true")
        conf.set("fs.s3a.aws.credentials.provider", "org.apache.hadoop.fs.s3a.TemporaryAWSCredentialsProvider")
        for name, value in zip(("access.key", "secret.key", "session.token"), keys, strict=True):
            conf.set(f"fs.s3a.{name}", value)
        return self._list(folder, conf)

    def _list(self, folder, conf):
        path = self.jvm.org.apache.hadoop.fs.Path(folder)
        return [status.getPath().getName() for status in path.getFileSystem(conf).listStatus(path)]

    def newcomer(self, user):
        """Another user's Spark session in this JVM, with filesystems of its own."""
        session = self.spark.newSession()
        session.conf.set("fs.s3a.impl.disable.cache", "true")
        session.conf.set("fs.s3a.lakepass.token.file", str(self.lake.token_file(user)))
        return session

    def event_log(self, application):
        """All that the event log of an application says. It is complete when the application has ended."""
        there = self.jvm.org.apache.hadoop.fs.Path(self.lake.home("alice") + "spark-events")
        here = self.lake.folder / "spark-events"
        there.getFileSystem(self.hadoop).copyToLocalFile(there, self.jvm.org.apache.hadoop.fs.Path(f"file://{here}"))
        files = [path for path in here.rglob("*") if path.is_file() and application in str(path.relative_to(here))]
        return "".join(path.read_text(errors="replace") for path in files)

    @staticmethod
    def _make_event_log_folder(conf):
        SparkContext._ensure_initialized(conf=conf)
        jvm = SparkContext._jvm
        hadoop = jvm.org.apache.hadoop.conf.Configuration()
        for name, value in conf.getAll():
            if name.startswith("spark.hadoop."):
                hadoop.set(name[len("spark.hadoop.") :], value)
        path = jvm.org.apache.hadoop.fs.Path(conf.get("spark.eventLog.dir"))
        filesystem = path.getFileSystem(hadoop)
        filesystem.mkdirs(path)
        filesystem.close()


def settings(lake, user, file, jars):
    """What a file of deploy/spark says, with its placeholders replaced as its head tells."""
    replacements = {
        "S3_ENDPOINT": lake.minio_url,
        "TOKEN_FILE": str(lake.token_file(user)),
        "BROKER": lake.url,
        "USERNAME": user,
        "TOKEN": lake.tokens[user],
        "JARS": ",".join(jars),
    }
    found = {}
    for line in (DEPLOY / file).read_text().splitlines():
        if line and not line.startswith("#"):
            name, value = line.split(None, 1)
            if value in replacements:
                value = replacements[value]
            for placeholder in ("BROKER", "USERNAME"):
                value = value.replace(placeholder, replacements[placeholder])
            found[name] = value
    return found


def eventually(condition, seconds, message="", every=0.2):
    """Waits until it holds; how many seconds that took."""
    started = time.monotonic()
    while not condition():
        assert time.monotonic() - started < seconds, message or f"not within {seconds} s"
        time.sleep(every)
    return time.monotonic() - started


def refused(operation):
    """Whether the store denies it; any other failure is raised."""
    try:
        operation()
    except Exception as failure:
        if "AccessDenied" in str(failure) or "Access Denied" in str(failure):
            return True
        raise
    return False


def new_folder():
    return tempfile.mkdtemp(prefix="lakepass-spark-")
