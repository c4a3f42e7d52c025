//! Who is served, and as whom.

use std::{
    net::{Ipv4Addr, Ipv6Addr},
    time::{Duration, UNIX_EPOCH},
};

use super::*;
use crate::{AccessToken, Identity, KeyLimits, Scope};

const CANARY: &str = "canary-9f8e7d6c";
const REMOTE: IpAddr = IpAddr::V4(Ipv4Addr::new(192, 168, 1, 7));
const NOW: SystemTime = UNIX_EPOCH;
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
                with_token().authorize(peer, &headers(&[&value]), NOW),
                Ok(Principal::ApiToken),
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
                with_token().authorize(peer, &headers(values), NOW),
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
            with_token().authorize(REMOTE, &map, NOW),
            expected.map(|()| Principal::ApiToken),
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
        assert_eq!(
            policy.authorize(own, &HeaderMap::new(), NOW),
            Ok(Principal::Loopback),
            "{own}"
        );
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
            policy.authorize(other, &headers, NOW),
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
    assert!(policy.authorize(LOOPBACK, &HeaderMap::new(), NOW).is_err());
    assert!(policy.has_token());
}

// spec: AUTH-4
#[test]
fn no_output_holds_a_token() {
    let policy = with_token();
    let basic = headers(&[&format!("Basic {CANARY}")]);
    let wrong = headers(&[&format!("Bearer {CANARY}x")]);
    let errors =
        [&basic, &wrong, &HeaderMap::new()].map(|h| policy.authorize(REMOTE, h, NOW).unwrap_err());
    let mut shown = format!("{policy:?} {policy:#?} {}", policy.describe());
    for error in errors {
        shown += &format!(" {error} {error:?}");
    }
    assert!(!shown.contains("canary"), "{shown}");
}

fn identity(name: &str, expires_at: Option<SystemTime>) -> Arc<Identity> {
    Arc::new(Identity {
        id: name.into(),
        name: name.into(),
        scopes: Scope::Client.into(),
        node: None,
        expires_at,
        limits: KeyLimits::default(),
    })
}

fn credential(token: &AccessToken, identity: &Arc<Identity>) -> Credential {
    Credential {
        digest: token.digest(),
        identity: Arc::clone(identity),
        valid_until: None,
        is_revoked: false,
    }
}

fn ask(policy: &AuthPolicy, token: &str, now: SystemTime) -> Result<Principal, AuthError> {
    policy.authorize(REMOTE, &headers(&[&format!("Bearer {token}")]), now)
}

// spec: AUTH-22, AUTH-26
#[test]
fn a_key_is_found_until_it_ends() {
    let policy = with_token();
    let [key, old, revoked, unknown] = [(); 4].map(|()| AccessToken::generate().unwrap());
    let hour = Duration::from_secs(3600);
    let one = identity("one", Some(NOW + 2 * hour));
    let credentials = vec![
        credential(&key, &one),
        Credential {
            valid_until: Some(NOW + hour),
            ..credential(&old, &one)
        },
        Credential {
            is_revoked: true,
            ..credential(&revoked, &identity("two", None))
        },
    ];
    let shared = policy.clone();
    assert_eq!(ask(&policy, key.reveal(), NOW), Err(AuthError::WrongToken));
    shared.replace_keys(KeySource::Store, credentials);

    let is_one = Ok(Principal::Key(Arc::clone(&one)));
    let mut mistyped = key.reveal().to_owned();
    mistyped.pop();
    // It is not looked up: also the digest of a key does not help it.
    let of_key = Credential {
        digest: TokenDigest::of(mistyped.as_bytes()),
        ..credential(&key, &identity("mistyped", None))
    };
    shared.replace_keys(KeySource::File, vec![of_key]);
    for (token, now, expected) in [
        (key.reveal(), NOW, is_one.clone()),
        (old.reveal(), NOW, is_one.clone()),
        (old.reveal(), NOW + hour, Err(AuthError::Expired)),
        (key.reveal(), NOW + hour, is_one),
        (key.reveal(), NOW + 2 * hour, Err(AuthError::Expired)),
        (revoked.reveal(), NOW, Err(AuthError::Revoked)),
        (unknown.reveal(), NOW, Err(AuthError::WrongToken)),
        (&mistyped, NOW, Err(AuthError::Mistyped)),
        (CANARY, NOW, Ok(Principal::ApiToken)),
    ] {
        assert_eq!(ask(&policy, token, now), expected);
    }
    shared.replace_keys(KeySource::Store, vec![]);
    assert_eq!(ask(&policy, key.reveal(), NOW), Err(AuthError::WrongToken));
}

