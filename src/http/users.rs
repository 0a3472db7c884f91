//! `/users/{user}`

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use secrecy::ExposeSecret;
use serde::Serialize;
use utoipa::ToSchema;
use zeroize::Zeroizing;

use super::{
    Problem, Shared,
    body::Name,
    caller::Caller,
    spark::{self, SparkSettings},
};
use crate::{
    broker::{self, Because, Standing, UserView, audited},
    identity::Username,
    lake::{Access, Grant, GroupName, LakePath, Principal, Role},
    minio::ledger::AccountState,
};

#[derive(Serialize, ToSchema)]
pub struct LakeKeyBody {
    username: String,
    access_key: String,
    /// In this answer only.
    #[schema(value_type = String)]
    secret_key: Zeroizing<String>,
    home: Vec<String>,
    groups: Vec<String>,
    #[schema(value_type = BTreeMap<String, String>)]
    spark: SparkSettings,
}

#[derive(Serialize, ToSchema)]
pub struct UserBody {
    username: String,
    disabled: bool,
    home: Vec<String>,
    groups: Vec<MembershipBody>,
    /// Everything that the user may reach, and why.
    access: Vec<ReachBody>,
    grants_received: Vec<GrantBody>,
    grants_given: Vec<GivenBody>,
    #[schema(value_type = Vec<Object>)]
    policies: Vec<crate::policy::PolicyDocument>,
    lake_keys: Vec<String>,
}

#[derive(Serialize, ToSchema)]
struct MembershipBody {
    group: String,
    role: Role,
}

#[derive(Serialize, ToSchema)]
pub(super) struct ReachBody {
    path: String,
    access: Access,
    because: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct GrantBody {
    path: String,
    access: Access,
    given_by: String,
    given_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
}

#[derive(Serialize, ToSchema)]
struct GivenBody {
    grantee: String,
    kind: &'static str,
    #[serde(flatten)]
    grant: GrantBody,
}

/// Creates what is missing of the user, and issues their lake key. An earlier one stops working.
#[utoipa::path(post, path = "/users/{user}", params(("user" = String, Path)), responses(
    (status = 200, body = LakeKeyBody), (status = "4XX", body = Problem), (status = "5XX", body = Problem),
))]
pub async fn issue(State(app): Shared, Caller(actor): Caller, Name(user): Name<Username>) -> Result<Response, Problem> {
    let (broker, by, of) = (app.broker.clone(), actor.clone(), user.clone());
    // What may fail comes first: once there is a new key, the one before is dead.
    let issue = async move {
        let view = match broker.user(&by, &of).await {
            Err(broker::Error::NotFound(_)) => {
                broker.ensure_user(&of).await?;
                broker.user(&by, &of).await?
            }
            view => view?,
        };
        Ok((broker.issue_lake_key(&by, &of).await?, view))
    };
    let (key, view) = audited(&actor, "issue lake key", user.to_string(), issue).await?;
    let home = urls(app.broker.lake().bucket(), &view.home);
    let secret = key.secret_key.expose_secret();
    let body = LakeKeyBody {
        username: user.to_string(),
        access_key: key.access_key.clone(),
        secret_key: secret.to_owned().into(),
        groups: view.groups.iter().map(|(group, _)| group.to_string()).collect(),
        spark: spark::with_lake_key(&app.s3_endpoint, home.first(), &key.access_key, secret),
        home,
    };
    Ok(Json(body).into_response())
}

/// What is the user's, and what they share.
#[utoipa::path(get, path = "/users/{user}", params(("user" = String, Path)), responses(
    (status = 200, body = UserBody), (status = "4XX", body = Problem), (status = "5XX", body = Problem),
))]
pub async fn show(
    State(app): Shared,
    Caller(actor): Caller,
    Name(user): Name<Username>,
) -> Result<Json<UserBody>, Problem> {
    let view = app.broker.user(&actor, &user).await?;
    Ok(Json(UserBody::new(app.broker.lake().bucket(), view)))
}

/// The same of the token's user.
#[utoipa::path(get, path = "/me", responses(
    (status = 200, body = UserBody), (status = "4XX", body = Problem), (status = "5XX", body = Problem),
))]
pub async fn me(State(app): Shared, Caller(actor): Caller) -> Result<Json<UserBody>, Problem> {
    app.broker.ensure_user(&actor.username).await?;
    let view = app.broker.user(&actor, &actor.username).await?;
    Ok(Json(UserBody::new(app.broker.lake().bucket(), view)))
}

impl UserBody {
    fn new(bucket: &str, view: UserView) -> Self {
        let given = view.given.into_iter().map(|given| {
            let (kind, grantee) = match given.grantee {
                Principal::User(user) => ("user", user.to_string()),
                Principal::Group(group) => ("group", group.to_string()),
            };
            GivenBody { grantee, kind, grant: GrantBody::new(bucket, &given.path, &given.grant) }
        });
        let membership = |(group, role): (GroupName, Role)| MembershipBody { group: group.to_string(), role };
        Self {
            username: view.username.to_string(),
            disabled: view.state != AccountState::Enabled,
            home: urls(bucket, &view.home),
            groups: view.groups.into_iter().map(membership).collect(),
            access: view.reaches.iter().map(|standing| ReachBody::new(bucket, standing)).collect(),
            grants_received: view.received.iter().map(|(path, grant)| GrantBody::new(bucket, path, grant)).collect(),
            grants_given: given.collect(),
            policies: view.policies,
            lake_keys: view.lake_keys,
        }
    }
}

impl GrantBody {
    pub(super) fn new(bucket: &str, path: &LakePath, grant: &Grant) -> Self {
        Self {
            path: path.url(bucket),
            access: grant.access,
            given_by: grant.given_by.to_string(),
            given_at: grant.given_at.to_string(),
            expires_at: grant.expires_at.map(|end| end.to_string()),
        }
    }
}

impl ReachBody {
    pub(super) fn new(bucket: &str, standing: &Standing) -> Self {
        let grant = match &standing.because {
            Because::Own | Because::Unreadable(_) => None,
            Because::Given(grant) => Some(grant),
            Because::Member { given, .. } => given.as_ref(),
        };
        Self {
            path: standing.path.url(bucket),
            access: standing.access,
            because: standing.reason(),
            expires_at: grant.and_then(|grant| grant.expires_at).map(|end| end.to_string()),
        }
    }
}

pub(super) fn urls(bucket: &str, paths: &[LakePath]) -> Vec<String> {
    paths.iter().map(|path| path.url(bucket)).collect()
}
