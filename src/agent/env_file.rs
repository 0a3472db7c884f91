//! The environment that leads SDKs to the agent, as a shell and systemd's `EnvironmentFile` read it.

use std::path::Path;

/// The path cannot be written so that a shell and systemd read the same.
#[derive(Debug, thiserror::Error)]
#[error("the authorization token file's path has quotes, backslashes or characters that cannot be printed")]
pub struct Unquotable;

/// Two variables, one a line.
pub fn text(url: &str, token_file: &Path) -> Result<String, Unquotable> {
    let path = token_file.to_str().ok_or(Unquotable)?;
    if path.chars().any(|c| c.is_control() || matches!(c, '\'' | '"' | '\\')) {
        return Err(Unquotable);
    }
    Ok(format!("AWS_CONTAINER_CREDENTIALS_FULL_URI='{url}'\nAWS_CONTAINER_AUTHORIZATION_TOKEN_FILE='{path}'\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_reads_what_was_meant() {
        let path = "/run/a b/$(id)`id`#*;~é";
        let script = text("http://127.0.0.1:1/credentials", Path::new(path)).unwrap()
            + r#"printf '%s %s' "$AWS_CONTAINER_CREDENTIALS_FULL_URI" "$AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE""#;
        let said = std::process::Command::new("/bin/sh").args(["-c", &script]).output().unwrap();
        assert_eq!(String::from_utf8(said.stdout).unwrap(), format!("http://127.0.0.1:1/credentials {path}"));
        for bad in ["a'b", "a\"b", "a\\b", "a\nb"] {
            assert!(text("http://x/", Path::new(bad)).is_err());
        }
    }
}
