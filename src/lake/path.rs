//! Paths in the lake.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// The longest path, in bytes: the longest key of S3.
pub const MAX_PATH_BYTES: usize = 1024;

/// A folder of the lake, as the prefix of keys that it is, such as `users-warehouse/alice/run7/`.
///
/// - It has at least one segment, and ends at a `/`: `a/x/` never covers `a/xy/`.
/// - No segment is empty, `.` or `..`, or holds a percent-encoded byte.
/// - It holds no character that a policy or a shell gives a meaning (`*`, `?`, `$`, `{`, `}`), no backslash and no
///   control character: as a pattern in a policy it means itself.
/// - It has at most 1024 bytes of UTF-8.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LakePath(String);

/// Why a text is no [`LakePath`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    #[error("the path is empty: name a folder below the bucket")]
    Empty,
    #[error("the path is longer than {MAX_PATH_BYTES} bytes")]
    TooLong,
    #[error("the path has an empty segment (`//`, or a `/` at its beginning)")]
    EmptySegment,
    #[error("the path has a segment `.` or `..`")]
    Dots,
    #[error("the path has a percent-encoded character: write it as it is")]
    PercentEncoded,
    #[error("the path holds {0:?}, which is not allowed: a path is one folder, not a pattern")]
    Forbidden(char),
    #[error("the path is in the bucket `{found}`, and the lake is `{lake}`")]
    OtherBucket { found: String, lake: String },
    #[error("the path has the scheme `{0}`: write `s3a://`, `s3://` or the bare key")]
    Scheme(String),
}

impl LakePath {
    /// Reads `s3a://bucket/key`, `s3://bucket/key` or a bare key. The final `/` may be missing.
    pub fn parse(text: &str, bucket: &str) -> Result<Self, PathError> {
        let Some((scheme, rest)) = text.split_once("://") else { return text.parse() };
        if !matches!(scheme, "s3a" | "s3") {
            return Err(PathError::Scheme(scheme.chars().take(16).collect()));
        }
        let (found, key) = rest.split_once('/').unwrap_or((rest, ""));
        if found != bucket {
            return Err(PathError::OtherBucket { found: found.chars().take(64).collect(), lake: bucket.to_owned() });
        }
        key.parse()
    }

    /// The prefix of keys, with its final `/`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Without the final `/`: the key that an object of this name would have.
    pub fn as_object_key(&self) -> &str {
        &self.0[..self.0.len() - 1]
    }

    /// Whether everything in `other` is in this folder as well. A path covers itself.
    pub fn covers(&self, other: &Self) -> bool {
        other.0.starts_with(&self.0)
    }

    pub fn segments(&self) -> impl Iterator<Item = &str> {
        self.as_object_key().split('/')
    }

    /// As users write it: `s3a://bucket/…/`.
    pub fn url(&self, bucket: &str) -> String {
        format!("s3a://{bucket}/{self}")
    }
}

impl FromStr for LakePath {
    type Err = PathError;

    /// Reads a bare key.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() {
            return Err(PathError::Empty);
        }
        let key = text.strip_suffix('/').unwrap_or(text);
        if key.len() + 1 > MAX_PATH_BYTES {
            return Err(PathError::TooLong);
        }
        if let Some(c) = key.chars().find(|c| c.is_control() || "*?${}\\".contains(*c)) {
            return Err(PathError::Forbidden(c));
        }
        for segment in key.split('/') {
            match segment {
                "" => return Err(PathError::EmptySegment),
                "." | ".." => return Err(PathError::Dots),
                _ if is_percent_encoded(segment.as_bytes()) => return Err(PathError::PercentEncoded),
                _ => {}
            }
        }
        Ok(Self(format!("{key}/")))
    }
}

fn is_percent_encoded(segment: &[u8]) -> bool {
    segment.windows(3).any(|w| w[0] == b'%' && w[1].is_ascii_hexdigit() && w[2].is_ascii_hexdigit())
}

