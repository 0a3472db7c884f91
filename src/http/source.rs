//! Which address a request comes from.

use std::{convert::Infallible, net::IpAddr, net::Ipv4Addr, sync::Arc};

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, request::Parts},
};
use ipnet::IpNet;

use super::App;
use crate::{limits::household, server::Peer};

/// Whom limits for an address count it for. Nothing else goes by it: `X-Forwarded-For` is anybody's word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Source(pub IpAddr);

impl FromRequestParts<Arc<App>> for Source {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Infallible> {
        let peer = parts.extensions.get::<Peer>().map_or(Ipv4Addr::UNSPECIFIED.into(), |peer| peer.0);
        Ok(Self(household(origin(peer.to_canonical(), &parts.headers, &app.trusted_proxies))))
    }
}

/// The last address that no trusted proxy stands for: each one adds, at the end, whom it was asked by.
fn origin(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let is_trusted = |address: IpAddr| trusted.iter().any(|network| network.contains(&address));
    let lines = headers.get_all("x-forwarded-for").iter().rev().map(|line| line.to_str().unwrap_or_default());
    let mut origin = peer;
    for hop in lines.flat_map(|line| line.rsplit(',')) {
        match hop.trim().parse::<IpAddr>() {
            Ok(before) if is_trusted(origin) => origin = before.to_canonical(),
            Ok(_) | Err(_) => break,
        }
    }
    origin
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_trusted_proxies_are_believed_and_only_the_last_word() {
        let origin_with = |peer: &str, lines: &[&str], trusted: &[&str]| {
            let headers = lines.iter().map(|line| ("x-forwarded-for".parse().unwrap(), line.parse().unwrap()));
            let trusted: Vec<IpNet> = trusted.iter().map(|network| network.parse().unwrap()).collect();
            origin(peer.parse().unwrap(), &headers.collect(), &trusted).to_string()
        };
        let proxies = &["10.0.0.0/8", "fd00::/8"];
        for (peer, lines, trusted, expected) in [
            ("192.0.2.1", &["198.51.100.7"][..], &[][..], "192.0.2.1"),
            ("192.0.2.1", &["198.51.100.7"], proxies, "192.0.2.1"),
            ("10.0.0.1", &["198.51.100.7"], proxies, "198.51.100.7"),
            ("10.0.0.1", &["203.0.113.9, 198.51.100.7"], proxies, "198.51.100.7"),
            ("10.0.0.1", &["203.0.113.9", "198.51.100.7, 10.9.9.9"], proxies, "198.51.100.7"),
            ("fd00::1", &["2001:db8::1"], proxies, "2001:db8::1"),
            ("10.0.0.1", &["nonsense"], proxies, "10.0.0.1"),
            ("10.0.0.1", &["198.51.100.7, nonsense"], proxies, "10.0.0.1"),
            ("10.0.0.1", &[], proxies, "10.0.0.1"),
        ] {
            assert_eq!(origin_with(peer, lines, trusted), expected, "{peer} {lines:?}");
        }
    }
}
