//! Signing what no SDK of AWS sends: SigV4 as root, with the service `s3`.

use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sigv4::{
    http_request::{
        PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings,
        UriPathNormalizationMode, sign,
    },
    sign::v4,
};
use reqwest::{Method, Request};
use secrecy::ExposeSecret;
use url::Url;

use super::Minio;

impl Minio {
    /// Nothing, if it cannot be signed.
    pub(super) fn signed(&self, method: &Method, url: Url, region: &str, body: &[u8]) -> Option<Request> {
        let password = self.config.root_password.expose_secret();
        let credentials = Credentials::new(&self.config.root_user, password, None, None, "lakepass").into();
        let mut settings = SigningSettings::default();
        settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
        settings.percent_encoding_mode = PercentEncodingMode::Single;
        settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
        let params = v4::SigningParams::builder()
            .identity(&credentials)
            .region(region)
            .name("s3")
            .time(SystemTime::now())
            .settings(settings)
            .build()
            .ok()?
            .into();
        let host = match url.port() {
            Some(port) => format!("{}:{port}", url.host_str()?),
            None => url.host_str()?.to_owned(),
        };
        let headers = [("host", host.as_str())].into_iter();
        let signable = SignableRequest::new(method.as_str(), url.as_str(), headers, SignableBody::Bytes(body)).ok()?;
        let (signature, _) = sign(signable, &params).ok()?.into_parts();
        let request = self.http.request(method.clone(), url).body(body.to_vec());
        let request = signature.headers().fold(request, |request, (name, value)| request.header(name, value));
        request.build().ok()
    }
}
