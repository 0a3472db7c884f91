//! Programs that are not ours: found, or installed by `go install` at a pinned version.

use std::{
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use tokio::process::Command;

/// A program that comes by `go install`.
#[derive(Debug, Clone, Copy)]
pub struct Tool {
    pub name: &'static str,
    package: &'static str,
    version: &'static str,
}

/// The server that everything was measured with.
pub const MINIO: Tool =
    Tool { name: "minio", package: "github.com/minio/minio", version: "v0.0.0-20260212201848-7aac2a2c5b7c" };

/// Its client.
pub const MC: Tool = Tool { name: "mc", package: "github.com/minio/mc", version: "v0.0.0-20250313080218-cf909e1063a9" };

/// How often a long installation says that it is still at work.
const SIGN_OF_LIFE: Duration = Duration::from_secs(15);

impl Tool {
    /// On PATH, in the tools folder, or installed there now.
    pub async fn find_or_install(self, tools: &Path) -> anyhow::Result<PathBuf> {
        let on_path =
            std::env::var_os("PATH").into_iter().flat_map(|path| std::env::split_paths(&path).collect::<Vec<_>>());
        let places = on_path.map(|folder| folder.join(self.name)).chain([tools.join(self.name)]);
        if let Some(found) = places.into_iter().find(|place| place.is_file()) {
            return Ok(found);
        }
        self.install(tools).await
    }

    async fn install(self, tools: &Path) -> anyhow::Result<PathBuf> {
        let package = format!("{}@{}", self.package, self.version);
        std::fs::create_dir_all(tools)?;
        let tools = tools.canonicalize()?;
        let name = self.name;
        eprintln!("{name} is not here: installing it with `go install {package}`, which takes some minutes once …");
        let started = Instant::now();
        let mut go = Command::new("go");
        go.args(["install", &package]).env("GOBIN", &tools).stdin(Stdio::null()).kill_on_drop(true);
        let mut installing = go.spawn().with_context(|| {
            format!("{name} is needed. Either put it on PATH, or install Go, and it is installed with `go install {package}`")
        })?;
        loop {
            match tokio::time::timeout(SIGN_OF_LIFE, installing.wait()).await {
                Ok(status) if status.as_ref().is_ok_and(ExitStatus::success) => return Ok(tools.join(name)),
                Ok(status) => bail!("`go install {package}` failed ({})", status?),
                Err(_) => eprintln!("… still building {name} ({} s)", started.elapsed().as_secs()),
            }
        }
    }
}
