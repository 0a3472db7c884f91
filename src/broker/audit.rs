//! The audit log: one line a decision that matters.

use super::Error;
use crate::identity::Identity;

/// Does something, and says in the audit log who did what to what, and how it ended.
pub async fn audited<T>(
    actor: &Identity,
    action: &'static str,
    subject: &str,
    deed: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let result = deed.await;
    let outcome = match &result {
        Ok(_) => "done".to_owned(),
        Err(error) => error.to_string(),
    };
    tracing::info!(
        target: "lakepass::audit",
        action,
        user.name = actor.username.as_str(),
        user.admin = actor.admin,
        subject,
        ok = result.is_ok(),
        outcome = outcome.as_str(),
        "decision"
    );
    result
}
