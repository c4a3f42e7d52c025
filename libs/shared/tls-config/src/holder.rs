//! Whom the certificate of a server must name.
//!
//! The CA of a control plane signs certificates of all nodes, and each of them may be a server. So
//! the name of a host is not enough: a node must not pass for the control plane, nor for another
//! node. Each of these certificates names its holder by a SPIFFE id.

use std::time::SystemTime;

use rustls::{
    RootCertStore,
    client::verify_server_cert_signed_by_trust_anchor,
    pki_types::{CertificateDer, UnixTime},
    server::ParsedCertificate,
};
use thiserror::Error;

use crate::{certificate::Parsed, provider::provider};

/// A server that is trusted, but is not the one that is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum HolderError {
    /// Its certificate names another holder.
    #[error("the server's certificate is that of {found}, and not that of {wanted}")]
    Other {
        /// Whom it names.
        found: String,
        /// Whom it must name.
        wanted: String,
    },
    /// Its certificate should name a holder.
    #[error(
        "the server's certificate is of this machine's own CA and names no one; it must be that \
         of {0}"
    )]
    NoOne(String),
}

/// Checks the verified chain of a server, its own certificate first.
///
/// A certificate that names holders in the trust domain of `wanted` must name `wanted` alone. One
/// that names none is of another CA, such as a public one, and its host name is enough; unless
/// `own_ca` has signed it, which signs no such certificates.
pub(crate) fn check(
    chain: Option<&[CertificateDer<'_>]>,
    wanted: &str,
    own_ca: &RootCertStore,
) -> Result<(), HolderError> {
    let no_one = || HolderError::NoOne(wanted.to_owned());
    let (own, rest) = chain.and_then(<[_]>::split_first).ok_or_else(no_one)?;
    let names = Parsed::new(own).map_err(|_| no_one())?.names();
    let domain = trust_domain(wanted);
    let holders = names.iter().filter(|name| trust_domain(name) == domain);
    let holders: Vec<&str> = holders.map(String::as_str).collect();
    match holders.as_slice() {
        [holder] if *holder == wanted => Ok(()),
        [] if is_signed_by(own_ca, own, rest) => Err(no_one()),
        [] => Ok(()),
        others => Err(HolderError::Other {
            found: others.join(" and "),
            wanted: wanted.to_owned(),
        }),
    }
}

/// `spiffe://domain`, in lower case: the domain of a SPIFFE id, whatever its path.
fn trust_domain(uri: &str) -> Option<String> {
    let (scheme, rest) = uri.split_once("://")?;
    let domain = rest.split('/').next().unwrap_or_default();
    scheme
        .eq_ignore_ascii_case("spiffe")
        .then(|| domain.to_ascii_lowercase())
}

fn is_signed_by(ca: &RootCertStore, own: &CertificateDer<'_>, rest: &[CertificateDer<'_>]) -> bool {
    let Ok(parsed) = ParsedCertificate::try_from(own) else {
        return true;
    };
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let now = UnixTime::since_unix_epoch(since.unwrap_or_default());
    let algorithms = provider().signature_verification_algorithms.all;
    !ca.is_empty()
        && verify_server_cert_signed_by_trust_anchor(&parsed, ca, rest, now, algorithms).is_ok()
}
