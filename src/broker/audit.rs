//! The audit log: one line of JSON a decision that matters.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::PathBuf,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};

use futures::future::BoxFuture;
use jiff::Timestamp;
use serde::Serialize;

use super::Error;
use crate::{
    identity::{Identity, Username},
    minio::{CALL_LIMIT, ledger},
};

/// Where audit lines go.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Sink {
    /// Into the log, with the target `lakepass::audit`.
    #[default]
    Log,
    Stdout,
    /// Opened for each line, so that it may be rotated at any time.
    File(PathBuf),
}

/// The audit log, and whether anything may be done that is not in it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Audit {
    pub sink: Sink,
    /// Nothing is done whose line cannot be written: a line is written before it too, whose result is `begun`.
    pub required: bool,
}

/// Who does something.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "actor", rename_all = "lowercase")]
pub enum Actor {
    User {
        user: Username,
        admin: bool,
    },
    /// The broker by itself, because it is due.
    Lakepass,
    /// Whoever runs `lakepass` with the broker's configuration.
    Operator,
}

impl From<&Identity> for Actor {
    fn from(identity: &Identity) -> Self {
        Self::User { user: identity.username.clone(), admin: identity.admin }
    }
}

#[derive(Clone, Default)]
struct Context {
    audit: Arc<Audit>,
    /// Empty for what no request asked for.
    request_id: String,
    known: Arc<Known>,
}

/// What is known of a request, should it be refused before anything was begun.
#[derive(Default)]
struct Known {
    by: OnceLock<Actor>,
    subject: OnceLock<String>,
    has_line: AtomicBool,
}

/// What a deed says of itself.
#[derive(Default)]
struct Notes {
    access_key: Option<String>,
    minio_user: Option<String>,
    owner: Option<Username>,
    failed: BTreeMap<String, String>,
}

tokio::task_local! {
    static CONTEXT: Context;
    static NOTES: RefCell<Notes>;
}

#[derive(Serialize)]
struct Line<'a> {
    time: Timestamp,
    #[serde(skip_serializing_if = "str::is_empty")]
    request_id: &'a str,
    #[serde(flatten)]
    by: &'a Actor,
    /// In whose name, if not in the user's own.
    #[serde(skip_serializing_if = "Option::is_none", rename = "as")]
    owner: Option<&'a Username>,
    action: &'a str,
    subject: &'a str,
    result: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// For whom it failed, if it did not for others.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    failed: BTreeMap<String, String>,
    /// Of keys that were given. MinIO's own audit log has it too.
    #[serde(skip_serializing_if = "Option::is_none")]
    access_key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    minio_user: Option<&'a str>,
    /// The documents that were changed, with their revisions; none for one that was deleted.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    ledger: BTreeMap<String, Option<u64>>,
}

/// Answers a request; lines that are written meanwhile have its id.
pub async fn for_request<T>(audit: Arc<Audit>, request_id: String, answer: impl Future<Output = T>) -> T {
    CONTEXT.scope(Context { audit, request_id, known: Arc::default() }, answer).await
}

/// Does what no request asked for; lines that are written meanwhile go where they should.
pub async fn without_request<T>(audit: Arc<Audit>, deed: impl Future<Output = T>) -> T {
    for_request(audit, String::new(), deed).await
}

/// What goes on in another task for the same request.
pub fn for_same_request<T>(answer: impl Future<Output = T>) -> impl Future<Output = T> {
    CONTEXT.scope(context(), answer)
}

fn context() -> Context {
    CONTEXT.try_with(Clone::clone).unwrap_or_default()
}

/// Does something to its end, whether the caller waits for it or not, and says in the audit log who did what to what, and
/// how it ended. A caller who hangs up leaves no change half done.
pub async fn audited<T: Send + 'static>(
    actor: impl Into<Actor>,
    action: &'static str,
    subject: String,
    deed: impl Future<Output = Result<T, Error>> + Send + 'static,
) -> Result<T, Error> {
    let by = actor.into();
    let task = tokio::spawn(for_same_request(async move { recorded(&by, action, &subject, deed).await }));
    task.await.unwrap_or_else(|panicked| std::panic::resume_unwind(panicked.into_panic()))
}

/// The same in the task of the caller. Where lines are required, nothing is done whose line cannot be written.
///
/// On the heap: repairs are deep, and the stack is not.
pub(super) fn recorded<'a, T: Send + 'a>(
    by: &'a Actor,
    action: &'a str,
    subject: &'a str,
    deed: impl Future<Output = Result<T, Error>> + Send + 'a,
) -> BoxFuture<'a, Result<T, Error>> {
    let deed: BoxFuture<'a, _> = Box::pin(deed);
    Box::pin(async move {
        let context = context();
        let line = |result| Line::new(&context, by, action, subject, result);
        if context.audit.required {
            context.write(line("begun")).await?;
        }
        let noting = async {
            let (result, changed) = ledger::noting(deed).await;
            (result, changed, NOTES.with(RefCell::take))
        };
        let (result, changed, notes) = NOTES.scope(RefCell::default(), noting).await;
        let written = context.write(Line {
            error: result.as_ref().err().map(Error::to_string),
            access_key: notes.access_key.as_deref(),
            minio_user: notes.minio_user.as_deref(),
            failed: notes.failed.clone(),
            owner: notes.owner.as_ref().filter(|owner| !matches!(by, Actor::User { user, .. } if user == *owner)),
            ledger: changed,
            ..line(match &result {
                Ok(_) if notes.failed.is_empty() => "done",
                Ok(_) => "partly done",
                Err(_) => "failed",
            })
        });
        written.await?;
        result
    })
}

