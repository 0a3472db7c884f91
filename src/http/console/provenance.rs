//! Who made a browser send a request: a page of ours, or somebody else's.

use axum::http::{HeaderMap, header};

/// Where a request comes from, as the browser says. A page cannot forge it.
///
/// Reference: Fetch Metadata Request Headers (W3C), and the `Origin` header of the Fetch standard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Provenance {
    /// A page of our own origin.
    Ours,
    /// A page of another origin, be it of the same site.
    Foreign,
    /// Nobody says: a program, or an address that somebody typed.
    Unsaid,
}

impl Provenance {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("null"));
        match (text("sec-fetch-site"), text("origin")) {
            (Some("same-origin"), _) => Self::Ours,
            (Some("none"), None) => Self::Unsaid,
            (Some(_), _) => Self::Foreign,
            // Browsers leave it out on plain http, except on loopback.
            (None, Some(origin)) => {
                let host = origin.split_once("://").map(|(_, host)| host);
                let ours =
                    host.is_some() && host.map(str::to_ascii_lowercase) == text("host").map(str::to_ascii_lowercase);
                if ours { Self::Ours } else { Self::Foreign }
            }
            (None, None) => Self::Unsaid,
        }
    }
}

/// Whether the browser reaches us by https. It says so itself, or the proxy before us does.
pub(super) fn is_https(headers: &HeaderMap) -> bool {
    let starts = |name, with: &str| {
        let value = headers.get(name).and_then(|value| value.to_str().ok());
        value.is_some_and(|value| value.get(..with.len()).is_some_and(|start| start.eq_ignore_ascii_case(with)))
    };
    starts(header::ORIGIN.as_str(), "https://") || starts("x-forwarded-proto", "https")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(given: &[(&'static str, &str)]) -> HeaderMap {
        given.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn the_browser_says_where_a_request_comes_from() {
        use Provenance::*;
        for (given, expected) in [
            (&[][..], Unsaid),
            (&[("sec-fetch-site", "none")], Unsaid),
            (&[("sec-fetch-site", "same-origin")], Ours),
            // Behind a proxy that does not pass our name on.
            (&[("sec-fetch-site", "same-origin"), ("origin", "https://lake.org"), ("host", "10.0.0.1")], Ours),
            (&[("sec-fetch-site", "same-site")], Foreign),
            (&[("sec-fetch-site", "cross-site"), ("origin", "http://lake.org"), ("host", "lake.org")], Foreign),
            (&[("sec-fetch-site", "none"), ("origin", "http://evil.org")], Foreign),
            (&[("origin", "http://Lake.org:8080"), ("host", "lake.org:8080")], Ours),
            (&[("origin", "http://lake.org:8081"), ("host", "lake.org:8080")], Foreign),
            (&[("origin", "http://lake.org.evil.org"), ("host", "lake.org")], Foreign),
            (&[("origin", "null"), ("host", "lake.org")], Foreign),
            (&[("origin", "null")], Foreign),
            (&[("host", "lake.org")], Unsaid),
        ] {
            assert_eq!(Provenance::of(&headers(given)), expected, "{given:?}");
        }
    }

    #[test]
    fn https_is_seen_from_the_browser_or_the_proxy_before_us() {
        assert!(is_https(&headers(&[("origin", "https://lake.org")])));
        assert!(is_https(&headers(&[("x-forwarded-proto", "HTTPS,http")])));
        assert!(!is_https(&headers(&[("origin", "http://lake.org"), ("x-forwarded-proto", "http")])));
        assert!(!is_https(&headers(&[("x-forwarded-proto", "é")])));
    }
}
