//! Which requests are allowed.

use std::net::IpAddr;

use http::{HeaderMap, HeaderName, HeaderValue, header::AUTHORIZATION};

use crate::token::{ApiToken, MAX_TOKEN_BYTES, TokenDigest};

/// The authentication scheme, compared without regard to case (RFC 9110, section 11.1).
const SCHEME: &[u8] = b"bearer";

/// The headers that hold nothing but a token: Anthropic's clients send the first one, Azure's the
/// second.
pub const TOKEN_HEADERS: [HeaderName; 2] = [
    HeaderName::from_static("x-api-key"),
    HeaderName::from_static("api-key"),
];

/// A policy that contradicts itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    /// A token is required, but none is set.
    #[error("authentication is required of everyone, but no token is set")]
    RequiredWithoutToken,
}

/// Why a request is refused. Never holds what the client presented.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// No header holds a token.
    #[error("a token is needed, as \"Authorization: Bearer …\", \"x-api-key\" or \"api-key\"")]
    Missing,
    /// A header occurs twice, or two headers hold different tokens.
    #[error(
        "the request holds two different credentials: send one token, in one of Authorization, \
         x-api-key and api-key"
    )]
    Conflicting,
    /// `x-api-key` or `api-key` does not hold a token.
    #[error("x-api-key and api-key must hold a token and nothing else")]
    NotAToken,
    /// The header does not hold a bearer token.
    #[error("the Authorization header must be \"Bearer\" and a token")]
    NotBearer,
    /// The token is wrong.
    #[error("the bearer token is not valid")]
    WrongToken,
    /// No token is set, and the peer is on another machine.
    #[error("no token is set on this server, so it serves its own machine only")]
    NotLoopback,
}

/// Decides about each request of a listener.
#[derive(Debug, Clone)]
pub struct AuthPolicy {
    rule: Rule,
}

#[derive(Debug, Clone)]
enum Rule {
    Token(TokenDigest),
    LoopbackOnly,
}

impl Default for AuthPolicy {
    /// Loopback peers only.
    fn default() -> Self {
        Self {
            rule: Rule::LoopbackOnly,
        }
    }
}

impl AuthPolicy {
    /// With a token, every client must present it, loopback peers too. Without one, only loopback
    /// peers are served; `require` refuses that.
    ///
    /// # Errors
    /// When a token is required and none is given.
    pub fn new(token: Option<ApiToken>, require: bool) -> Result<Self, PolicyError> {
        let rule = match token {
            Some(token) => Rule::Token(token.digest()),
            None if require => return Err(PolicyError::RequiredWithoutToken),
            None => Rule::LoopbackOnly,
        };
        Ok(Self { rule })
    }

    /// Whether `peer` with these request headers may be served.
    ///
    /// An absent, malformed or wrong token takes the same path through the comparison as the right
    /// one.
    ///
    /// # Errors
    /// When it may not; respond with 401.
    pub fn authorize(&self, peer: IpAddr, headers: &HeaderMap) -> Result<(), AuthError> {
        match &self.rule {
            Rule::LoopbackOnly if peer.to_canonical().is_loopback() => Ok(()),
            Rule::LoopbackOnly => Err(AuthError::NotLoopback),
            Rule::Token(expected) => {
                let presented = presented(headers);
                let digest = TokenDigest::of(presented.unwrap_or_default());
                let matches = expected.matches(&digest);
                match presented {
                    Err(error) => Err(error),
                    Ok(_) if matches => Ok(()),
                    Ok(_) => Err(AuthError::WrongToken),
                }
            }
        }
    }

    /// Whether a token is set.
    #[must_use]
    pub fn has_token(&self) -> bool {
        matches!(self.rule, Rule::Token(_))
    }

    /// Which clients are served, for the log at start-up.
    #[must_use]
    pub fn describe(&self) -> &'static str {
        match self.rule {
            Rule::Token(_) => "every peer must present the API token",
            Rule::LoopbackOnly => {
                "no API token is set: only loopback peers are served, all others get 401"
            }
        }
    }
}

