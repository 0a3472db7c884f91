//! The audit log: one line a decision that matters.

use super::Error;
use crate::identity::Identity;

/// Does something to its end, whether the caller waits for it or not, and says in the audit log who did what to what, and
/// how it ended. A caller who hangs up leaves no change half done.
pub async fn audited<T: Send + 'static>(
    actor: &Identity,
    action: &'static str,
    subject: String,
    deed: impl Future<Output = Result<T, Error>> + Send + 'static,
) -> Result<T, Error> {
    let by = actor.clone();
    let task = tokio::spawn(async move {
        let result = deed.await;
        record(&by, action, &subject, result.as_ref().err());
        result
    });
    task.await.unwrap_or_else(|panicked| std::panic::resume_unwind(panicked.into_panic()))
}

/// Says in the audit log who did what to what, and why not, if it failed.
pub fn record(actor: &Identity, action: &'static str, subject: &str, error: Option<&Error>) {
    let outcome = error.map_or("done".to_owned(), Error::to_string);
    tracing::info!(
        target: "lakepass::audit",
        action,
        user.name = actor.username.as_str(),
        user.admin = actor.admin,
        subject,
        ok = error.is_none(),
        outcome,
        "decision"
    );
}
