//! What a process of ours says, and what it leaves behind: no secret, whatever else it is asked to tell.

use tracing_subscriber::{
    EnvFilter,
    filter::{LevelFilter, Targets},
    fmt,
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

/// Sets up the log, and how the process may end. Once, before anything else.
pub fn set_up() -> std::io::Result<()> {
    log();
    log_panics();
    leave_no_core()
}

/// JSON lines on standard error, as `RUST_LOG` has it. What libraries print below `INFO`, such as requests, is not heard: that
/// there is no secret in it is not ours to promise.
fn log() {
    let asked = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let discreet = Targets::new().with_default(LevelFilter::INFO).with_target("lakepass", LevelFilter::TRACE);
    let lines = fmt::layer().json().with_writer(std::io::stderr);
    tracing_subscriber::registry().with(asked).with(discreet).with(lines).init();
}

/// A panic is a line of the log. Words that were made at run time are left out: they can hold any value.
fn log_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string);
        let words = panic.payload().downcast_ref::<&'static str>();
        tracing::error!(place, words, "panic");
    }));
}

/// The memory is full of secrets: it is neither written to a file nor shown to another process of the account.
#[cfg(target_os = "linux")]
fn leave_no_core() -> std::io::Result<()> {
    Ok(rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?)
}

#[cfg(not(target_os = "linux"))]
fn leave_no_core() -> std::io::Result<()> {
    let none = rustix::process::Rlimit { current: Some(0), maximum: Some(0) };
    Ok(rustix::process::setrlimit(rustix::process::Resource::Core, none)?)
}
