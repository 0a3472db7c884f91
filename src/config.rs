//! The configuration: a TOML file, and environment variables that win over it.
//!
//! It is checked as a whole, and every mistake is listed. Secrets never pass through the TOML reader, whose errors quote
//! what they read: they come from files or the environment.

use std::{collections::BTreeSet, fmt::Display, net::SocketAddr, path::PathBuf, str::FromStr, time::Duration};

use ipnet::IpNet;
use secrecy::SecretString;
use serde::{Deserialize, de::DeserializeOwned};
use url::Url;
use zeroize::Zeroizing;

use crate::{
    broker::{Audit, SessionLimits, Sink},
    http::KbaseApi,
    identity::{JwtIssuer, KbaseConfig, OidcAuthenticator},
    lake::{Lake, MIN_LIFETIME, Scope},
    minio::{MinioConfig, PREFIX},
    policy::Templates,
};

/// Everything that `lakepass serve` needs to know.
#[derive(Debug)]
pub struct Config {
    pub listen: SocketAddr,
    /// Where metrics are served, if anywhere.
    pub metrics_listen: Option<SocketAddr>,
    pub minio: MinioConfig,
    pub ledger_bucket: String,
    pub lake: Lake,
    pub templates: Templates,
    pub kbase: Option<KbaseConfig>,
    pub jwt_issuers: Vec<JwtIssuer>,
    pub sessions: SessionLimits,
    /// Where MinIO's console listens, if browsers are to be led to it.
    pub console_url: Option<Url>,
    pub audit: Audit,
    /// How long after a look for drift the next one is; zero: never.
    pub reconcile_every: Duration,
    /// How the clients of KBase's earlier service are served, if they are.
    pub kbase_api: Option<KbaseApi>,
    pub limits: Limits,
}

/// How much is taken on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// How many connections there may be.
    pub connections: usize,
    /// How long a caller waits for an answer. By default as long as one call to MinIO and the wait for it may take: so an outage
    /// shows within 3 s.
    pub answer_limit: Duration,
    /// How many requests a minute a user may make that ask MinIO something. 0: any number.
    pub user_requests: u32,
    /// How many wrong tokens a minute are looked at from one address. 0: any number.
    pub wrong_tokens: u32,
    /// Whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// How much longer a token that was good is trusted while the auth service is away.
    pub token_grace: Duration,
    /// How many tokens the auth service is asked about at once.
    pub auth_calls: usize,
    /// How many calls to MinIO are under way at once.
    pub minio_calls: usize,
}

/// Every mistake in the configuration.
#[derive(Debug, thiserror::Error)]
#[error("the configuration has mistakes:\n  - {}", .0.join("\n  - "))]
pub struct Mistakes(pub Vec<String>);

/// The file: every setting but secrets, which have a `…_file`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    listen: Option<String>,
    metrics_listen: Option<String>,
    minio_url: Option<String>,
    minio_root_user: Option<String>,
    minio_root_password_file: Option<String>,
    key_file: Option<String>,
    kbase_auth_url: Option<String>,
    admin_roles: Option<Vec<String>>,
    required_roles: Option<Vec<String>>,
    require_mfa: Option<bool>,
    bucket: Option<String>,
    ledger_bucket: Option<String>,
    home_templates: Option<Vec<String>>,
    workspace_templates: Option<Vec<String>>,
    jwt_issuers: Option<Vec<JwtIssuer>>,
    session_default: Option<u64>,
    session_max: Option<u64>,
    default_scope: Option<String>,
    policies: Option<String>,
    console_url: Option<String>,
    audit: Option<String>,
    audit_required: Option<bool>,
    reconcile_every: Option<u64>,
    kbase_api: Option<bool>,
    kbase_key_overlap: Option<u64>,
    kbase_read_only_suffix: Option<String>,
    connections: Option<u64>,
    answer_limit: Option<u64>,
    user_requests: Option<u64>,
    wrong_tokens: Option<u64>,
    trusted_proxies: Option<Vec<String>>,
    token_grace: Option<u64>,
    auth_calls: Option<u64>,
    minio_calls: Option<u64>,
}

impl File {
    /// toml's own message would quote the line.
    fn parse(text: &str) -> Result<Self, String> {
        toml::from_str(text).map_err(|error| error.message().to_owned())
    }
}

/// Reads what was set, and remembers what is wrong with it.
struct Reader<'a> {
    env: &'a dyn Fn(&str) -> Option<String>,
    mistakes: Vec<String>,
}

