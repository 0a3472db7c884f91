//! Files for their owner only, whole or not there.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, ErrorKind, Read, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use rustix::{fs::OFlags, process::geteuid};
use zeroize::Zeroizing;

/// A file that is there, but not as a secret has to be kept.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("{file} is refused: it {reason}. Remove it, or choose another")]
    Unsafe { file: String, reason: &'static str },
    #[error("{file}: {error}")]
    Io { file: String, error: io::Error },
}

/// The folder for files of a running program: `$XDG_RUNTIME_DIR/lakepass`, which goes with the login, or else the one for
/// caches.
pub fn runtime_folder(env: &dyn Fn(&str) -> Option<String>) -> Option<PathBuf> {
    absolute(env, "XDG_RUNTIME_DIR").map(|folder| folder.join("lakepass")).or_else(|| cache_folder(env))
}

/// The folder for what may be lost: `$XDG_CACHE_HOME/lakepass`, `~/.cache/lakepass`.
pub fn cache_folder(env: &dyn Fn(&str) -> Option<String>) -> Option<PathBuf> {
    let home = || absolute(env, "HOME").map(|home| home.join(".cache"));
    absolute(env, "XDG_CACHE_HOME").or_else(home).map(|folder| folder.join("lakepass"))
}

/// A relative path in these variables is to be ignored (XDG Base Directory Specification).
fn absolute(env: &dyn Fn(&str) -> Option<String>, name: &str) -> Option<PathBuf> {
    env(name).map(PathBuf::from).filter(|path| path.is_absolute())
}

/// Makes a folder for its owner only, unless it is there.
pub fn make_folder(path: &Path) -> Result<(), FileError> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|error| failed(path, error))
}

/// Puts this in the place of whatever is there. Only for who holds a lock: there is one unfinished file.
pub fn write(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let unfinished = path.with_added_extension("unfinished");
    let write = || {
        // One of an earlier run could be anybody's.
        remove(&unfinished)?;
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&unfinished)?;
        file.write_all(bytes)?;
        fs::rename(&unfinished, path)
    };
    write().map_err(|error| failed(path, error))
}

/// Reads a file that was kept as a secret has to be: ours, readable for nobody else, and itself, not a link to another.
pub fn read(path: &Path, max_bytes: u64) -> Result<Option<Zeroizing<Vec<u8>>>, FileError> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits();
    let opened = OpenOptions::new().read(true).custom_flags(flags.cast_signed()).open(path);
    let file = match opened {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(_) if fs::symlink_metadata(path).is_ok_and(|found| found.is_symlink()) => {
            return Err(not_safe(path, "is a symbolic link"));
        }
        Err(error) => return Err(failed(path, error)),
    };
    // Asked of the open file: a name could lead to another one by now.
    let found = file.metadata().map_err(|error| failed(path, error))?;
    if !found.is_file() {
        return Err(not_safe(path, "is not a file"));
    }
    if found.uid() != geteuid().as_raw() {
        return Err(not_safe(path, "belongs to somebody else"));
    }
    if found.mode() & 0o077 != 0 {
        return Err(not_safe(path, "is open to others"));
    }
    let mut bytes = Zeroizing::new(Vec::new());
    let read = file.take(max_bytes).read_to_end(&mut bytes);
    read.map(|_| Some(bytes)).map_err(|error| failed(path, error))
}

/// Takes the lock that goes with a file, if nobody has it. It is held until the value is dropped; its file stays, because
/// who removes it could take another's lock away.
pub fn try_lock(path: &Path) -> Result<Option<File>, FileError> {
    let path = path.with_added_extension("lock");
    let flags = OFlags::NOFOLLOW.bits().cast_signed();
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(0o600).custom_flags(flags);
    let file = options.open(&path).map_err(|error| failed(&path, error))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(fs::TryLockError::WouldBlock) => Ok(None),
        Err(fs::TryLockError::Error(error)) => Err(failed(&path, error)),
    }
}

pub fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn failed(path: &Path, error: io::Error) -> FileError {
    FileError::Io { file: path.display().to_string(), error }
}

fn not_safe(path: &Path, reason: &'static str) -> FileError {
    FileError::Unsafe { file: path.display().to_string(), reason }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn refusal(path: &Path) -> String {
        read(path, 100).unwrap_err().to_string()
    }

    #[test]
    fn what_was_written_is_private_and_replaces_whatever_was_there() {
        let folder = tempfile::tempdir().unwrap();
        let (path, other) = (folder.path().join("a"), folder.path().join("other"));
        assert!(read(&path, 100).unwrap().is_none());
        fs::write(&other, "other").unwrap();
        symlink(&other, &path).unwrap();
        for text in ["one", "two"] {
            write(&path, text.as_bytes()).unwrap();
            assert_eq!(read(&path, 100).unwrap().unwrap().as_slice(), text.as_bytes());
            assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        }
        assert_eq!(fs::read_to_string(&other).unwrap(), "other", "not through the link");
        assert_eq!(read(&path, 2).unwrap().unwrap().as_slice(), b"tw");
    }

    #[test]
    fn what_others_can_reach_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let (path, link) = (folder.path().join("a"), folder.path().join("link"));
        write(&path, b"secret").unwrap();
        symlink(&path, &link).unwrap();
        assert!(refusal(&link).contains("symbolic link"));
        assert!(refusal(folder.path()).contains("not a file"));
        for mode in [0o640, 0o604, 0o620, 0o602, 0o644] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            assert!(refusal(&path).contains("open to others"), "{mode:o}");
        }
    }

    #[test]
    fn a_lock_has_one_holder() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let held = try_lock(&path).unwrap();
        assert!(held.is_some() && try_lock(&path).unwrap().is_none());
        drop(held);
        assert!(try_lock(&path).unwrap().is_some());
    }

    #[test]
    fn folders_are_the_ones_of_the_account() {
        let env = |set: &[(&str, &str)]| {
            let set: Vec<(String, String)> = set.iter().map(|(a, b)| ((*a).into(), (*b).into())).collect();
            move |name: &str| set.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone())
        };
        let all = env(&[("XDG_RUNTIME_DIR", "/run/1"), ("XDG_CACHE_HOME", "/c"), ("HOME", "/h")]);
        assert_eq!(runtime_folder(&all).unwrap(), Path::new("/run/1/lakepass"));
        assert_eq!(cache_folder(&all).unwrap(), Path::new("/c/lakepass"));
        let home = env(&[("XDG_RUNTIME_DIR", "here"), ("XDG_CACHE_HOME", ""), ("HOME", "/h")]);
        assert_eq!(runtime_folder(&home).unwrap(), Path::new("/h/.cache/lakepass"));
        assert_eq!(runtime_folder(&env(&[])), None);
    }
}
