//! Keys kept in a file, so that a program that is started for each of them asks the broker once.

use std::{
    fs::File,
    path::{Path, PathBuf},
    time::Duration,
};

use aws_lc_rs::digest;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{
    client::Fetched,
    keys::{ContainerDocument, Keys},
    private_file::{self, FileError},
};
use crate::identity::Token;

/// A larger file is none of ours.
const MAX_BYTES: u64 = 64 << 10;

/// One file of one account. Its keys are for who asks the same broker for the same with the same token.
pub struct Cache {
    path: PathBuf,
    /// A hash of what was asked and by whom. It says nothing about the token, which is long and random.
    asked: String,
}

/// What is in the file.
#[derive(Deserialize)]
pub struct Cached {
    asked: String,
    fetched_at: Timestamp,
    /// How the broker tells them from others.
    pub tag: Option<String>,
    pub keys: Keys,
}

#[derive(Serialize)]
struct CachedDocument<'a> {
    asked: &'a str,
    fetched_at: Timestamp,
    tag: Option<&'a str>,
    keys: ContainerDocument<'a>,
}

impl Cache {
    /// `address` is where and for what the broker is asked.
    pub fn new(path: PathBuf, address: &str, token: &Token) -> Self {
        Self { path, asked: hash(&[address.as_bytes(), token.sha256().as_bytes()]) }
    }

    /// A name that differs by what is asked, and by where the token comes from: so that a token may change, and no old
    /// one's keys are left behind.
    pub fn default_path(folder: &Path, address: &str, token_place: &str) -> PathBuf {
        folder.join(format!("credentials-{}.json", &hash(&[address.as_bytes(), token_place.as_bytes()])[..16]))
    }

    /// What is there for who asks this. Somebody else's, or what is no such file, is as good as nothing; but a file that
    /// others can reach is an error, for somebody ought to know.
    pub fn read(&self) -> Result<Option<Cached>, FileError> {
        let Some(bytes) = private_file::read(&self.path, MAX_BYTES)? else { return Ok(None) };
        let cached: Option<Cached> = serde_json::from_slice(&bytes).ok();
        Ok(cached.filter(|cached| cached.asked == self.asked))
    }

    /// For who holds the lock.
    pub fn write(&self, Fetched { keys, tag }: &Fetched, now: Timestamp) -> Result<(), FileError> {
        let document =
            CachedDocument { asked: &self.asked, fetched_at: now, tag: tag.as_deref(), keys: keys.for_container() };
        let bytes = zeroize::Zeroizing::new(serde_json::to_vec(&document).expect("strings and times are JSON"));
        private_file::write(&self.path, &bytes)
    }

    pub fn try_lock(&self) -> Result<Option<File>, FileError> {
        private_file::try_lock(&self.path)
    }
}

impl Cached {
    /// More than `window` is left of the keys, or more than half of what was left when they came.
    pub fn are_fresh(&self, now: Timestamp, window: Duration) -> bool {
        let half = self.keys.left(self.fetched_at) / 2;
        self.fetched_at <= now && self.keys.left(now) > window.min(half)
    }
}

/// Of each part's length and bytes, so that no two lists are the same.
fn hash(parts: &[&[u8]]) -> String {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    context.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::keys::keys_for_tests;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn keys_are_for_who_asked_the_same_with_the_same_token() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cache");
        let cache = |address, token: &str| Cache::new(path.clone(), address, &Token::parse(token).unwrap());
        let mine = cache("http://x/", "TOKEN");
        assert!(mine.read().unwrap().is_none());
        mine.write(&Fetched { keys: keys_for_tests("ID", at(1_000)), tag: Some("tag".into()) }, at(0)).unwrap();
        let read = mine.read().unwrap().unwrap();
        assert_eq!((read.keys.access_key_id.as_str(), read.tag.as_deref()), ("ID", Some("tag")));
        for other in [cache("http://x/?scope=lake", "TOKEN"), cache("http://x/", "OTHER"), cache("http://x/T", "OKEN")]
        {
            assert!(other.read().unwrap().is_none());
        }
        assert!(!std::fs::read_to_string(&path).unwrap().contains("TOKEN"));
        private_file::write(&path, b"{\"asked\": 1}").unwrap();
        assert!(mine.read().unwrap().is_none(), "what is no such file is as good as nothing");
    }

    #[test]
    fn they_are_fresh_until_the_window_or_half_of_their_life() {
        let cached = |fetched_at, ends| Cached {
            asked: String::new(),
            fetched_at: at(fetched_at),
            tag: None,
            keys: keys_for_tests("ID", at(ends)),
        };
        let window = Duration::from_secs(900);
        for (cached, now, fresh) in [
            (cached(0, 3_600), 0, true),
            (cached(0, 3_600), 2_699, true),
            (cached(0, 3_600), 2_700, false),
            (cached(0, 900), 449, true),
            (cached(0, 900), 450, false),
            (cached(0, 3_600), 9_999, false),
            (cached(100, 3_600), 99, false),
            (cached(0, 0), 0, false),
        ] {
            assert_eq!(cached.are_fresh(at(now), window), fresh, "{now} of {}", cached.keys.expires_at);
        }
    }

    #[test]
    fn default_names_differ_by_what_is_asked_and_where_the_token_is() {
        let name = |address, place| Cache::default_path(Path::new("/c"), address, place);
        assert_eq!(name("a", "b"), name("a", "b"));
        assert!(
            name("a", "b") != name("a", "c") && name("a", "b") != name("b", "b") && name("ab", "") != name("a", "b")
        );
    }
}
