//! Sessions: issued, listed, revoked.

use std::time::Duration;

use super::{Broker, Error, Revoke, settle::Secret, unknown_user};
use crate::{
    identity::{Identity, Username},
    lake::{Access, LakePath, Lifetime, LifetimeError, Scope},
    minio::{
        AccessKey, MinioError, SessionKeys,
        ledger::{AccountState, Change, Generation, UserDoc},
    },
    policy::SessionPolicy,
};

/// What a session is asked to be. What is left out is the configuration's.
#[derive(Debug, Default)]
pub struct SessionRequest {
    pub duration: Option<Duration>,
    pub scope: Option<Scope>,
}

pub struct IssuedSession {
    pub keys: SessionKeys,
    pub policy: SessionPolicy,
}

impl Broker {
    pub async fn issue_session(&self, actor: &Identity, request: SessionRequest) -> Result<IssuedSession, Error> {
        let token_left = actor.expires_at.duration_since(self.now());
        let token_left = Duration::try_from(token_left).unwrap_or_default();
        let asked = request.duration.unwrap_or(self.limits.default.min(token_left).max(crate::lake::MIN_LIFETIME));
        let life = Lifetime::new(asked, self.limits.max, token_left).map_err(|error| match error {
            LifetimeError::OutOfRange { .. } => Error::Invalid(error.to_string()),
            LifetimeError::TokenEnds { .. } => Error::TokenEnds(error.to_string()),
        })?;
        let scope = request.scope.unwrap_or_else(|| self.limits.default_scope.clone());
        let doc = self.ensure_user(&actor.username).await?;
        match self.assume(&doc, life, &scope).await {
            // MinIO does not know the user, or not with this secret: somebody changed it behind our back.
            Err(Error::Minio(MinioError::Denied { .. } | MinioError::NotFound { .. } | MinioError::Refused { .. })) => {
                let doc = self.settle_user(&actor.username, Secret::Reset).await?;
                let doc = doc.ok_or_else(|| unknown_user(&actor.username))?;
                self.assume(&doc, life, &scope).await
            }
            issued => issued,
        }
    }

    async fn assume(&self, doc: &UserDoc, life: Lifetime, scope: &Scope) -> Result<IssuedSession, Error> {
        if doc.state != AccountState::Enabled {
            return Err(Error::Disabled(doc.username.clone()));
        }
        let standing = self.standing(doc).await?;
        let granted: Vec<(LakePath, Access)> = standing.into_iter().map(|s| (s.path, s.access)).collect();
        if let Scope::Listed(listed) = scope {
            let within = |(path, access): &&(LakePath, Access)| {
                granted.iter().any(|(above, most)| above.covers(path) && most >= access)
            };
            if let Some((path, _)) = listed.iter().find(|wanted| !within(wanted)) {
                return Err(Error::ScopeExceeds(path.to_string()));
            }
        }
        let policy = SessionPolicy::ceiling(&self.templates, self.lake.bucket(), &granted, scope)
            .map_err(|error| Error::Invalid(error.to_string()))?;
        let keys = self.minio.assume_role(&doc.session_user.user, &policy.json, life).await?;
        Ok(IssuedSession { keys, policy })
    }

    /// The keys of the user's sessions that are not over, as MinIO has them.
    pub async fn sessions(&self, user: &Username) -> Result<Vec<AccessKey>, Error> {
        let doc = self.known_user(user).await?;
        Ok(self.minio.sessions(&doc.session_user.user).await?)
    }

    /// Ends all sessions of the user, at once and for good: the next generation of their MinIO user is made, and this one
    /// deleted.
    pub async fn revoke(&self, user: &Username, what: Revoke) -> Result<(), Error> {
        let next = Generation::new(user);
        let revoked = self.ledger.update::<UserDoc, Error>(user, |doc| {
            let mut doc = doc.ok_or_else(|| unknown_user(user))?;
            doc.retired.push(std::mem::replace(&mut doc.session_user, next.clone()).user);
            if what == Revoke::SessionsAndLakeKeys {
                doc.retired.extend(doc.key_user.take().map(|generation| generation.user));
                doc.lake_keys.clear();
            }
            Ok(Change::Put(doc))
        });
        revoked.await?;
        self.settle_user(user, Secret::Trust).await.map(|_| ())
    }
}
