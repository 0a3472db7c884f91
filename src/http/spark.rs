//! Settings for Spark, ready to paste.

use std::collections::BTreeMap;

use secrecy::ExposeSecret;
use zeroize::Zeroizing;

use crate::minio::SessionKeys;

/// Names and values as `spark-defaults.conf` has them.
pub type SparkSettings = BTreeMap<String, Zeroizing<String>>;

pub fn with_session_keys(endpoint: &str, warehouse: Option<&String>, keys: &SessionKeys) -> SparkSettings {
    let secrets = [
        ("aws.credentials.provider", "org.apache.hadoop.fs.s3a.TemporaryAWSCredentialsProvider"),
        ("access.key", keys.access_key_id.as_str()),
        ("secret.key", keys.secret_access_key.expose_secret()),
        ("session.token", keys.session_token.expose_secret()),
    ];
    settings(endpoint, warehouse, &secrets)
}

pub fn with_lake_key(endpoint: &str, warehouse: Option<&String>, access_key: &str, secret_key: &str) -> SparkSettings {
    let secrets = [
        ("aws.credentials.provider", "org.apache.hadoop.fs.s3a.SimpleAWSCredentialsProvider"),
        ("access.key", access_key),
        ("secret.key", secret_key),
    ];
    settings(endpoint, warehouse, &secrets)
}

fn settings(endpoint: &str, warehouse: Option<&String>, secrets: &[(&str, &str)]) -> SparkSettings {
    let ssl = endpoint.starts_with("https").to_string();
    let place = [("endpoint", endpoint), ("path.style.access", "true"), ("connection.ssl.enabled", &ssl)];
    let s3a = place.iter().chain(secrets);
    let s3a = s3a.map(|(key, value)| (format!("spark.hadoop.fs.s3a.{key}"), (*value).to_owned().into()));
    s3a.chain(warehouse.map(|url| ("spark.sql.warehouse.dir".to_owned(), url.clone().into()))).collect()
}
