//! TLS of servers.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustls::{
    RootCertStore, ServerConfig,
    server::{WebPkiClientVerifier, danger::ClientCertVerifier},
    sign::SingleCertAndKey,
};

use crate::{
    IdentityFiles, Reload, TlsError,
    client::roots_from,
    error::TlsProblem,
    provider::{VERSIONS, provider},
    reloaded::Reloaded,
};

/// The protocols of a server, the preferred one first.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// The files of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerFiles {
    /// The certificate and its key.
    pub identity: IdentityFiles,
    /// The CA of client certificates. Without one no client is asked for a certificate; with one a
    /// client may still come without.
    pub client_ca: Option<PathBuf>,
    /// A name by which clients know this server, for which its certificate must be valid.
    pub name: Option<String>,
}

/// The TLS of a server, as its files are now. Clones share one state.
#[derive(Clone)]
pub struct ServerTls(Arc<Inner>);

struct Inner {
    files: ServerFiles,
    state: Reloaded<Arc<ServerConfig>>,
}

impl ServerTls {
    /// Reads and checks `files`.
    ///
    /// # Errors
    /// When clients could not use them.
    pub fn load(files: ServerFiles) -> Result<Self, TlsError> {
        let mut paths = files.identity.paths().to_vec();
        paths.extend(files.client_ca.clone());
        let state = Reloaded::new(paths, || config(&files))?;
        Ok(Self(Arc::new(Inner { files, state })))
    }

    /// The configuration for the next connection.
    #[must_use]
    pub fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.0.state.current())
    }

    /// The files of the certificate.
    #[must_use]
    pub fn identity(&self) -> &IdentityFiles {
        &self.0.files.identity
    }

    /// Checks that the certificate is valid for `name`, by which clients know this server.
    ///
    /// # Errors
    /// When it is not, or can no longer be used.
    pub fn check_name(&self, name: &str) -> Result<(), TlsError> {
        self.0.files.identity.load(Some(name)).map(drop)
    }

    /// Reads the files again. Connections that are open keep what they began with.
    #[must_use]
    pub fn reload(&self) -> Reload {
        self.0.state.reload(|| config(&self.0.files))
    }
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ServerTls").field(&self.0.files).finish()
    }
}

fn config(files: &ServerFiles) -> Result<Arc<ServerConfig>, TlsError> {
    let identity = &files.identity;
    let certified = identity.load(files.name.as_deref())?;
    let unusable = |error: rustls::Error| {
        TlsError::new(&identity.key, TlsProblem::UnusableKey(error.to_string()))
    };
    let verifier = files
        .client_ca
        .as_deref()
        .map(client_verifier)
        .transpose()?;
    let builder = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(VERSIONS)
        .map_err(unusable)?;
    let builder = match verifier {
        Some(verifier) => builder.with_client_cert_verifier(verifier),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
    config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).to_vec();
    Ok(Arc::new(config))
}

/// Accepts a client without a certificate, and refuses one whose certificate is not of the CA.
fn client_verifier(file: &Path) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let roots: Arc<RootCertStore> = Arc::new(roots_from(file)?);
    WebPkiClientVerifier::builder_with_provider(roots, provider())
        .allow_unauthenticated()
        .build()
        .map_err(|error| TlsError::new(file, TlsProblem::UnusableCa(error.to_string())))
}
