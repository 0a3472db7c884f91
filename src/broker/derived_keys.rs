//! Lake keys whose secrets are derived: every replica shows the same one again, and nothing stores it.
//!
//! The ledger says which access key it is; MinIO is made to have it, with the secret that follows from it.

use std::time::Duration;

use super::{
    Broker, Error, all,
    lake_keys::{IssuedLakeKey, enabled, new_key, revoked_meanwhile},
    settle::Secret,
};
use crate::{
    identity::{Identity, Username},
    lake::Principal,
    minio::{
        KeyState, MinioError,
        ledger::{Change, Generation, LakeDoc, LakeKey, UserDoc},
    },
};

/// How many earlier keys may live on beside the derived one.
const MAX_EARLIER: usize = 8;

impl Broker {
    /// The caller's derived lake key: the same each time, and to all who ask at once.
    pub async fn derived_key(&self, actor: &Identity) -> Result<IssuedLakeKey, Error> {
        let user = &actor.username;
        self.ensure_user(user).await?;
        let first = LakeKey { derived: true, ..new_key(self.now()) };
        let chosen = self.ledger.update::<UserDoc, Error>(user, |doc| {
            let mut doc = enabled(doc, user)?;
            if current(&doc).is_none() {
                push(&mut doc, &first);
            }
            Ok(Change::Put(doc))
        });
        let doc = chosen.await?.now;
        let key = doc.as_ref().and_then(current).ok_or_else(|| revoked_meanwhile(user))?;
        self.show(user, &key.access_key).await
    }

    /// The next derived lake key of the caller. The one before lives on for `overlap`, then [`Self::remove_ended_lake_keys`]
    /// deletes it.
    pub async fn rotate_derived_key(&self, actor: &Identity, overlap: Duration) -> Result<IssuedLakeKey, Error> {
        let user = &actor.username;
        self.ensure_user(user).await?;
        self.note_in_lake(|doc| {
            doc.expiring.insert(Principal::User(user.clone()));
        })
        .await?;
        let now = self.now();
        let next = LakeKey { derived: true, ..new_key(now) };
        let rotated = self.ledger.update::<UserDoc, Error>(user, |doc| {
            let mut doc = enabled(doc, user)?;
            if doc.lake_keys.iter().any(|key| key.access_key == next.access_key) {
                return Ok(Change::Keep);
            }
            let mut earlier: Vec<&mut LakeKey> = doc.lake_keys.iter_mut().filter(|key| key.derived).collect();
            let surplus = earlier.len().saturating_sub(MAX_EARLIER);
            for (i, key) in earlier.iter_mut().enumerate() {
                let end = if i < surplus { now } else { now + overlap };
                key.ends_at = Some(key.ends_at.map_or(end, |earlier| earlier.min(end)));
            }
            push(&mut doc, &next);
            Ok(Change::Put(doc))
        });
        rotated.await?;
        let key = self.show(user, &next.access_key).await?;
        self.end_lake_keys(user).await?;
        Ok(key)
    }

    /// Deletes every lake key that has ended.
    pub async fn remove_ended_lake_keys(&self) -> Result<(), Error> {
        let expiring = self.ledger.read::<LakeDoc>(&()).await?.unwrap_or_default().expiring;
        let users = expiring.iter().filter_map(|principal| match principal {
            Principal::User(user) => Some(self.end_lake_keys(user)),
            Principal::Group(_) => None,
        });
        all(users).await.map(|_| ())
    }

    async fn end_lake_keys(&self, user: &Username) -> Result<(), Error> {
        let Some(doc) = self.ledger.read::<UserDoc>(user).await? else { return Ok(()) };
        let now = self.now();
        let over: Vec<&LakeKey> = doc.lake_keys.iter().filter(|key| key.is_over(now)).collect();
        if over.is_empty() {
            return Ok(());
        }
        for key in &over {
            self.minio.remove_access_key(&key.access_key).await?;
        }
        self.change_user(&doc, |now| now.lake_keys.retain(|key| !over.contains(&key))).await
    }

    /// Makes MinIO have the key, if it has not, and shows it.
    async fn show(&self, user: &Username, access_key: &str) -> Result<IssuedLakeKey, Error> {
        let secret_key = self.minio.lake_key_secret(access_key);
        let state = async || self.minio.key_state(self.lake.bucket(), access_key, &secret_key).await;
        match state().await? {
            KeyState::Known => {}
            // The broker's key was changed.
            KeyState::OtherSecret => self.minio.set_key_secret(access_key, &secret_key).await?,
            KeyState::Unknown => {
                let doc = self.settle_user(user, Secret::Trust).await?.ok_or_else(|| revoked_meanwhile(user))?;
                let key_user = doc.key_user.ok_or_else(|| revoked_meanwhile(user))?.user;
                let made = self.minio.add_access_key(&key_user, access_key, &secret_key, None).await;
                // Whoever asked at the same time may have been faster.
                if let Err(error) = made
                    && state().await? != KeyState::Known
                {
                    return Err(match error {
                        MinioError::NotFound { .. } => revoked_meanwhile(user),
                        error => error.into(),
                    });
                }
                // Who ended it meanwhile could not delete what was not there yet.
                let doc = self.ledger.read::<UserDoc>(user).await?;
                let now = self.now();
                let lives = |key: &LakeKey| key.access_key == access_key && !key.is_over(now);
                if !doc.is_some_and(|doc| doc.lake_keys.iter().any(lives)) {
                    self.minio.remove_access_key(access_key).await?;
                    return Err(revoked_meanwhile(user));
                }
            }
        }
        Ok(IssuedLakeKey { access_key: access_key.to_owned(), secret_key })
    }
}

/// The derived key that was not followed by another one.
fn current(doc: &UserDoc) -> Option<&LakeKey> {
    doc.lake_keys.iter().find(|key| key.derived && key.ends_at.is_none())
}

fn push(doc: &mut UserDoc, key: &LakeKey) {
    doc.key_user.get_or_insert_with(|| Generation::new(&doc.username));
    doc.lake_keys.push(key.clone());
}
