//! Lake keys: for tools that cannot use session keys.

use aws_lc_rs::rand;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::Timestamp;
use secrecy::SecretString;
use zeroize::Zeroizing;

use super::{Broker, Error, audit, require_self, settle::Secret, unknown_user};
use crate::{
    identity::{Identity, Username},
    minio::{
        Incarnation, MinioError,
        ledger::{AccountState, Change, Generation, LakeKey, UserDoc},
    },
};

/// A lake key, with its secret, which is kept nowhere.
pub struct IssuedLakeKey {
    pub access_key: String,
    pub secret_key: SecretString,
}

impl Broker {
    /// Issues a lake key. An earlier one that was issued so stops working: after the new one works, not before. For the
    /// user and administrators.
    pub async fn issue_lake_key(&self, actor: &Identity, user: &Username) -> Result<IssuedLakeKey, Error> {
        require_self(actor, user)?;
        self.ensure_user(user).await?;
        self.folders(&self.lake.home(user)).await?;
        let now = self.now();
        let key = new_key(now);
        let doc = self.ledger.update::<UserDoc, Error>(user, |doc| {
            let mut doc = enabled(doc, user)?;
            doc.key_user.get_or_insert_with(|| Generation::new(user));
            if !doc.lake_keys.contains(&key) {
                doc.lake_keys.push(key.clone());
            }
            Ok(Change::Put(doc))
        });
        doc.await?;
        let doc = self.settle_user(user, Secret::Trust).await?.ok_or_else(|| unknown_user(user))?;
        let key_user = doc.key_user.as_ref().ok_or_else(|| revoked_meanwhile(user))?;
        let secret_key = new_secret()?;
        match self.minio.add_access_key(&key_user.user, &key.access_key, &secret_key, None).await {
            Err(MinioError::NotFound { .. }) => return Err(revoked_meanwhile(user)),
            added => added?,
        }
        let before = doc.lake_keys.iter().take_while(|other| **other != key);
        let older: Vec<&LakeKey> = before.filter(|other| !other.derived).collect();
        for other in &older {
            self.minio.remove_access_key(&other.access_key).await?;
        }
        let doc = self.ledger.update::<UserDoc, Error>(user, |doc| {
            let mut doc = doc.ok_or_else(|| unknown_user(user))?;
            doc.lake_keys.retain(|other| !older.contains(&other));
            Ok(Change::Put(doc))
        });
        let doc = doc.await?.now.filter(|doc| doc.lake_keys.contains(&key));
        if doc.is_none() {
            // Rotated or revoked while it was being made: whoever did that could not delete what was not there yet.
            self.minio.remove_access_key(&key.access_key).await?;
            return Err(revoked_meanwhile(user));
        }
        audit::note_keys(&key.access_key, key_user.user.as_str());
        Ok(IssuedLakeKey { access_key: key.access_key, secret_key })
    }
}

/// A lake key that never was.
pub(super) fn new_key(now: Timestamp) -> LakeKey {
    let access_key = format!("LK{}", Incarnation::new().as_str().to_uppercase());
    LakeKey { access_key, created_at: now, derived: false, made: false, ends_at: None }
}

/// The document of somebody who may have keys.
pub(super) fn enabled(doc: Option<UserDoc>, user: &Username) -> Result<UserDoc, Error> {
    let doc = doc.ok_or_else(|| unknown_user(user))?;
    if doc.state == AccountState::Enabled { Ok(doc) } else { Err(Error::Disabled(user.clone())) }
}

pub(super) fn revoked_meanwhile(user: &Username) -> Error {
    Error::Conflict(format!("another change to the keys of `{user}` came in between: ask again"))
}

/// 240 random bits.
fn new_secret() -> Result<SecretString, Error> {
    let mut bytes = Zeroizing::new([0; 30]);
    rand::fill(bytes.as_mut()).map_err(|_| {
        Error::Minio(MinioError::Unavailable { what: "lake key".into(), reason: "no random numbers".into() })
    })?;
    Ok(SecretString::from(URL_SAFE_NO_PAD.encode(bytes.as_ref())))
}
