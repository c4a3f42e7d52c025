//! Why a request is refused.

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
    /// The token is an access token with a wrong checksum.
    #[error("the token is mistyped or incomplete: its checksum does not match")]
    Mistyped,
    /// The token, or its key, has expired.
    #[error("the token has expired: an operator can rotate its key")]
    Expired,
    /// The key was revoked.
    #[error("the key of this token was revoked")]
    Revoked,
    /// The certificate of a node was revoked.
    #[error("the certificate of this node was revoked: join again with a new join token")]
    RevokedCertificate,
    /// The session of a browser has ended, or never was.
    #[error("the session has ended: sign in again")]
    SessionEnded,
    /// No token is set, and the peer is on another machine.
    #[error("no token is set on this server, so it serves its own machine only")]
    NotLoopback,
}