impl Config {
    /// Reads the file, if there is one, and the environment.
    pub fn load(file: Option<&std::path::Path>, env: &dyn Fn(&str) -> Option<String>) -> Result<Self, Mistakes> {
        let file = match file {
            None => File::default(),
            Some(path) => std::fs::read_to_string(path)
                .map_err(|error| error.to_string())
                .and_then(|text| File::parse(&text))
                .map_err(|error| Mistakes(vec![format!("{}: {error}", path.display())]))?,
        };
        Self::read(file, env)
    }

    fn read(file: File, env: &dyn Fn(&str) -> Option<String>) -> Result<Self, Mistakes> {
        let mut r = Reader { env, mistakes: Vec::new() };
        // The AWS SDK would print answers of STS, keys included.
        if env("LOG_SENSITIVE_BODIES").is_some() {
            r.mistakes.push("LOG_SENSITIVE_BODIES is set, which makes the AWS SDK log secrets: unset it".into());
        }
        let listen = r.text("LISTEN", file.listen).unwrap_or_else(|| "127.0.0.1:8080".into());
        let listen = r.parse::<SocketAddr>("LISTEN", &listen);
        let metrics_listen = r.text("METRICS_LISTEN", file.metrics_listen);
        let metrics_listen = metrics_listen.and_then(|text| r.parse::<SocketAddr>("METRICS_LISTEN", &text));
        let url = r.required("MINIO_URL", file.minio_url).and_then(|text| r.parse::<Url>("MINIO_URL", &text));
        let console_url = r.text("CONSOLE_URL", file.console_url).and_then(|text| r.parse::<Url>("CONSOLE_URL", &text));
        for (name, url) in [("MINIO_URL", &url), ("CONSOLE_URL", &console_url)] {
            if url.as_ref().is_some_and(|url| !matches!(url.scheme(), "http" | "https") || url.path() != "/") {
                r.mistakes.push(format!("LAKEPASS_{name} is an http or https address without a path"));
            }
        }
        let root_user = r.required("MINIO_ROOT_USER", file.minio_root_user);
        if root_user.as_ref().is_some_and(|user| user.starts_with(PREFIX)) {
            r.mistakes
                .push(format!("LAKEPASS_MINIO_ROOT_USER begins with `{PREFIX}`, which is for Lakepass's own users"));
        }
        let root_password = r.secret("MINIO_ROOT_PASSWORD", file.minio_root_password_file);
        if root_password.is_none() {
            r.mistakes.push("LAKEPASS_MINIO_ROOT_PASSWORD or LAKEPASS_MINIO_ROOT_PASSWORD_FILE is needed".into());
        }
        let derivation_key = r.secret("KEY", file.key_file);
        let required_roles: BTreeSet<String> =
            r.list("REQUIRED_ROLES", file.required_roles).into_iter().flatten().collect();
        let admin_roles: BTreeSet<String> = r.list("ADMIN_ROLES", file.admin_roles).into_iter().flatten().collect();
        let require_mfa = r.flag("REQUIRE_MFA", file.require_mfa);
        let kbase = r.text("KBASE_AUTH_URL", file.kbase_auth_url).and_then(|text| {
            let url = r.parse("KBASE_AUTH_URL", &text)?;
            let (required_roles, admin_roles) = (required_roles.clone(), admin_roles.clone());
            Some(KbaseConfig { url, required_roles, admin_roles, require_mfa })
        });
        let mut jwt_issuers = match env("LAKEPASS_JWT_ISSUERS") {
            Some(text) => r.json::<Vec<JwtIssuer>>("JWT_ISSUERS", &text).unwrap_or_default(),
            None => file.jwt_issuers.unwrap_or_default(),
        };
        for issuer in &mut jwt_issuers {
            if issuer.required_roles.is_empty() {
                issuer.required_roles.clone_from(&required_roles);
            }
            if issuer.admin_roles.is_empty() {
                issuer.admin_roles.clone_from(&admin_roles);
            }
        }
        if let Err(error) = OidcAuthenticator::new(jwt_issuers.clone()) {
            r.mistakes.push(format!("LAKEPASS_JWT_ISSUERS: {error}"));
        }
        if kbase.is_none() && jwt_issuers.is_empty() {
            r.mistakes
                .push("LAKEPASS_KBASE_AUTH_URL or LAKEPASS_JWT_ISSUERS is needed: who should know the users?".into());
        }
        let bucket = r.text("BUCKET", file.bucket).unwrap_or_else(|| "cdm-lake".into());
        let ledger_bucket = r.text("LEDGER_BUCKET", file.ledger_bucket).unwrap_or_else(|| "lakepass".into());
        for (name, bucket) in [("BUCKET", &bucket), ("LEDGER_BUCKET", &ledger_bucket)] {
            if !is_bucket_name(bucket) {
                r.mistakes.push(format!("LAKEPASS_{name}: `{bucket}` is no name of a bucket"));
            }
        }
        if bucket == ledger_bucket {
            r.mistakes.push("LAKEPASS_LEDGER_BUCKET must not be the lake's bucket: nobody's keys may reach it".into());
        }
        let homes = r.list("HOME_TEMPLATES", file.home_templates);
        let homes = homes.unwrap_or_else(|| vec!["users-warehouse/{user}/".into()]);
        let workspaces = r.list("WORKSPACE_TEMPLATES", file.workspace_templates);
        let workspaces = workspaces.unwrap_or_else(|| vec!["groups-warehouse/{group}/".into()]);
        let lake = r.keep("HOME_TEMPLATES, LAKEPASS_WORKSPACE_TEMPLATES", Lake::new(bucket, &homes, &workspaces));
        let templates = match r.text("POLICIES", file.policies) {
            None => Some(Templates::built_in()),
            Some(folder) => r.keep("POLICIES", Templates::from_folder(&PathBuf::from(folder))),
        };
        let default = Duration::from_secs(r.number("SESSION_DEFAULT", file.session_default, 3600));
        let max = Duration::from_secs(r.number("SESSION_MAX", file.session_max, 12 * 3600));
        let reconcile_every = Duration::from_secs(r.number("RECONCILE_EVERY", file.reconcile_every, 600));
        // MinIO issues far longer ones; a week is what AWS and MinIO document.
        if default < MIN_LIFETIME || default > max || max > Duration::from_secs(7 * 24 * 3600) {
            r.mistakes
                .push("LAKEPASS_SESSION_DEFAULT and LAKEPASS_SESSION_MAX: 900 <= default <= max <= 604800".into());
        }
        let default_scope = match r.text("DEFAULT_SCOPE", file.default_scope).as_deref() {
            None | Some("granted") => Scope::Granted,
            Some("lake") => Scope::Lake,
            Some(_) => {
                r.mistakes.push("LAKEPASS_DEFAULT_SCOPE is `granted` or `lake`".into());
                Scope::Granted
            }
        };
        let sink = match r.text("AUDIT", file.audit).as_deref() {
            None | Some("log") => Sink::Log,
            Some("stdout") => Sink::Stdout,
            Some(path) => Sink::File(path.into()),
        };
        let audit = Audit { sink, required: r.flag("AUDIT_REQUIRED", file.audit_required) };
        if audit.required && audit.sink == Sink::Log {
            r.mistakes.push("LAKEPASS_AUDIT_REQUIRED needs LAKEPASS_AUDIT: `stdout`, or the path of a file".into());
        }
        let key_overlap =
            Duration::from_secs(r.number::<u32>("KBASE_KEY_OVERLAP", file.kbase_key_overlap, 3600).into());
        if key_overlap > Duration::from_secs(7 * 24 * 3600) {
            r.mistakes.push("LAKEPASS_KBASE_KEY_OVERLAP is at most 604800".into());
        }
        let suffix = r.text("KBASE_READ_ONLY_SUFFIX", file.kbase_read_only_suffix).unwrap_or_else(|| "ro".into());
        let read_only_suffix = r.parse("KBASE_READ_ONLY_SUFFIX", &suffix);
        let is_on = r.flag("KBASE_API", file.kbase_api.or(Some(true)));
        let kbase_api =
            read_only_suffix.filter(|_| is_on).map(|read_only_suffix| KbaseApi { key_overlap, read_only_suffix });
        let proxies = r.list("TRUSTED_PROXIES", file.trusted_proxies).unwrap_or_default();
        let limits = Limits {
            connections: r.number("CONNECTIONS", file.connections, 10_000),
            answer_limit: Duration::from_millis(r.number("ANSWER_LIMIT", file.answer_limit, 2500)),
            user_requests: r.number("USER_REQUESTS", file.user_requests, 1200),
            wrong_tokens: r.number("WRONG_TOKENS", file.wrong_tokens, 600),
            trusted_proxies: proxies.iter().filter_map(|network| r.parse("TRUSTED_PROXIES", network)).collect(),
            token_grace: Duration::from_secs(r.number::<u32>("TOKEN_GRACE", file.token_grace, 0).into()),
            auth_calls: r.number("AUTH_CALLS", file.auth_calls, 32),
            minio_calls: r.number("MINIO_CALLS", file.minio_calls, 64),
        };
        for (name, number) in [
            ("CONNECTIONS", limits.connections),
            ("AUTH_CALLS", limits.auth_calls),
            ("MINIO_CALLS", limits.minio_calls),
        ] {
            // The most that a semaphore has is more than any machine.
            if !(1..=1_000_000).contains(&number) {
                r.mistakes.push(format!("LAKEPASS_{name} is from 1 to 1000000"));
            }
        }
        match (r.mistakes.is_empty(), listen, url, root_user, root_password, lake, templates) {
            (true, Some(listen), Some(url), Some(root_user), Some(root_password), Some(lake), Some(templates)) => {
                Ok(Self {
                    listen,
                    metrics_listen,
                    minio: MinioConfig { url, root_user, root_password, derivation_key, calls: limits.minio_calls },
                    ledger_bucket,
                    lake,
                    templates,
                    kbase,
                    jwt_issuers,
                    sessions: SessionLimits { default, max, default_scope },
                    console_url,
                    audit,
                    reconcile_every,
                    kbase_api,
                    limits,
                })
            }
            _ => Err(Mistakes(r.mistakes)),
        }
    }
}

