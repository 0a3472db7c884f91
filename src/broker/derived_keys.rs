//! Lake keys whose secrets are derived: every replica shows the same one again, and nothing stores it.
//!
//! The ledger says which access key it is; MinIO is made to have it, once, with the secret that follows from it. What is
//! deleted there is not made again: somebody may have revoked it.

use std::time::Duration;

use jiff::Timestamp;

use super::{
    Actor, Broker, Error, all, audit, if_readable,
    lake_keys::{IssuedLakeKey, enabled, new_key, revoked_meanwhile},
    settle::Secret,
};
use crate::{
    identity::{Identity, Username},
    lake::Principal,
    minio::{
        KeyState, MinioError,
        ledger::{Change, Generation, LakeKey, UserDoc},
    },
};

/// How many earlier keys may live on beside the derived one.
const MAX_EARLIER: usize = 8;

/// How often a key may be lost while it is asked for.
const MAX_ROUNDS: usize = 3;

impl Broker {
    /// The caller's derived lake key: the same each time, and to all who ask at once. One that MinIO has lost, or has with
    /// another secret (the broker's key was changed), is followed by another one.
    pub async fn derived_key(&self, actor: &Identity) -> Result<IssuedLakeKey, Error> {
        let user = &actor.username;
        self.ensure_user(user).await?;
        for _ in 0..MAX_ROUNDS {
            let first = new_derived_key(self.now());
            let chosen = self.ledger.update::<UserDoc, Error>(user, |doc| {
                let mut doc = enabled(doc, user)?;
                if current(&doc).is_none() {
                    push(&mut doc, &first);
                }
                Ok(Change::Put(doc))
            });
            let doc = chosen.await?.now.ok_or_else(|| revoked_meanwhile(user))?;
            let key = current(&doc).ok_or_else(|| revoked_meanwhile(user))?;
            if let Some(issued) = self.issue(&doc, key).await? {
                return Ok(issued);
            }
            self.follow(user, Follow::Lost(key), Duration::ZERO).await?;
            self.end_lake_keys(user).await?;
        }
        Err(revoked_meanwhile(user))
    }

    /// The next derived lake key of the caller, the same to all who ask at once. The one before lives on for `overlap`, then
    /// [`Self::remove_ended_lake_keys`] deletes it.
    pub async fn rotate_derived_key(&self, actor: &Identity, overlap: Duration) -> Result<IssuedLakeKey, Error> {
        let user = &actor.username;
        let before = self.ensure_user(user).await?;
        let (doc, next) = self.follow(user, Follow::Seen(current(&before)), overlap).await?;
        let issued = self.issue(&doc, &next).await?.ok_or_else(|| revoked_meanwhile(user))?;
        self.end_lake_keys(user).await?;
        Ok(issued)
    }

    /// Deletes every lake key that has ended.
    pub async fn remove_ended_lake_keys(&self) -> Result<(), Error> {
        let expiring = self.lake_hints().await?.expiring;
        let users = expiring.iter().filter_map(Principal::user);
        let read = all(users.map(async |user| if_readable(self.ledger.read::<UserDoc>(user).await)));
        let docs: Vec<UserDoc> = read.await?.into_iter().flatten().flatten().collect();
        let over = docs.iter().flat_map(|doc| self.over(doc).into_iter().map(move |key| (&doc.username, key)));
        let over: Vec<String> = over.map(|(user, key)| format!("{user}: {}", key.access_key)).collect();
        if over.is_empty() {
            return Ok(());
        }
        let remove =
            async { all(docs.iter().map(async |doc| if_readable(self.end_keys_of(doc).await))).await.map(|_| ()) };
        audit::recorded(&Actor::Lakepass, "remove ended lake keys", &over.join(", "), remove).await
    }

    async fn end_lake_keys(&self, user: &Username) -> Result<(), Error> {
        match self.ledger.read::<UserDoc>(user).await? {
            Some(doc) => self.end_keys_of(&doc).await,
            None => Ok(()),
        }
    }

    async fn end_keys_of(&self, doc: &UserDoc) -> Result<(), Error> {
        let over = self.over(doc);
        if over.is_empty() {
            return Ok(());
        }
        for key in &over {
            self.minio.remove_access_key(&key.access_key).await?;
        }
        self.change_user(doc, |now| now.lake_keys.retain(|key| !over.contains(&key))).await
    }

