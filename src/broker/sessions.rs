//! Sessions: issued, kept, listed, revoked.

use std::{sync::Arc, time::Duration};

use super::{
    Because, Broker, Error, Revoke, Standing, audit, require_self,
    session_cache::{CachedSession, SessionKey},
    settle::Secret,
    unknown_user,
};
use crate::{
    identity::{Identity, Username},
    lake::{Access, LakePath, Lifetime, LifetimeError, Scope},
    minio::{
        AccessKey, MinioError, SessionKeys,
        ledger::{AccountState, Change, Generation, UserDoc},
    },
    policy::{Narrowing, SessionPolicy},
};

/// How far MinIO's clock may be ahead of ours: keys are never to outlive a token.
const CLOCKS: Duration = Duration::from_secs(2);

/// What a session is asked to be. What is left out is the configuration's.
#[derive(Debug, Clone, Default)]
pub struct SessionRequest {
    pub duration: Option<Duration>,
    pub scope: Option<Scope>,
    /// What the session is to be narrowed to, besides.
    pub narrow: Option<Narrowing>,
}

pub struct IssuedSession {
    pub keys: SessionKeys,
    pub policy: SessionPolicy,
}

impl Broker {
    /// Issues session keys that nobody has had before.
    pub async fn issue_session(&self, actor: &Identity, request: &SessionRequest) -> Result<IssuedSession, Error> {
        let life = self.lifetime(actor, request)?;
        let doc = self.ensure_user(&actor.username).await?;
        let standing = self.standing(&doc).await?;
        let policy = self.ceiling(&doc, standing, request)?;
        self.assume(&doc, policy, life).await
    }

    /// Session keys that serve everybody who asks for the same: kept until half of their life is over, or the user's ledger
    /// document or groups make other ones. What changed elsewhere counts within [`super::snapshots::FRESH_FOR`].
    pub async fn shared_session(
        &self,
        actor: &Identity,
        request: &SessionRequest,
    ) -> Result<Arc<CachedSession>, Error> {
        let life = match self.lifetime(actor, request) {
            // Kept keys may still live as long as the token does.
            Err(error) if !matches!(error, Error::TokenEnds(_)) => return Err(error),
            life => life,
        };
        let snapshot = self.snapshot(&actor.username).await?;
        let policy = self.ceiling(&snapshot.doc, snapshot.standing.clone(), request)?;
        let key = SessionKey {
            user: snapshot.doc.session_user.user.clone(),
            policy: policy.json.clone(),
            asked: self.asked(request),
        };
        let issue = async {
            let life = life?;
            self.count(&actor.username)?;
            self.assume(&snapshot.doc, policy, life).await
        };
        self.session_cache.get(key, self.now(), actor.expires_at, issue).await.map_err(|error| match error {
            Error::Minio(MinioError::Refused { .. }) if request.narrow.is_some() => Error::PolicyRefused,
            error => error,
        })
    }

    pub fn longest_session(&self) -> Duration {
        self.limits.max
    }

    fn asked(&self, request: &SessionRequest) -> Duration {
        request.duration.unwrap_or(self.limits.default)
    }

    fn lifetime(&self, actor: &Identity, request: &SessionRequest) -> Result<Lifetime, Error> {
        let token_left = actor.expires_at.duration_since(self.now());
        let token_left = Duration::try_from(token_left).unwrap_or_default().saturating_sub(CLOCKS);
        Lifetime::new(self.asked(request), self.limits.max, token_left).map_err(|error| match error {
            LifetimeError::OutOfRange { .. } => Error::Invalid(error.to_string()),
            LifetimeError::TokenEnds { .. } => Error::TokenEnds(error.to_string()),
        })
    }

    fn ceiling(
        &self,
        doc: &UserDoc,
        standing: Vec<Standing>,
        request: &SessionRequest,
    ) -> Result<SessionPolicy, Error> {
        if doc.state != AccountState::Enabled {
            return Err(Error::Disabled(doc.username.clone()));
        }
        let mut scope = request.scope.as_ref().unwrap_or(&self.limits.default_scope);
        // What was given to a group whose record is damaged is not known here, but to MinIO.
        if *scope == Scope::Granted && standing.iter().any(|s| matches!(s.because, Because::Unreadable(_))) {
            scope = &Scope::Lake;
        }
        let granted: Vec<(LakePath, Access)> = standing.into_iter().map(|s| (s.path, s.access)).collect();
        if let Scope::Listed(listed) = scope {
            let within = |(path, access): &&(LakePath, Access)| {
                granted.iter().any(|(above, most)| above.covers(path) && most >= access)
            };
            if let Some((path, _)) = listed.iter().find(|wanted| !within(wanted)) {
                return Err(Error::ScopeExceeds(path.to_string()));
            }
        }
        SessionPolicy::ceiling(&self.templates, self.lake.bucket(), &granted, scope, request.narrow.as_ref())
            .map_err(Error::PolicyTooLarge)
    }

    /// Whose session a session token is of, if it is one of these keys and may still be used.
    pub async fn session_owner(&self, access_key: &str, session_token: &str) -> Result<Option<Username>, Error> {
        let Some(parent) = self.minio.session_parent(access_key, session_token).await? else { return Ok(None) };
        let Some(user) = parent.username() else { return Ok(None) };
        self.count(&user)?;
        let doc = self.ledger.read::<UserDoc>(&user).await?;
        let is_theirs = |doc: &UserDoc| doc.state == AccountState::Enabled && doc.session_user.user == parent;
        Ok(doc.filter(is_theirs).map(|doc| doc.username))
    }

    async fn assume(&self, doc: &UserDoc, policy: SessionPolicy, life: Lifetime) -> Result<IssuedSession, Error> {
        let keys = match self.minio.assume_role(&doc.session_user.user, &policy.json, life).await {
            // MinIO does not know the user, or not with this secret: somebody changed it behind our back.
            Err(MinioError::Denied { .. } | MinioError::NotFound { .. } | MinioError::Refused { .. }) => {
                let doc = self.settle_user(&doc.username, Secret::Reset).await?;
                let doc = doc.ok_or_else(|| Error::Conflict("the account was deleted meanwhile".into()))?;
                if doc.state != AccountState::Enabled {
                    return Err(Error::Disabled(doc.username));
                }
                self.minio.assume_role(&doc.session_user.user, &policy.json, life).await?
            }
            keys => keys?,
        };
        audit::note_keys(&keys.access_key_id, doc.session_user.user.as_str());
        Ok(IssuedSession { keys, policy })
    }

    /// The keys of the user's sessions that are not over, as MinIO has them. None of who was never here.
    pub async fn sessions(&self, user: &Username) -> Result<Vec<AccessKey>, Error> {
        match self.ledger.read::<UserDoc>(user).await? {
            Some(doc) => Ok(self.minio.sessions(&doc.session_user.user).await?),
            None => Ok(Vec::new()),
        }
    }

    /// Ends all sessions of the user, at once and for good: the next generation of their MinIO user is made, and this one
    /// deleted. For the user and administrators.
    pub async fn revoke(&self, actor: &Identity, user: &Username, what: Revoke) -> Result<(), Error> {
        require_self(actor, user)?;
        let next = Generation::new(user);
        let revoked = self.ledger.update::<UserDoc, Error>(user, |doc| {
            let mut doc = match doc {
                Some(doc) => doc,
                // Who was never here has no sessions.
                None if actor.username == *user => return Ok(Change::Keep),
                None => return Err(unknown_user(user)),
            };
            if doc.session_user.user != next.user {
                doc.retired.push(std::mem::replace(&mut doc.session_user, next.clone()).user);
            }
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
