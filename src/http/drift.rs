//! `/admin/drift` and `/admin/reconcile`

use axum::{Json, extract::State};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{Problem, Shared, body::Body, caller::Caller};
use crate::{
    broker::{self, Drift, Mended, Repair, audited},
    minio::Listing,
};

#[derive(Serialize, ToSchema)]
pub struct DriftBody {
    drift: Vec<DriftLine>,
    /// What an operator should know of the MinIO behind.
    warnings: Vec<&'static str>,
}

/// One thing that is at MinIO another way than the ledger says.
#[derive(Serialize, ToSchema)]
struct DriftLine {
    /// Such as `policy-detached`: see docs/operators.md.
    kind: &'static str,
    /// `user NAME` or `group NAME`, if it is certainly theirs.
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<String>,
    detail: String,
}

#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ReconcileBody {
    /// Only says what differs.
    #[serde(default)]
    dry_run: bool,
}

#[derive(Serialize, ToSchema)]
pub struct ReconciledBody {
    dry_run: bool,
    repairs: Vec<RepairLine>,
}

#[derive(Serialize, ToSchema)]
struct RepairLine {
    #[serde(flatten)]
    drift: DriftLine,
    /// `found` (a dry run), `repaired`, `left` or `failed`.
    outcome: &'static str,
    /// Why it was left, or failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// What differs between the ledger and MinIO.
#[utoipa::path(get, path = "/admin/drift", responses(
    (status = 200, body = DriftBody), (status = "4XX", body = Problem), (status = "5XX", body = Problem),
))]
pub async fn show(State(app): Shared, Caller(actor): Caller) -> Result<Json<DriftBody>, Problem> {
    let drift = app.broker.drift_for(&actor).await?;
    let warnings = match app.broker.check_listing().await.map_err(broker::Error::Minio)? {
        Listing::AsThePolicySays => Vec::new(),
        Listing::CanBeTalkedPast => vec![Listing::WARNING],
    };
    Ok(Json(DriftBody { drift: drift.iter().map(line).collect(), warnings }))
}

/// Repairs what differs, and says what became of each.
#[utoipa::path(post, path = "/admin/reconcile", request_body = Option<ReconcileBody>, responses(
    (status = 200, body = ReconciledBody), (status = "4XX", body = Problem), (status = "5XX", body = Problem),
))]
pub async fn reconcile(
    State(app): Shared,
    Caller(actor): Caller,
    Body(body): Body<ReconcileBody>,
) -> Result<Json<ReconciledBody>, Problem> {
    if body.dry_run {
        let found = |drift| RepairLine { drift: line(drift), outcome: "found", reason: None };
        let repairs = app.broker.drift_for(&actor).await?.iter().map(found).collect();
        return Ok(Json(ReconciledBody { dry_run: true, repairs }));
    }
    let by = actor.clone();
    let repairs = async move { app.broker.reconcile_for(&by).await };
    let repairs = audited(&actor, "reconcile", "everything".into(), repairs).await?;
    let repair = |repair: Repair| RepairLine {
        drift: line(&repair.drift),
        outcome: repair.mended.name(),
        reason: match repair.mended {
            Mended::Done => None,
            Mended::Left(reason) => Some(reason.to_owned()),
            Mended::Failed(error) => Some(Problem::from(error).detail().to_owned()),
        },
    };
    Ok(Json(ReconciledBody { dry_run: false, repairs: repairs.into_iter().map(repair).collect() }))
}

fn line(drift: &Drift) -> DriftLine {
    let subject = drift.of.as_ref().map(ToString::to_string);
    DriftLine { kind: drift.kind.name(), subject, detail: drift.sentence() }
}