impl Reader<'_> {
    fn text(&self, name: &str, from_file: Option<String>) -> Option<String> {
        (self.env)(&format!("LAKEPASS_{name}")).or(from_file).filter(|text| !text.is_empty())
    }

    fn required(&mut self, name: &str, from_file: Option<String>) -> Option<String> {
        let text = self.text(name, from_file);
        if text.is_none() {
            self.mistakes.push(format!("LAKEPASS_{name} is needed"));
        }
        text
    }

    /// `true` or `false`, which is the default.
    fn flag(&mut self, name: &str, from_file: Option<bool>) -> bool {
        let text = self.text(name, from_file.map(|on| on.to_string()));
        text.and_then(|text| self.parse(name, &text)).unwrap_or_default()
    }

    /// From the environment, with commas between.
    fn list(&self, name: &str, from_file: Option<Vec<String>>) -> Option<Vec<String>> {
        let split =
            |text: String| text.split(',').map(|item| item.trim().to_owned()).filter(|i| !i.is_empty()).collect();
        (self.env)(&format!("LAKEPASS_{name}")).map(split).or(from_file)
    }

    fn parse<T: FromStr<Err: Display>>(&mut self, name: &str, text: &str) -> Option<T> {
        self.keep(name, text.parse())
    }

    fn number<T: FromStr<Err: Display>>(&mut self, name: &str, from_file: Option<u64>, default: T) -> T {
        let text = self.text(name, from_file.map(|number| number.to_string()));
        text.and_then(|text| self.parse(name, &text)).unwrap_or(default)
    }

    fn json<T: DeserializeOwned>(&mut self, name: &str, text: &str) -> Option<T> {
        self.keep(name, serde_json::from_str(text))
    }

    fn keep<T, E: Display>(&mut self, name: &str, result: Result<T, E>) -> Option<T> {
        result.map_err(|error| self.mistakes.push(format!("LAKEPASS_{name}: {error}"))).ok()
    }

    /// From the environment, or from the file that the environment or the configuration file names.
    fn secret(&mut self, name: &str, file: Option<String>) -> Option<SecretString> {
        let direct = (self.env)(&format!("LAKEPASS_{name}"));
        let file_name = format!("LAKEPASS_{name}_FILE");
        let secret = match (direct, (self.env)(&file_name).or(file)) {
            (Some(secret), _) => Some(Zeroizing::new(secret)),
            (None, None) => None,
            (None, Some(path)) => match std::fs::read_to_string(&path).map(Zeroizing::new) {
                Ok(text) => Some(Zeroizing::new(text.trim_end_matches(['\n', '\r']).to_owned())),
                Err(error) => {
                    self.mistakes.push(format!("{file_name}: {path}: {error}"));
                    None
                }
            },
        }?;
        if secret.len() < 8 {
            self.mistakes.push(format!("LAKEPASS_{name} has fewer than 8 characters"));
        }
        Some(SecretString::from(secret.as_str()))
    }
}