/// Says in the audit log that somebody is given keys which were issued before, or why not.
pub async fn record_given(actor: &Identity, action: &'static str, given: Result<&str, &Error>) -> Result<(), Error> {
    let (context, by) = (context(), Actor::from(actor));
    let result = if given.is_ok() { "done" } else { "failed" };
    let line = Line::new(&context, &by, action, actor.username.as_str(), result);
    context.write(Line { access_key: given.ok(), error: given.err().map(Error::to_string), ..line }).await
}

/// The caller of this request is recognised, admitted or not.
pub fn note_caller(by: Actor) {
    CONTEXT.try_with(|context| context.known.by.set(by).ok()).ok();
}

/// What this request is about. Nothing that could be anything: see [`legible`].
pub fn note_subject(subject: &str) {
    CONTEXT.try_with(|context| context.known.subject.set(subject.to_owned()).ok()).ok();
}

/// Says in the audit log that this request was refused, if nothing says it yet and somebody is recognised.
///
/// Of nobody there are no lines: whoever reaches the port could fill the disk with wrong tokens (401) and with more than they
/// may ask (429). Those are counted, and in the log of requests.
pub async fn record_refusal(action: &str, why: Option<String>) {
    let context = context();
    let Some(by) = context.known.by.get().filter(|_| !context.known.has_line.load(Ordering::Relaxed)) else { return };
    let subject = context.known.subject.get().map_or("", String::as_str);
    // Nothing was done, so nothing is done unrecorded.
    context.write(Line { error: why, ..Line::new(&context, by, action, subject, "refused") }).await.ok();
}

/// The deed that is being done issues these keys.
pub(super) fn note_keys(access_key: &str, minio_user: &str) {
    note(|notes| {
        notes.access_key = Some(access_key.to_owned());
        notes.minio_user = Some(minio_user.to_owned());
    });
}

/// The deed that is being done is done in somebody's name.
pub(super) fn note_owner(owner: &Username) {
    note(|notes| notes.owner = Some(owner.clone()));
}

/// A name as it may be written down: what is none could be anything, a token in the wrong place included.
pub fn legible<T: std::str::FromStr>(name: &str) -> &str {
    if name.parse::<T>().is_ok() { name } else { "?" }
}

/// The deed that is being done fails for one of those that it is for.
pub(super) fn note_failed(whom: &str, error: &Error) {
    note(|notes| {
        notes.failed.insert(whom.to_owned(), error.to_string());
    });
}

fn note(note: impl FnOnce(&mut Notes)) {
    // Not every deed is audited: the demo lake's are not.
    NOTES.try_with(|notes| note(&mut notes.borrow_mut())).ok();
}

impl<'a> Line<'a> {
    fn new(context: &'a Context, by: &'a Actor, action: &'a str, subject: &'a str, result: &'static str) -> Self {
        Self {
            time: Timestamp::now(),
            request_id: &context.request_id,
            by,
            owner: None,
            action,
            subject,
            result,
            error: None,
            failed: BTreeMap::new(),
            access_key: None,
            minio_user: None,
            ledger: BTreeMap::new(),
        }
    }
}

impl Context {
    async fn write(&self, line: Line<'_>) -> Result<(), Error> {
        self.known.has_line.store(true, Ordering::Relaxed);
        self.audit.write(line).await
    }
}

impl Audit {
    /// [`Error::Unaudited`] only if lines are required.
    async fn write(&self, line: Line<'_>) -> Result<(), Error> {
        let json = serde_json::to_string(&line).unwrap_or_default();
        let write: Box<dyn FnOnce() -> std::io::Result<()> + Send> = match &self.sink {
            Sink::Log => {
                tracing::info!(target: "lakepass::audit", line = json, "decision");
                return Ok(());
            }
            Sink::Stdout => Box::new(move || writeln!(std::io::stdout().lock(), "{json}")),
            Sink::File(path) => {
                let path = path.clone();
                Box::new(move || {
                    let mut file = std::fs::OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
                    file.write_all((json + "\n").as_bytes())
                })
            }
        };
        let written = tokio::time::timeout(CALL_LIMIT, tokio::task::spawn_blocking(write)).await;
        let error = match written {
            Ok(Ok(Ok(()))) => return Ok(()),
            Ok(Ok(Err(error))) => error.to_string(),
            Ok(Err(_)) | Err(_) => "the line is not written in time".to_owned(),
        };
        tracing::error!(error, action = line.action, result = line.result, "the audit log cannot be written");
        metrics::counter!("lakepass_audit_lines_lost_total").increment(1);
        if self.required { Err(Error::Unaudited) } else { Ok(()) }
    }
}