/// The token that a client presents. The length of a token is not secret, so an absurdly long one
/// is refused without hashing.
fn presented(headers: &HeaderMap) -> Result<&[u8], AuthError> {
    let mut found = match only(headers, &AUTHORIZATION)? {
        Some(value) => Some(bearer(value).ok_or(AuthError::NotBearer)?),
        None => None,
    };
    for name in &TOKEN_HEADERS {
        // Clients without a token send an empty header.
        let Some(value) = only(headers, name)?.filter(|value| !value.is_empty()) else {
            continue;
        };
        let token = bare(value).ok_or(AuthError::NotAToken)?;
        match found {
            None => found = Some(token),
            Some(other) if TokenDigest::of(other).matches(&TokenDigest::of(token)) => {}
            Some(_) => return Err(AuthError::Conflicting),
        }
    }
    found.ok_or(AuthError::Missing)
}

/// The value of a header. With two values, two parties may disagree about the client.
fn only<'h>(
    headers: &'h HeaderMap,
    name: &HeaderName,
) -> Result<Option<&'h HeaderValue>, AuthError> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (value, None) => Ok(value),
        _ => Err(AuthError::Conflicting),
    }
}

fn bare(value: &HeaderValue) -> Option<&[u8]> {
    let token = value.as_bytes().trim_ascii();
    (1..=MAX_TOKEN_BYTES)
        .contains(&token.len())
        .then_some(token)
}

