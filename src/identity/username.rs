//! The name of a person. Knows no MinIO, no HTTP and no path layout.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Serialize};

/// The longest username that KBase issues, in bytes.
pub const MAX_USERNAME_BYTES: usize = 100;

/// The name of a person, as KBase issues it: `^[a-z][a-z0-9_]{0,99}$`.
///
/// - It has 1 to 100 bytes, all of them ASCII.
/// - It starts with a lower-case letter.
/// - The rest is lower-case letters, digits and underscores. So it holds no separator of a path, an ARN, a policy, a URL
///   or a log line, and two usernames never differ only in case.
/// - One letter is a username, and so is `admin`: nothing about a power follows from a name.
///
/// A clone is one reference count.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Username(Arc<str>);

/// The text is no [`Username`]. Never quotes the text: it may be anything, a token in the wrong field included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a username has 1 to {MAX_USERNAME_BYTES} characters, starts with a letter a-z and goes on with a-z, 0-9 and _ only"
)]
pub struct UsernameError;

impl Username {
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Username {
    type Err = UsernameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if is_legal(text.as_bytes()) { Ok(Self(Arc::from(text))) } else { Err(UsernameError) }
    }
}

impl TryFrom<String> for Username {
    type Error = UsernameError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Username> for String {
    fn from(username: Username) -> Self {
        username.as_str().to_owned()
    }
}

impl AsRef<str> for Username {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl fmt::Display for Username {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

fn is_legal(text: &[u8]) -> bool {
    match text {
        [first, rest @ ..] => {
            text.len() <= MAX_USERNAME_BYTES
                && first.is_ascii_lowercase()
                && rest.iter().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'))
        }
        [] => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn legal_names() {
        let longest = "a".repeat(100);
        for name in ["a", "x_", "a__b", "admin", "root", "a1", "z9_", "whee", longest.as_str()] {
            let username: Username = name.parse().unwrap_or_else(|_| panic!("{name:?} must be legal"));
            assert_eq!(username.as_str(), name);
            assert_eq!(username.to_string(), name);
            let json = serde_json::to_string(&username).unwrap();
            assert_eq!(json, format!("\"{name}\""));
            assert_eq!(serde_json::from_str::<Username>(&json).unwrap(), username);
        }
    }

    #[test]
    fn hostile_names() {
        let too_long = "a".repeat(101);
        let hostile = [
            "",
            " ",
            "A",
            "Alice",
            "alicE",
            "_a",
            "1a",
            "a-b",
            "a.b",
            ".",
            "..",
            "a/..",
            "a/b",
            "a\\b",
            "a\n",
            "\na",
            "a\r\n",
            "a\0",
            "\0",
            "a b",
            " a",
            "a ",
            "a\t",
            "a%2f",
            "a*",
            "a?",
            "${aws:username}",
            "a,b",
            "a=b",
            "a:b",
            "a\"b",
            "ａｌｉｃｅ",   // full-width
            "аlice",        // Cyrillic a
            "ali\u{0441}e", // Cyrillic es
            "alice\u{200b}",
            "alice\u{0301}",
            "ä",
            "ı",
            "ſ",
            "a²",
            "a١",
            too_long.as_str(),
        ];
        for name in hostile {
            assert_eq!(name.parse::<Username>(), Err(UsernameError), "{name:?} must be refused");
            let json = serde_json::to_string(name).unwrap();
            assert!(serde_json::from_str::<Username>(&json).is_err(), "{name:?} must be refused in JSON");
        }
    }

    #[test]
    fn the_error_says_what_is_legal_and_quotes_nothing() {
        let error = serde_json::from_str::<Username>("\"SECRET-in-the-wrong-field\"").unwrap_err().to_string();
        assert!(error.contains("1 to 100 characters"), "{error}");
        assert!(!error.contains("SECRET"), "{error}");
    }

    proptest! {
        #[test]
        fn every_legal_shape_parses(name in "[a-z][a-z0-9_]{0,99}") {
            let parsed: Username = name.parse().unwrap();
            prop_assert_eq!(parsed.as_str(), name.as_str());
        }

        #[test]
        fn what_parses_keeps_the_invariants(text in any::<String>()) {
            if let Ok(username) = text.parse::<Username>() {
                let name = username.as_str();
                prop_assert!(name.is_ascii() && (1..=100).contains(&name.len()));
                prop_assert!(name.starts_with(|c: char| c.is_ascii_lowercase()));
                prop_assert!(name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'));
            }
        }

        #[test]
        fn one_foreign_character_anywhere_is_refused(
            head in "[a-z][a-z0-9_]{0,20}", foreign in "[^a-z0-9_]", tail in "[a-z0-9_]{0,20}"
        ) {
            let name = format!("{head}{foreign}{tail}");
            prop_assert!(name.parse::<Username>().is_err());
        }
    }
}