// spec: AUTH-27
#[test]
fn with_the_first_key_loopback_peers_present_a_credential() {
    let policy = AuthPolicy::new(None, false).unwrap();
    let nothing = HeaderMap::new();
    let local = |policy: &AuthPolicy| policy.authorize(LOOPBACK, &nothing, NOW);
    assert_eq!(local(&policy), Ok(Principal::Loopback));
    let token = AccessToken::generate().unwrap();
    // Also a revoked one: revoking the last key must not open the server.
    let key = Credential {
        is_revoked: true,
        ..credential(&token, &identity("key", None))
    };
    policy.replace_keys(KeySource::Store, vec![key]);
    assert_eq!(local(&policy), Err(AuthError::Missing));
    assert!(policy.describe().contains("token of a key"));
    // A file of keys is the wish for credentials, whatever it holds.
    assert_eq!(
        local(&AuthPolicy::with_keys_only(None)),
        Err(AuthError::Missing)
    );
}

#[test]
fn sources_do_not_replace_each_other() {
    let policy = AuthPolicy::with_keys_only(None);
    let [stored, filed] = [(); 2].map(|()| AccessToken::generate().unwrap());
    policy.replace_keys(
        KeySource::Store,
        vec![credential(&stored, &identity("s", None))],
    );
    policy.replace_keys(
        KeySource::File,
        vec![credential(&filed, &identity("f", None))],
    );
    assert!(ask(&policy, stored.reveal(), NOW).is_ok());
    policy.replace_keys(KeySource::Store, vec![]);
    assert!(ask(&policy, stored.reveal(), NOW).is_err());
    assert!(ask(&policy, filed.reveal(), NOW).is_ok());
}

/// A token that a person has chosen may begin like an access token.
#[test]
fn the_api_token_has_no_checksum() {
    let token = "llorch_of-our-own-making";
    let policy = AuthPolicy::new(Some(token.parse().unwrap()), true).unwrap();
    assert_eq!(ask(&policy, token, NOW), Ok(Principal::ApiToken));
}

// spec: JOIN-21
#[test]
fn a_revoked_certificate_is_refused_and_a_later_one_is_not() {
    let policy = AuthPolicy::default();
    let issued_at = |secs| {
        let names = ["spiffe://llorch/node/a".to_owned()];
        let holder = CertificateHolder::of(&names, NOW + Duration::from_secs(secs));
        Arc::new(holder.unwrap())
    };
    let (first, second) = (issued_at(10), issued_at(11));
    let principal = policy.holder(&first).unwrap();
    assert_eq!(principal.to_string(), "certificate of node a");
    assert!(principal.acts_for(crate::Access::NODE, "a").is_ok());
    let other = principal.acts_for(crate::Access::NODE, "b").unwrap_err();
    assert_eq!(
        other.to_string(),
        "the certificate of node a may act for the node a only"
    );
    assert_eq!(
        principal
            .may(crate::Access::CLIENT)
            .unwrap_err()
            .to_string(),
        "this needs a key with the scope client, and the certificate of node a has: node"
    );
    let revoked = [("a".parse().unwrap(), NOW + Duration::from_secs(10))];
    policy.replace_revoked_certificates(HashMap::from(revoked));
    assert_eq!(policy.holder(&first), Err(AuthError::RevokedCertificate));
    assert!(policy.holder(&second).is_ok());
}
