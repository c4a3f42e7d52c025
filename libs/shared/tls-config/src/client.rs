//! TLS of clients.

use std::{
    error::Error as StdError,
    fmt,
    path::{Path, PathBuf},
    sync::{Arc, OnceLock},
};

use rustls::{
    CertificateError, ClientConfig, Error, RootCertStore,
    client::{ResolvesClientCert, WebPkiServerVerifier, danger::ServerCertVerifier},
    pki_types::CertificateDer,
    sign::SingleCertAndKey,
};

use crate::{
    Fingerprint, IdentityFiles, Reload, TlsError,
    certificate::Parsed,
    error::TlsProblem,
    files,
    holder::{self, HolderError},
    pinned::PinnedCa,
    provider::{VERSIONS, provider},
    reloaded::Reloaded,
};

/// The only protocol of our clients.
const PROTOCOL: &[u8] = b"http/1.1";

/// What stands for a file in errors about the CAs of the system.
const SYSTEM_ROOTS: &str = "the system's CA certificates";

/// Which servers a client trusts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Trust {
    /// Those with a certificate of a CA that the system trusts.
    #[default]
    System,
    /// Those with a certificate of a CA in this file.
    CaFile(PathBuf),
    /// Those with a certificate of the CA with this fingerprint. They must present the CA's
    /// certificate too.
    Pinned(Fingerprint),
}

/// The TLS of a client, as its files are now. Clones share one state.
#[derive(Clone)]
pub struct ClientTls {
    inner: Arc<Inner>,
    /// The only holder of a certificate that servers may be.
    holder: Option<Arc<str>>,
}

struct Inner {
    trust: Trust,
    identity: Option<IdentityFiles>,
    state: Reloaded<ClientState>,
}

struct ClientState {
    /// Empty until the first connection where only the system's roots are needed: reading them
    /// takes milliseconds, and many clients never open a TLS connection.
    config: OnceLock<Arc<ClientConfig>>,
    /// The CA of the client's own certificate, where its file has it.
    own_ca: RootCertStore,
}

impl ClientTls {
    /// Reads and checks the files. `identity` is the client's own certificate.
    ///
    /// # Errors
    /// When a file cannot be used.
    pub fn load(trust: Trust, identity: Option<IdentityFiles>) -> Result<Self, TlsError> {
        let mut paths = Vec::new();
        if let Trust::CaFile(file) = &trust {
            paths.push(file.clone());
        }
        paths.extend(identity.iter().flat_map(IdentityFiles::paths));
        let state = Reloaded::new(paths, || state(&trust, identity.as_ref()))?;
        Ok(Self::of(trust, identity, state))
    }

    /// A client that trusts the system's CAs and has no certificate.
    #[must_use]
    pub fn system() -> Self {
        let state = Reloaded::without_files(ClientState {
            config: OnceLock::new(),
            own_ca: RootCertStore::empty(),
        });
        Self::of(Trust::System, None, state)
    }

    fn of(trust: Trust, identity: Option<IdentityFiles>, state: Reloaded<ClientState>) -> Self {
        let inner = Inner {
            trust,
            identity,
            state,
        };
        Self {
            inner: Arc::new(inner),
            holder: None,
        }
    }

    /// The same, for the server with this SPIFFE id only. A server whose certificate has no such id
    /// is accepted by its host name, unless it is of the CA of the client's own certificate.
    #[must_use]
    pub fn expecting(&self, holder: impl Into<Arc<str>>) -> Self {
        Self {
            inner: Arc::clone(&self.inner),
            holder: Some(holder.into()),
        }
    }

    /// Whether the server with this verified chain is the one that is wanted. Connections call it
    /// after the handshake, before the first byte is sent; a resumed session has the chain of its
    /// first handshake.
    ///
    /// # Errors
    /// When it is another one; [`explain`] says so.
    pub fn check_holder(&self, chain: Option<&[CertificateDer<'_>]>) -> Result<(), HolderError> {
        let Some(wanted) = &self.holder else {
            return Ok(());
        };
        let state = self.inner.state.current();
        holder::check(chain, wanted, &state.own_ca)
    }

    /// The configuration for the next connection.
    ///
    /// # Errors
    /// When the system has no CA certificates.
    pub fn config(&self) -> Result<Arc<ClientConfig>, TlsError> {
        let state = self.inner.state.current();
        if let Some(config) = state.config.get() {
            return Ok(Arc::clone(config));
        }
        let config = config(&self.inner.trust, self.inner.identity.as_ref())?;
        Ok(Arc::clone(state.config.get_or_init(|| config)))
    }

    /// Whether there are files that may change.
    #[must_use]
    pub fn has_files(&self) -> bool {
        self.inner.state.has_files()
    }

    /// Reads the files again. Connections that are open keep what they began with.
    #[must_use]
    pub fn reload(&self) -> Reload {
        let (trust, identity) = (&self.inner.trust, self.inner.identity.as_ref());
        self.inner.state.reload(|| state(trust, identity))
    }
}

impl PartialEq for ClientTls {
    /// Whether both share one state and want the same server.
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner) && self.holder == other.holder
    }
}