/// As S3 has it: 3 to 63 lower-case letters, digits, `-` and `.`.
fn is_bucket_name(name: &str) -> bool {
    let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'.');
    let ends = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_alphanumeric());
    (3..=63).contains(&name.len())
        && name.bytes().all(legal)
        && ends(name.bytes().next())
        && ends(name.bytes().last())
        && !name.contains("..")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const GOOD: &[(&str, &str)] = &[
        ("LAKEPASS_MINIO_URL", "http://127.0.0.1:9000"),
        ("LAKEPASS_MINIO_ROOT_USER", "root"),
        ("LAKEPASS_MINIO_ROOT_PASSWORD", "hunter2hunter2"),
        ("LAKEPASS_KBASE_AUTH_URL", "http://127.0.0.1:9001/"),
    ];

    fn load(toml: &str, env: &[(&str, &str)]) -> Result<Config, String> {
        let env: BTreeMap<&str, &str> = env.iter().copied().collect();
        Config::read(File::parse(toml)?, &|name| env.get(name).map(|value| (*value).to_owned()))
            .map_err(|error| error.to_string())
    }

    #[test]
    fn the_environment_wins_over_the_file() {
        let env = [GOOD, &[("LAKEPASS_BUCKET", "lake-b"), ("LAKEPASS_ADMIN_ROLES", "A, B")]].concat();
        let config = load("bucket = 'lake-a'\nsession_max = 7200\nadmin_roles = ['C']", &env).unwrap();
        assert_eq!((config.lake.bucket(), config.sessions.max.as_secs()), ("lake-b", 7200));
        assert_eq!(config.kbase.unwrap().admin_roles.into_iter().collect::<Vec<_>>(), ["A", "B"]);
        assert!(!format!("{:?}", config.minio).contains("hunter2"));
    }

    #[test]
    fn every_mistake_is_listed_and_no_secret_is_quoted() {
        let mistakes = load(
            "",
            &[
                ("LAKEPASS_LISTEN", "nowhere"),
                ("LAKEPASS_CONSOLE_URL", "http://127.0.0.1:9001/minio"),
                ("LAKEPASS_MINIO_ROOT_PASSWORD", "SHORT"),
                ("LAKEPASS_MINIO_ROOT_USER", "lakepass-x"),
                ("LAKEPASS_BUCKET", "lakepass"),
                ("LAKEPASS_HOME_TEMPLATES", "x/{user},x/{user}"),
                ("LAKEPASS_SESSION_DEFAULT", "60"),
                ("LAKEPASS_DEFAULT_SCOPE", "all"),
                ("LAKEPASS_AUDIT_REQUIRED", "true"),
                ("LAKEPASS_RECONCILE_EVERY", "daily"),
                ("LAKEPASS_POLICIES", "/nonexistent"),
                ("LAKEPASS_CONNECTIONS", "0"),
                ("LAKEPASS_USER_REQUESTS", "-1"),
                ("LAKEPASS_TRUSTED_PROXIES", "10.0.0.0/8,proxy.example"),
                ("LAKEPASS_KEY_FILE", "/nonexistent"),
                ("LAKEPASS_KBASE_API", "on"),
                ("LAKEPASS_KBASE_KEY_OVERLAP", "604801"),
                ("LAKEPASS_KBASE_READ_ONLY_SUFFIX", "/ro"),
                ("LAKEPASS_JWT_ISSUERS", "{"),
                ("LOG_SENSITIVE_BODIES", "1"),
            ],
        )
        .unwrap_err();
        for name in [
            "LISTEN",
            "MINIO_URL",
            "CONSOLE_URL",
            "MINIO_ROOT_USER",
            "MINIO_ROOT_PASSWORD",
            "LEDGER_BUCKET",
            "HOME_TEMPLATES",
            "AUDIT_REQUIRED",
            "SESSION_DEFAULT",
            "DEFAULT_SCOPE",
            "RECONCILE_EVERY",
            "POLICIES",
            "CONNECTIONS",
            "USER_REQUESTS",
            "TRUSTED_PROXIES",
            "KEY_FILE",
            "JWT_ISSUERS",
            "KBASE_AUTH_URL",
            "KBASE_API",
            "KBASE_KEY_OVERLAP",
            "KBASE_READ_ONLY_SUFFIX",
        ] {
            assert!(mistakes.contains(&format!("LAKEPASS_{name}")), "{name} in {mistakes}");
        }
        assert!(mistakes.contains("LOG_SENSITIVE_BODIES") && !mistakes.contains("SHORT"));
    }

    #[test]
    fn an_unknown_setting_is_a_mistake() {
        assert!(load("buckets = 'x'", GOOD).is_err());
        assert!(load("minio_root_password = 'secret'", GOOD).is_err_and(|error| !error.contains("'secret'")));
    }
}