impl TryFrom<String> for LakePath {
    type Error = PathError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<LakePath> for String {
    fn from(path: LakePath) -> Self {
        path.0
    }
}

impl fmt::Display for LakePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_a_path_and_what_only_looks_like_one() {
        let same = |text| (text, Ok("users-warehouse/alice/x/"));
        let cases = [
            same("s3a://cdm-lake/users-warehouse/alice/x/"),
            same("s3://cdm-lake/users-warehouse/alice/x"),
            same("users-warehouse/alice/x"),
            same("users-warehouse/alice/x/"),
            ("a", Ok("a/")),
            ("день/表 1/", Ok("день/表 1/")),
            ("a/100%/b", Ok("a/100%/b/")),
            ("", Err(PathError::Empty)),
            ("s3a://cdm-lake", Err(PathError::Empty)),
            ("s3a://cdm-lake/", Err(PathError::Empty)),
            ("/", Err(PathError::EmptySegment)),
            ("/a", Err(PathError::EmptySegment)),
            ("a//", Err(PathError::EmptySegment)),
            ("a//b", Err(PathError::EmptySegment)),
            ("users-warehouse/alice/x*", Err(PathError::Forbidden('*'))),
            ("users-warehouse/alic?/", Err(PathError::Forbidden('?'))),
            ("users-warehouse/${aws:username}/", Err(PathError::Forbidden('$'))),
            ("users-warehouse/{user}/", Err(PathError::Forbidden('{'))),
            ("a\\b", Err(PathError::Forbidden('\\'))),
            ("a/\0", Err(PathError::Forbidden('\0'))),
            ("a/b\n", Err(PathError::Forbidden('\n'))),
            ("a/\u{85}", Err(PathError::Forbidden('\u{85}'))),
            ("users-warehouse/alice/../bob/", Err(PathError::Dots)),
            ("./a", Err(PathError::Dots)),
            ("a/.", Err(PathError::Dots)),
            ("users-warehouse/alice/%2e%2e/bob/", Err(PathError::PercentEncoded)),
            ("users-warehouse%2Fbob/", Err(PathError::PercentEncoded)),
            ("https://cdm-lake/a", Err(PathError::Scheme("https".into()))),
            ("s3a://other/a", Err(PathError::OtherBucket { found: "other".into(), lake: "cdm-lake".into() })),
            ("s3a://CDM-lake/a", Err(PathError::OtherBucket { found: "CDM-lake".into(), lake: "cdm-lake".into() })),
        ];
        for (text, expected) in cases {
            let parsed = LakePath::parse(text, "cdm-lake");
            assert_eq!(parsed.as_ref().map(LakePath::as_str), expected.as_ref().copied(), "{text:?}");
        }
        assert!(LakePath::from_str(&"x".repeat(1023)).is_ok());
        assert_eq!(LakePath::from_str(&"x".repeat(1024)), Err(PathError::TooLong));
    }

    proptest! {
        #[test]
        fn a_path_ends_at_a_boundary_and_reads_back(text in "\\PC{0,40}") {
            if let Ok(path) = text.parse::<LakePath>() {
                prop_assert!(path.as_str().ends_with('/'));
                prop_assert!(!path.as_str().contains("//"));
                prop_assert_eq!(path.as_str().parse::<LakePath>().unwrap(), path.clone());
                prop_assert_eq!(LakePath::parse(&path.url("b"), "b").unwrap(), path);
            }
        }

        #[test]
        fn a_folder_never_covers_one_that_only_looks_alike(a in "[a-c]{1,3}(/[a-c]{1,3}){0,2}", b in "[a-c]{1,3}") {
            let folder: LakePath = a.parse().unwrap();
            let alike: LakePath = format!("{a}{b}").parse().unwrap();
            let inside: LakePath = format!("{a}/{b}").parse().unwrap();
            prop_assert!(!folder.covers(&alike));
            prop_assert!(folder.covers(&inside) && folder.covers(&folder) && !inside.covers(&folder));
        }
    }
}
