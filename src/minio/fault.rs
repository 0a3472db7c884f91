//! Where tests end the process: before and after everything that changes something at MinIO. Debug builds only.

/// Kills this process, as `kill -9` does, when it comes here for the time that `LAKEPASS_FAULT_AT` says (from 1).
#[cfg(debug_assertions)]
pub(super) fn point() {
    use std::sync::{
        LazyLock,
        atomic::{AtomicU32, Ordering},
    };
    static AT: LazyLock<Option<u32>> = LazyLock::new(|| std::env::var("LAKEPASS_FAULT_AT").ok()?.parse().ok());
    static PASSED: AtomicU32 = AtomicU32::new(0);
    if AT.is_some_and(|at| PASSED.fetch_add(1, Ordering::SeqCst) + 1 == at) {
        let killed = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        unreachable!("{killed:?}");
    }
}

#[cfg(not(debug_assertions))]
pub(super) fn point() {}
