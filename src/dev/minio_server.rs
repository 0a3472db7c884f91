//! A real MinIO as a child process.

use std::{
    io::{BufRead, BufReader},
    net::{SocketAddr, TcpListener},
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use secrecy::{ExposeSecret, SecretString};

/// Runs the server, ends it, stopped or not, when its own standard input ends, and ends with it: so the server never outlives us, however
/// we end, and we see if it ends.
const WATCHED: &str = r#"exec 3<&0; "$@" </dev/null 3<&- & server=$!; echo "$server"
(read -r _ <&3; kill "$server" 2>/dev/null; kill -CONT "$server" 2>/dev/null) & wait "$server""#;

/// How long a MinIO may take to come up.
const START_LIMIT: Duration = Duration::from_secs(60);

/// A MinIO server that ends with this value.
pub struct MinioServer {
    watcher: Child,
    pid: u32,
    pub address: SocketAddr,
    pub console: SocketAddr,
    pub root_user: String,
    pub root_password: SecretString,
}

impl MinioServer {
    /// Starts MinIO on a folder, and waits until it answers. A port of 0 picks a free one.
    pub async fn start(
        binary: &Path,
        data: &Path,
        address: SocketAddr,
        console: SocketAddr,
        root_user: &str,
        root_password: SecretString,
    ) -> anyhow::Result<Self> {
        std::fs::create_dir_all(data)?;
        let (address, console) = (free_port(address)?, free_port(console)?);
        let log = std::fs::File::create(data.with_extension("log"))?;
        let mut watcher = Command::new("/bin/sh")
            .args(["-c", WATCHED, "minio-watcher"])
            .arg(binary)
            .args(["server", "--quiet", "--address", &address.to_string(), "--console-address", &console.to_string()])
            .arg(data)
            .env("MINIO_ROOT_USER", root_user)
            .env("MINIO_ROOT_PASSWORD", root_password.expose_secret())
            // A terminal's Ctrl-C is for us: we end the server.
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .context("starting MinIO")?;
        let mut first_line = String::new();
        BufReader::new(watcher.stdout.take().context("MinIO's watcher has no output")?).read_line(&mut first_line)?;
        let pid = first_line.trim().parse().context("MinIO's watcher did not start it")?;
        let root_user = root_user.to_owned();
        let mut server = Self { watcher, pid, address, console, root_user, root_password };
        server.wait_until_ready().await.with_context(|| format!("see {}", data.with_extension("log").display()))?;
        Ok(server)
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Sends a signal, such as `STOP` and `CONT`.
    pub fn signal(&self, name: &str) -> std::io::Result<()> {
        Command::new("kill").args([&format!("-{name}"), &self.pid.to_string()]).status().map(|_| ())
    }

    async fn wait_until_ready(&mut self) -> anyhow::Result<()> {
        let client = reqwest::Client::new();
        let urls = [format!("{}/minio/health/ready", self.url()), format!("http://{}/", self.console)];
        let started = Instant::now();
        while started.elapsed() < START_LIMIT {
            // Else somebody else's MinIO on the same port could pass for ours.
            if self.watcher.try_wait()?.is_some() {
                bail!("MinIO ended");
            }
            let mut answers = 0;
            for url in &urls {
                answers += usize::from(client.get(url).send().await.is_ok_and(|answer| answer.status().is_success()));
            }
            if answers == urls.len() {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        bail!("MinIO did not answer within {} s", START_LIMIT.as_secs())
    }
}

impl Drop for MinioServer {
    fn drop(&mut self) {
        drop(self.watcher.stdin.take());
        let _ = self.watcher.wait();
    }
}

/// MinIO cannot be asked which port it took, so a free one is found for it.
fn free_port(address: SocketAddr) -> std::io::Result<SocketAddr> {
    if address.port() == 0 { TcpListener::bind(address)?.local_addr() } else { Ok(address) }
}
