//! Certificates, and clients with TLS.

use std::{fs, sync::Arc};

use http_server::{HttpService, Limits, PlainHttp};
use tempfile::TempDir;
use test_certificates::{Authority, Issued};
use tls_config::{
    ClientTls, IdentityFiles, ServerFiles, ServerTls, Trust,
    rustls::{ClientConfig, pki_types::ServerName},
};
use tokio::io::DuplexStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::support::Server;

/// A CA, and what it has issued.
pub(crate) struct Pki {
    directory: TempDir,
    pub(crate) ca: Authority,
}

impl Pki {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let ca = Authority::new().unwrap();
        fs::write(directory.path().join("ca.pem"), ca.certificate()).unwrap();
        Self { directory, ca }
    }

    fn identity(&self, name: &str, issued: &Issued) -> IdentityFiles {
        let directory = self.directory.path().join(name);
        fs::create_dir_all(&directory).unwrap();
        let files = issued.write(&directory).unwrap();
        IdentityFiles {
            certificate: files.certificate,
            key: files.key,
        }
    }

    /// A server for the name `h`, which asks for certificates of the same CA.
    pub(crate) fn server(&self) -> ServerTls {
        let issued = self.ca.issue(&["h"]).unwrap();
        ServerTls::load(ServerFiles {
            identity: self.identity("server", &issued),
            client_ca: Some(self.directory.path().join("ca.pem")),
            name: Some("h".to_owned()),
        })
        .unwrap()
    }

    pub(crate) fn start(&self, limits: Limits, service: impl HttpService) -> Server {
        let tls = (self.server(), PlainHttp::FromAnywhere);
        Server::start_with(Some(tls), limits, service)
    }

    /// A client that offers `protocol`, with a certificate for `name`.
    pub(crate) async fn connect(
        &self,
        io: DuplexStream,
        protocol: &[u8],
        name: Option<&str>,
    ) -> TlsStream<DuplexStream> {
        let own = name.map(|name| self.identity("client", &self.ca.issue(&[name]).unwrap()));
        let trust = Trust::CaFile(self.directory.path().join("ca.pem"));
        let config = ClientTls::load(trust, own).unwrap().config().unwrap();
        let mut config = ClientConfig::clone(&config);
        config.alpn_protocols = vec![protocol.to_vec()];
        let connector = TlsConnector::from(Arc::new(config));
        let host = ServerName::try_from("h").unwrap();
        connector.connect(host, io).await.unwrap()
    }
}
