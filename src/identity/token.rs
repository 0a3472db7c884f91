//! The bearer's secret. Knows no auth service and not what a token says.

use std::{fmt, str::FromStr};

use aws_lc_rs::digest;
use secrecy::{ExposeSecret, SecretString};

/// The longest token that is looked at, in bytes.
pub const MAX_TOKEN_BYTES: usize = 8192;

/// What a caller presents to say who they are: a KBase token or a JWT. Not yet believed.
///
/// - It has 1 to 8192 bytes.
/// - Every byte is visible ASCII (`!` to `~`): no space and no control character, so it is safe in a header.
/// - It is never printed: `Debug` is redacted, and there is no `Display`, no `Serialize` and no `Clone` (share it by
///   reference or by `Arc`). The memory is wiped on drop.
pub struct Token(SecretString);

/// The SHA-256 of a [`Token`]: what stands for it in caches. All 32 bytes, so that two tokens never meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenDigest([u8; 32]);

/// The text is no [`Token`]. Never quotes the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a token has 1 to {MAX_TOKEN_BYTES} characters of visible ASCII, without spaces")]
pub struct TokenError;

impl Token {
    pub fn parse(text: &str) -> Result<Self, TokenError> {
        let legal = (1..=MAX_TOKEN_BYTES).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
        if legal { Ok(Self(SecretString::from(text))) } else { Err(TokenError) }
    }

    /// What caches are keyed by.
    pub fn sha256(&self) -> TokenDigest {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest::digest(&digest::SHA256, self.expose_secret().as_bytes()).as_ref());
        TokenDigest(bytes)
    }

    /// The token itself: only for asking the auth service, and for a client to present it.
    pub fn expose_secret(&self) -> &str {
        self.0.expose_secret()
    }
}

impl TokenDigest {
    /// For deriving names and keys from it.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl FromStr for Token {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token([redacted])")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn debug_is_redacted() {
        let token = Token::parse("SUPERSECRETSUPERSECRET").unwrap();
        assert_eq!(format!("{token:?}"), "Token([redacted])");
        assert_eq!(format!("{token:#?}"), "Token([redacted])");
    }

    #[test]
    fn legal_tokens() {
        let longest = "x".repeat(MAX_TOKEN_BYTES);
        for text in ["a", "!", "~", "Bearer", "a.b.c", "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", longest.as_str()] {
            assert_eq!(Token::parse(text).unwrap().expose_secret(), text);
        }
    }

    #[test]
    fn hostile_tokens() {
        let too_long = "x".repeat(MAX_TOKEN_BYTES + 1);
        for text in [
            "",
            " ",
            "a b",
            " a",
            "a ",
            "a\n",
            "a\r\nX-Admin: 1",
            "a\0",
            "\0",
            "a\t",
            "\x7f",
            "\x1b[0m",
            "é",
            "ａ",
            "a\u{200b}",
            too_long.as_str(),
        ] {
            assert_eq!(text.parse::<Token>().unwrap_err(), TokenError, "{text:?} must be refused");
        }
    }

    #[test]
    fn the_digest_is_sha256() {
        let expected: [u8; 32] = [
            0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea, 0x41, 0x41, 0x40, 0xde, 0x5d, 0xae, 0x22, 0x23, 0xb0, 0x03,
            0x61, 0xa3, 0x96, 0x17, 0x7a, 0x9c, 0xb4, 0x10, 0xff, 0x61, 0xf2, 0x00, 0x15, 0xad,
        ];
        assert_eq!(Token::parse("abc").unwrap().sha256(), TokenDigest(expected));
    }

    proptest! {
        #[test]
        fn visible_ascii_and_nothing_else(text in any::<String>()) {
            let legal = !text.is_empty() && text.chars().all(|c| ('!'..='~').contains(&c));
            prop_assert_eq!(Token::parse(&text).is_ok(), legal);
        }
    }
}