impl Eq for ClientTls {}

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientTls")
            .field("trust", &self.inner.trust)
            .field("identity", &self.inner.identity)
            .field("holder", &self.holder)
            .finish_non_exhaustive()
    }
}

fn state(trust: &Trust, identity: Option<&IdentityFiles>) -> Result<ClientState, TlsError> {
    let state = ClientState {
        config: OnceLock::new(),
        own_ca: identity.map_or_else(|| Ok(RootCertStore::empty()), own_ca)?,
    };
    if *trust != Trust::System || identity.is_some() {
        let config = config(trust, identity)?;
        state.config.get_or_init(|| config);
    }
    Ok(state)
}

fn config(trust: &Trust, identity: Option<&IdentityFiles>) -> Result<Arc<ClientConfig>, TlsError> {
    let verifier: Arc<dyn ServerCertVerifier> = match trust {
        Trust::System => verifier(system_roots()?, Path::new(SYSTEM_ROOTS))?,
        Trust::CaFile(file) => verifier(roots_from(file)?, file)?,
        Trust::Pinned(fingerprint) => Arc::new(PinnedCa::new(*fingerprint)),
    };
    let unusable = |error: Error| {
        let file = Path::new(SYSTEM_ROOTS);
        TlsError::new(file, TlsProblem::UnusableCa(error.to_string()))
    };
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(VERSIONS)
        .map_err(unusable)?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut config = match identity {
        Some(identity) => {
            let own: Arc<dyn ResolvesClientCert> =
                Arc::new(SingleCertAndKey::from(identity.load(None)?));
            builder.with_client_cert_resolver(own)
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    Ok(Arc::new(config))
}

/// The CAs behind a client's own certificate.
fn own_ca(identity: &IdentityFiles) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for der in identity.chain()?.into_iter().skip(1) {
        if Parsed::new(&der).is_ok_and(|parsed| parsed.is_ca()) {
            roots.add_parsable_certificates([der]);
        }
    }
    Ok(roots)
}

fn verifier(roots: RootCertStore, file: &Path) -> Result<Arc<dyn ServerCertVerifier>, TlsError> {
    WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider())
        .build()
        .map(|verifier| verifier as Arc<dyn ServerCertVerifier>)
        .map_err(|error| TlsError::new(file, TlsProblem::UnusableCa(error.to_string())))
}

/// The CAs in `file`, each of which must be valid now.
pub(crate) fn roots_from(file: &Path) -> Result<RootCertStore, TlsError> {
    let refuse = |problem| TlsError::new(file, problem);
    let mut roots = RootCertStore::empty();
    for ca in files::certificates(file, &files::read(file)?)? {
        let parsed = Parsed::new(&ca).map_err(refuse)?;
        parsed.check(std::time::SystemTime::now()).map_err(refuse)?;
        roots
            .add(ca)
            .map_err(|error| refuse(TlsProblem::UnusableCa(error.to_string())))?;
    }
    Ok(roots)
}

/// Leaves out what cannot be parsed, as every client does: such bundles hold all sorts of things.
fn system_roots() -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        let file = Path::new(SYSTEM_ROOTS);
        return Err(TlsError::new(file, TlsProblem::NoSystemRoots));
    }
    Ok(roots)
}

/// Why the handshake with a server failed, in one sentence; `None` if `error` is not about TLS.
#[must_use]
pub fn explain(error: &(dyn StdError + 'static)) -> Option<String> {
    if let Some(error) = find::<HolderError>(error) {
        return Some(error.to_string());
    }
    let error = find::<Error>(error)?;
    let reason = match error {
        Error::InvalidCertificate(reason) => reason,
        Error::InvalidMessage(_) => {
            return Some("the server does not speak TLS; use http://".to_owned());
        }
        other => return Some(format!("the TLS handshake failed: {other}")),
    };
    Some(match reason {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "the server's certificate has expired, or the clock of this machine is wrong".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "the server's certificate is not valid yet, or the clock of this machine is wrong"
                .to_owned()
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            format!("the server's certificate is for another name: {reason}")
        }
        CertificateError::UnknownIssuer => {
            "the server's certificate is of a CA that is not trusted here; name its CA".to_owned()
        }
        other => format!("the server's certificate is refused: {other}"),
    })
}

/// The error of this type among `error` and its causes.
fn find<'e, E: StdError + 'static>(error: &'e (dyn StdError + 'static)) -> Option<&'e E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<E>() {
            return Some(error);
        }
        next = match error.downcast_ref::<std::io::Error>() {
            Some(error) => error
                .get_ref()
                .map(|inner| inner as &(dyn StdError + 'static)),
            None => error.source(),
        };
    }
    None
}
