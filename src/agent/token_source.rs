//! Where the user's token comes from.

use std::{
    fs::File,
    io::{self, Read},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use zeroize::Zeroizing;

use crate::identity::{MAX_TOKEN_BYTES, Token, TokenDigest};

/// How often a token file is looked at while something waits for it to change.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A file that may hold another token at any time, or a token that stays as it is.
pub enum TokenSource {
    File(PathBuf),
    Given(Arc<Token>),
}

/// There is no token. Never quotes what is there.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoToken {
    #[error("no token: give --token-file or LAKEPASS_TOKEN_FILE, or LAKEPASS_TOKEN in the environment")]
    Nowhere,
    #[error("LAKEPASS_TOKEN: {0}")]
    Variable(crate::identity::TokenError),
    #[error("the token file {file}: {reason}")]
    File { file: String, reason: String },
}

impl TokenSource {
    /// The file if there is one, else what an environment variable holds.
    pub fn new(file: Option<PathBuf>, variable: Option<String>) -> Result<Self, NoToken> {
        match (file, variable.map(Zeroizing::new)) {
            (Some(file), _) => Ok(Self::File(file)),
            (None, Some(text)) => {
                Token::parse(text.trim()).map(|token| Self::Given(Arc::new(token))).map_err(NoToken::Variable)
            }
            (None, None) => Err(NoToken::Nowhere),
        }
    }

    /// The token that there is now.
    pub fn read(&self) -> Result<Arc<Token>, NoToken> {
        let path = match self {
            Self::Given(token) => return Ok(token.clone()),
            Self::File(path) => path,
        };
        let failed = |reason: String| NoToken::File { file: path.display().to_string(), reason };
        let text = read_text(path).map_err(|error| failed(error.to_string()))?;
        Token::parse(text.trim()).map(Arc::new).map_err(|error| failed(error.to_string()))
    }

    /// Where it is, to tell it from others. No secret.
    pub fn place(&self) -> String {
        match self {
            Self::File(path) => std::path::absolute(path).unwrap_or_else(|_| path.clone()).display().to_string(),
            Self::Given(_) => String::new(),
        }
    }

    /// Comes back when there is a token, and not this one: never, for one that stays as it is.
    pub async fn other_than(&self, known: Option<TokenDigest>) {
        if let Self::Given(_) = self {
            return std::future::pending().await;
        }
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            // What cannot be read may be half written.
            if self.read().is_ok_and(|token| Some(token.sha256()) != known) {
                return;
            }
        }
    }
}

/// Whatever is there, it is not waited for and not read without bounds.
fn read_text(path: &PathBuf) -> io::Result<Zeroizing<String>> {
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    // One more than is legal, and the end of a line.
    let most = MAX_TOKEN_BYTES + 3;
    let mut text = Zeroizing::new(String::with_capacity(most));
    File::open(path)?.take(most as u64).read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_file_is_read_anew_each_time_and_goes_before_the_environment() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let source = TokenSource::new(Some(path.clone()), Some("VARIABLE".into())).unwrap();
        for text in ["FIRST", "SECOND\n", " THIRD\r\n"] {
            fs::write(&path, text).unwrap();
            assert_eq!(source.read().unwrap().expose_secret(), text.trim());
        }
        let variable = TokenSource::new(None, Some("VARIABLE".into())).unwrap();
        assert_eq!(variable.read().unwrap().expose_secret(), "VARIABLE");
    }

    #[test]
    fn what_is_no_token_is_told_and_not_quoted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let error = || TokenSource::File(path.clone()).read().unwrap_err().to_string();
        assert!(error().contains("No such file"), "{}", error());
        for bad in [String::new(), "SECRET SECRET".into(), "x".repeat(MAX_TOKEN_BYTES + 1), "x\n".repeat(1 << 20)] {
            fs::write(&path, bad).unwrap();
            assert!(error().contains("visible ASCII") && !error().contains("SECRET"), "{}", error());
        }
        assert!(TokenSource::File(folder.path().into()).read().unwrap_err().to_string().contains("not a file"));
        let variable = TokenSource::new(None, Some("SECRET SECRET".into())).err().unwrap().to_string();
        assert!(variable.contains("LAKEPASS_TOKEN") && !variable.contains("SECRET"), "{variable}");
        assert_eq!(TokenSource::new(None, None).err().unwrap(), NoToken::Nowhere);
    }

    #[tokio::test]
    async fn another_token_is_noticed_and_half_of_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        fs::write(&path, "FIRST").unwrap();
        let source = TokenSource::File(path.clone());
        let known = Some(source.read().unwrap().sha256());
        let noticed = async || tokio::time::timeout(LOOK_EVERY * 3 / 2, source.other_than(known)).await;
        assert!(noticed().await.is_err());
        fs::write(&path, "").unwrap();
        assert!(noticed().await.is_err());
        fs::write(&path, "SECOND").unwrap();
        assert!(noticed().await.is_ok());
    }
}
