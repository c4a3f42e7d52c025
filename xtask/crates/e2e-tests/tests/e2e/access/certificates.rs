//! Callers with certificates: of nodes, of the control plane, and those that end the handshake.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use test_certificates::{Authority, Issued, Validity};
use test_client::Client;
use test_cluster::Cluster;
use tls_config::{
    ClientTls, IdentityFiles, Trust,
    rustls::{
        ClientConfig, ClientConnection, StreamOwned,
        pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
        sign::{CertifiedKey, SingleCertAndKey},
    },
};
use tls_ureq::TlsConnector;
use ureq::{
    Agent,
    unversioned::{
        resolver::DefaultResolver,
        transport::{Connector as _, TcpConnector},
    },
};

const SOON: Duration = Duration::from_secs(30);

/// The CA of a test, and the settings of daemons that use it.
pub(super) struct Certificates {
    ca: Authority,
    ca_file: PathBuf,
    directory: PathBuf,
    server: test_certificates::Files,
}

impl Certificates {
    pub(super) fn new(cluster: &Cluster) -> Result<Self> {
        let directory = cluster.directory().join("certificates");
        fs::create_dir(&directory)?;
        let ca = Authority::new()?;
        let ca_file = directory.join("ca.pem");
        fs::write(&ca_file, ca.certificate())?;
        let server = ca.issue(&["localhost", "127.0.0.1"])?.write(&directory)?;
        Ok(Self {
            ca,
            ca_file,
            directory,
            server,
        })
    }

    /// The settings of a daemon that asks for certificates of the CA.
    pub(super) fn settings(&self, prefix: &str) -> Vec<(String, String)> {
        [
            ("TLS_CERT_FILE", &self.server.certificate),
            ("TLS_KEY_FILE", &self.server.key),
            ("TLS_CLIENT_CA_FILE", &self.ca_file),
            ("TLS_CA_FILE", &self.ca_file),
        ]
        .map(|(name, file)| (format!("{prefix}{name}"), file.display().to_string()))
        .to_vec()
    }

    /// Connections with a certificate for these names.
    pub(super) fn agent(&self, names: &[&str]) -> Result<Agent> {
        let issued = self.ca.issue(names)?;
        let own = tempfile::tempdir_in(&self.directory)?.keep();
        let files = issued.write(&own)?;
        let own = IdentityFiles {
            certificate: files.certificate,
            key: files.key,
        };
        let tls = ClientTls::load(Trust::CaFile(self.ca_file.clone()), Some(own))?;
        let connector = ().chain(TcpConnector::default()).chain(TlsConnector::new(tls));
        let config = Agent::config_builder()
            .proxy(None)
            .http_status_as_error(false)
            .build();
        Ok(Agent::with_parts(
            config,
            connector,
            DefaultResolver::default(),
        ))
    }

    /// Certificates that end every handshake, each with its name.
    pub(super) fn refused(&self, names: &[&str]) -> Result<Vec<(&'static str, RefusedClient)>> {
        let other = Authority::new()?;
        let presented = [
            ("expired", self.ca.issue_for(names, Validity::Expired)?),
            ("not yet valid", self.ca.issue_for(names, Validity::NotYet)?),
            ("of another CA", other.issue(names)?),
        ];
        let client = |(what, issued)| Ok((what, self.presenting(&issued)?));
        presented.into_iter().map(client).collect()
    }

    /// Presents a certificate that our own clients would not load.
    fn presenting(&self, issued: &Issued) -> Result<RefusedClient> {
        let tls = ClientTls::load(Trust::CaFile(self.ca_file.clone()), None)?;
        let mut config = ClientConfig::clone(&*tls.config()?);
        let chain = vec![CertificateDer::from_pem_slice(
            issued.certificate.as_bytes(),
        )?];
        let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes())?;
        let own = CertifiedKey::from_der(chain, key, config.crypto_provider())?;
        config.client_auth_cert_resolver = Arc::new(SingleCertAndKey::from(own));
        Ok(RefusedClient(Arc::new(config)))
    }
}

/// A client over TLS for the daemon at `plain`.
pub(super) fn over_tls(plain: &str, agent: Agent) -> Client {
    Client::with_agent(&plain.replace("http://", "https://"), agent)
}

/// A client that no daemon lets in.
pub(super) struct RefusedClient(Arc<ClientConfig>);

impl RefusedClient {
    /// Fails unless the connection ends without a response.
    pub(super) fn is_refused(&self, address: SocketAddr, method: &str, path: &str) -> Result<()> {
        let tcp = TcpStream::connect(address)?;
        tcp.set_read_timeout(Some(SOON))?;
        let name = ServerName::try_from("localhost")?;
        let mut tls = StreamOwned::new(ClientConnection::new(Arc::clone(&self.0), name)?, tcp);
        let request = format!(
            "{} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n",
            method.to_uppercase()
        );
        // TLS 1.3 refuses the certificate after the client has begun to send.
        let _ = tls.write_all(request.as_bytes());
        let mut answer = Vec::new();
        let end = tls.read_to_end(&mut answer);
        ensure!(answer.is_empty(), "{}", String::from_utf8_lossy(&answer));
        let error = end.err().context("an end without an alert")?;
        ensure!(error.kind() != std::io::ErrorKind::WouldBlock, "no end");
        Ok(())
    }
}