fn bearer(value: &HeaderValue) -> Option<&[u8]> {
    let (scheme, rest) = value.as_bytes().split_at_checked(SCHEME.len())?;
    let token = rest.trim_ascii();
    let well_formed = scheme.eq_ignore_ascii_case(SCHEME)
        && rest.first() == Some(&b' ')
        && (1..=MAX_TOKEN_BYTES).contains(&token.len());
    well_formed.then_some(token)
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    const CANARY: &str = "canary-9f8e7d6c";
    const REMOTE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 168, 1, 7));
    const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    fn with_token() -> AuthPolicy {
        AuthPolicy::new(Some(CANARY.parse().unwrap()), false).unwrap()
    }

    fn headers(values: &[&str]) -> HeaderMap {
        values
            .iter()
            .map(|value| (AUTHORIZATION, HeaderValue::from_str(value).unwrap()))
            .collect()
    }

    // spec: AUTH-1
    #[test]
    fn the_token_opens_for_everyone() {
        for value in [
            format!("Bearer {CANARY}"),
            format!("bearer {CANARY}"),
            format!("BEARER   {CANARY}"),
        ] {
            for peer in [REMOTE, LOOPBACK] {
                assert_eq!(
                    with_token().authorize(peer, &headers(&[&value])),
                    Ok(()),
                    "{value}"
                );
            }
        }
    }

    // spec: AUTH-1
    #[test]
    fn anything_else_does_not() {
        let twice = format!("Bearer {CANARY}");
        let long = format!("Bearer {}", "x".repeat(MAX_TOKEN_BYTES + 1));
        let prefix = format!("Bearer {}", &CANARY[..CANARY.len() - 1]);
        let longer = format!("Bearer {CANARY}x");
        let unseparated = format!("Bearer{CANARY}");
        let tab = format!("Bearer\t{CANARY}");
        let basic = format!("Basic {CANARY}");
        for (values, error) in [
            (&[][..], AuthError::Missing),
            (&[twice.as_str(), twice.as_str()], AuthError::Conflicting),
            (&[""], AuthError::NotBearer),
            (&["Bearer"], AuthError::NotBearer),
            (&["Bearer "], AuthError::NotBearer),
            (&[CANARY], AuthError::NotBearer),
            (&[&unseparated], AuthError::NotBearer),
            (&[&tab], AuthError::NotBearer),
            (&[&basic], AuthError::NotBearer),
            (&[&long], AuthError::NotBearer),
            (&["Bearer wrong-token"], AuthError::WrongToken),
            (&[&prefix], AuthError::WrongToken),
            (&[&longer], AuthError::WrongToken),
        ] {
            for peer in [REMOTE, LOOPBACK] {
                assert_eq!(
                    with_token().authorize(peer, &headers(values)),
                    Err(error),
                    "{values:?}"
                );
            }
        }
    }

    // spec: AUTH-20
    #[test]
    fn a_token_may_be_in_the_header_of_another_api() {
        let bearer = format!("Bearer {CANARY}");
        let wrong = format!("{CANARY}x");
        let long = "x".repeat(MAX_TOKEN_BYTES + 1);
        let (x_api_key, api_key, authorization) = ("x-api-key", "api-key", "authorization");
        for (headers, expected) in [
            (&[(x_api_key, CANARY)][..], Ok(())),
            (&[(api_key, CANARY)], Ok(())),
            (&[(x_api_key, CANARY), (authorization, &bearer)], Ok(())),
            (&[(x_api_key, CANARY), (api_key, CANARY)], Ok(())),
            (&[(x_api_key, ""), (authorization, &bearer)], Ok(())),
            (&[(x_api_key, "")], Err(AuthError::Missing)),
            (&[(x_api_key, &wrong)], Err(AuthError::WrongToken)),
            (&[(api_key, &long)], Err(AuthError::NotAToken)),
            (&[(x_api_key, &bearer)], Err(AuthError::WrongToken)),
            (
                &[(x_api_key, &wrong), (authorization, &bearer)],
                Err(AuthError::Conflicting),
            ),
            (
                &[(x_api_key, CANARY), (api_key, &wrong)],
                Err(AuthError::Conflicting),
            ),
            (
                &[(api_key, CANARY), (api_key, CANARY)],
                Err(AuthError::Conflicting),
            ),
            (
                &[(x_api_key, CANARY), (authorization, "Basic x")],
                Err(AuthError::NotBearer),
            ),
        ] {
            let mut map = HeaderMap::new();
            for (name, value) in headers {
                map.append(*name, HeaderValue::from_str(value).unwrap());
            }
            assert_eq!(
                with_token().authorize(REMOTE, &map),
                expected,
                "{headers:?}"
            );
        }
    }

    // spec: AUTH-2
    #[test]
    fn without_a_token_local_peers_are_served() {
        let policy = AuthPolicy::new(None, false).unwrap();
        for own in [
            LOOPBACK,
            Ipv4Addr::new(127, 8, 9, 10).into(),
            Ipv6Addr::LOCALHOST.into(),
            Ipv4Addr::LOCALHOST.to_ipv6_mapped().into(),
        ] {
            assert_eq!(policy.authorize(own, &HeaderMap::new()), Ok(()), "{own}");
        }
        for other in [
            REMOTE,
            Ipv4Addr::UNSPECIFIED.into(),
            Ipv4Addr::new(192, 168, 1, 7).to_ipv6_mapped().into(),
            Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1).into(),
        ] {
            // A client's invented token changes nothing.
            let headers = headers(&["Bearer something-else"]);
            assert_eq!(
                policy.authorize(other, &headers),
                Err(AuthError::NotLoopback),
                "{other}"
            );
        }
    }

    // spec: AUTH-3
    #[test]
    fn requiring_a_token_without_one_is_refused() {
        assert_eq!(
            AuthPolicy::new(None, true).unwrap_err(),
            PolicyError::RequiredWithoutToken
        );
        let policy = AuthPolicy::new(Some(CANARY.parse().unwrap()), true).unwrap();
        assert!(policy.authorize(LOOPBACK, &HeaderMap::new()).is_err());
        assert!(policy.has_token());
    }

    // spec: AUTH-4
    #[test]
    fn no_output_holds_a_token() {
        let policy = with_token();
        let basic = headers(&[&format!("Basic {CANARY}")]);
        let wrong = headers(&[&format!("Bearer {CANARY}x")]);
        let errors =
            [&basic, &wrong, &HeaderMap::new()].map(|h| policy.authorize(REMOTE, h).unwrap_err());
        let mut shown = format!("{policy:?} {policy:#?} {}", policy.describe());
        for error in errors {
            shown += &format!(" {error} {error:?}");
        }
        assert!(!shown.contains("canary"), "{shown}");
    }
}