    fn over<'a>(&self, doc: &'a UserDoc) -> Vec<&'a LakeKey> {
        let now = self.now();
        doc.lake_keys.iter().filter(|key| key.is_over(now)).collect()
    }

    /// Puts another key after the user's derived one, and ends what was before. Gives the document, and that key.
    async fn follow(&self, user: &Username, what: Follow<'_>, overlap: Duration) -> Result<(UserDoc, LakeKey), Error> {
        self.note_in_lake(|doc| {
            doc.expiring.insert(Principal::User(user.clone()));
        })
        .await?;
        let now = self.now();
        let next = new_derived_key(now);
        let followed = self.ledger.update::<UserDoc, Error>(user, |doc| {
            let mut doc = enabled(doc, user)?;
            let is_done = match what {
                // One that came since, or is being made: it was asked for at the same time.
                Follow::Seen(seen) => current(&doc)
                    .is_some_and(|key| !key.made || seen.is_none_or(|seen| seen.access_key != key.access_key)),
                Follow::Lost(lost) => current(&doc).is_none_or(|key| key.access_key != lost.access_key),
            };
            if is_done {
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
        let doc = followed.await?.now.ok_or_else(|| revoked_meanwhile(user))?;
        let key = current(&doc).ok_or_else(|| revoked_meanwhile(user))?.clone();
        Ok((doc, key))
    }

    /// Makes MinIO have a key that it never had. Nothing: it has lost the key, or has it with another secret.
    async fn issue(&self, doc: &UserDoc, key: &LakeKey) -> Result<Option<IssuedLakeKey>, Error> {
        let (user, access_key) = (&doc.username, key.access_key.clone());
        let secret_key = self.minio.lake_key_secret(&access_key);
        let state = async || self.minio.key_state(self.lake.bucket(), &access_key, &secret_key).await;
        let mut found = state().await?;
        if found == KeyState::Unknown {
            // MinIO knows no key of somebody who is disabled: here they are to be enabled.
            let doc = self.settle_user(user, Secret::Trust).await?;
            let key_user = doc.and_then(|doc| doc.key_user).ok_or_else(|| revoked_meanwhile(user))?.user;
            let added = match key.made {
                true => Ok(()),
                false => self.minio.add_access_key(&key_user, &access_key, &secret_key, None).await,
            };
            found = state().await?;
            // Known, although it could not be added: whoever asked at the same time was faster.
            if found == KeyState::Unknown {
                added.map_err(|error| match error {
                    MinioError::NotFound { .. } => revoked_meanwhile(user),
                    error => error.into(),
                })?;
            }
        }
        if found != KeyState::Known {
            return Ok(None);
        }
        let key_user = if key.made { doc.key_user.clone() } else { self.mark_key_made(user, &access_key).await? };
        let key_user = key_user.ok_or_else(|| revoked_meanwhile(user))?;
        audit::note_keys(&access_key, key_user.user.as_str());
        Ok(Some(IssuedLakeKey { access_key, secret_key }))
    }

    /// Notes that MinIO has had the key, and gives its MinIO user; nothing if the key was ended while it was made.
    async fn mark_key_made(&self, user: &Username, access_key: &str) -> Result<Option<Generation>, Error> {
        let marked = self.ledger.update::<UserDoc, Error>(user, |doc| {
            let Some(mut doc) = doc else { return Ok(Change::Keep) };
            for key in doc.lake_keys.iter_mut().filter(|key| key.access_key == access_key) {
                key.made = true;
            }
            Ok(Change::Put(doc))
        });
        let now = self.now();
        let lives = |key: &LakeKey| key.access_key == access_key && !key.is_over(now);
        let doc = marked.await?.now.filter(|doc| doc.lake_keys.iter().any(lives));
        if doc.is_none() {
            // Whoever ended it could not delete what was not there yet.
            self.minio.remove_access_key(access_key).await?;
        }
        Ok(doc.and_then(|doc| doc.key_user))
    }
}

/// After which key another one is to come.
#[derive(Clone, Copy)]
enum Follow<'a> {
    /// The one that was seen, if there was one and nobody else has put one after it since.
    Seen(Option<&'a LakeKey>),
    /// This one, if nobody else has put one after it.
    Lost(&'a LakeKey),
}

fn new_derived_key(now: Timestamp) -> LakeKey {
    LakeKey { derived: true, ..new_key(now) }
}

/// The derived key that was not followed by another one.
fn current(doc: &UserDoc) -> Option<&LakeKey> {
    doc.lake_keys.iter().find(|key| key.derived && key.ends_at.is_none())
}

fn push(doc: &mut UserDoc, key: &LakeKey) {
    doc.key_user.get_or_insert_with(|| Generation::new(&doc.username));
    doc.lake_keys.push(key.clone());
}
