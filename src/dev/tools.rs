//! Programs that are not ours: found, or installed by `go install` at a pinned version.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, bail};

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

impl Tool {
    /// On PATH, in the tools folder, or installed there now.
    pub fn find_or_install(self, tools: &Path) -> anyhow::Result<PathBuf> {
        let on_path =
            std::env::var_os("PATH").into_iter().flat_map(|path| std::env::split_paths(&path).collect::<Vec<_>>());
        let places = on_path.map(|folder| folder.join(self.name)).chain([tools.join(self.name)]);
        if let Some(found) = places.into_iter().find(|place| place.is_file()) {
            return Ok(found);
        }
        self.install(tools)
    }

    fn install(self, tools: &Path) -> anyhow::Result<PathBuf> {
        let package = format!("{}@{}", self.package, self.version);
        std::fs::create_dir_all(tools)?;
        let tools = tools.canonicalize()?;
        eprintln!(
            "{} is not here: installing it with `go install {package}`, which takes some minutes once …",
            self.name
        );
        // What it prints is the progress.
        let status = Command::new("go").args(["install", &package]).env("GOBIN", &tools).stdin(Stdio::null()).status();
        match status {
            Ok(status) if status.success() => Ok(tools.join(self.name)),
            Ok(status) => bail!("`go install {package}` failed ({status})"),
            Err(error) => Err(error).with_context(|| {
                format!(
                    "{} is needed. Either put it on PATH, or install Go, and it is installed with `go install {package}`",
                    self.name
                )
            }),
        }
    }
}
