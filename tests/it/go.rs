//! Small Go programs with other people's published modules: `tests/go`.

use std::{
    io::{ErrorKind, Write},
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    thread,
};

/// A program of `tests/go`, built. It is gone with this value.
pub struct GoProgram {
    program: PathBuf,
    _folder: tempfile::TempDir,
}

impl GoProgram {
    pub fn build(name: &str) -> Self {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/go");
        let folder = tempfile::tempdir().unwrap();
        let program = folder.path().join(name);
        let built = Command::new("go")
            .args(["build", "-mod=readonly", "-o"])
            .arg(&program)
            .arg(format!("./{name}"))
            .current_dir(&source)
            .output();
        let built = match built {
            Err(error) if error.kind() == ErrorKind::NotFound && source.is_dir() => {
                panic!("this test needs Go: install Go 1.24 or newer (https://go.dev/dl/), so that `go` is on the PATH")
            }
            other => other.unwrap_or_else(|error| panic!("`go build` in {}: {error}", source.display())),
        };
        assert!(
            built.status.success(),
            "`go build` in {} failed; it needs Go 1.24 or newer, and its modules from the cache or a module proxy:\n{}",
            source.display(),
            String::from_utf8_lossy(&built.stderr)
        );
        Self { program, _folder: folder }
    }

    pub fn command(&self) -> Command {
        Command::new(&self.program)
    }

    /// Runs it with this on its standard input.
    pub fn run(&self, input: &str) -> Output {
        let mut child =
            self.command().stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        // From a thread of its own: the program may answer while it reads, and a pipe holds only so much.
        thread::scope(|scope| {
            scope.spawn(move || stdin.write_all(input.as_bytes()).unwrap());
            child.wait_with_output().unwrap()
        })
    }
}
