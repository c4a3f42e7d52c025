//! TLS connections on tokio, with the configurations of `tls-config`.

use std::io;

use tls_config::{ClientTls, PeerCertificate, ServerTls, rustls::pki_types::ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// The server's end of a connection.
pub type ServerStream<Io> = tokio_rustls::server::TlsStream<Io>;

/// The client's end of a connection.
pub type ClientStream<Io> = tokio_rustls::client::TlsStream<Io>;

/// The name of HTTP/2 in the handshake.
const HTTP2: &[u8] = b"h2";

/// A connection whose handshake is complete.
#[derive(Debug)]
pub struct Accepted<Io> {
    /// The connection.
    pub stream: ServerStream<Io>,
    /// The client's certificate, where it presented one.
    pub peer: Option<PeerCertificate>,
    /// Whether both sides chose HTTP/2.
    pub is_http2: bool,
}

/// Accepts the handshake of a client. Dropping the future closes `io`.
///
/// # Errors
/// When the handshake fails; the client has been sent an alert then.
pub async fn accept<Io>(tls: &ServerTls, io: Io) -> io::Result<Accepted<Io>>
where
    Io: AsyncRead + AsyncWrite + Unpin,
{
    let stream = TlsAcceptor::from(tls.config()).accept(io).await?;
    let (_, session) = stream.get_ref();
    Ok(Accepted {
        peer: PeerCertificate::of(session.peer_certificates()),
        is_http2: session.alpn_protocol() == Some(HTTP2),
        stream,
    })
}

/// Begins TLS with the server `host`: a DNS name, or an address without brackets.
///
/// # Errors
/// When the handshake fails, or the server is not trusted; `tls_config::explain` says why.
pub async fn connect<Io>(tls: &ClientTls, host: &str, io: Io) -> io::Result<ClientStream<Io>>
where
    Io: AsyncRead + AsyncWrite + Unpin,
{
    let name = ServerName::try_from(host)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    let config = tls.config().map_err(io::Error::other)?;
    let stream = TlsConnector::from(config)
        .connect(name.to_owned(), io)
        .await?;
    let (_, session) = stream.get_ref();
    tls.check_holder(session.peer_certificates())
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
    Ok(stream)
}

/// Compiles the README's examples as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(test)]
mod tests {
    use tls_config::{IdentityFiles, ServerFiles, Trust};
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    // spec: TLS-3
    #[tokio::test]
    async fn bytes_pass_after_the_handshake() {
        let directory = tempfile::tempdir().unwrap();
        let ca = test_certificates::Authority::new().unwrap();
        let files = ca
            .issue(&["10.0.0.7"])
            .unwrap()
            .write(directory.path())
            .unwrap();
        let ca_file = directory.path().join("ca.pem");
        std::fs::write(&ca_file, ca.certificate()).unwrap();
        let server = ServerTls::load(ServerFiles {
            identity: IdentityFiles {
                certificate: files.certificate,
                key: files.key,
            },
            client_ca: None,
            name: None,
        })
        .unwrap();
        let client = ClientTls::load(Trust::CaFile(ca_file), None).unwrap();
        let (ours, theirs) = tokio::io::duplex(512);
        let (accepted, connected) =
            tokio::join!(accept(&server, theirs), connect(&client, "10.0.0.7", ours));
        let (mut accepted, mut connected) = (accepted.unwrap(), connected.unwrap());
        assert!(!accepted.is_http2 && accepted.peer.is_none());
        connected.write_all(b"question").await.unwrap();
        let mut question = [0; 8];
        accepted.stream.read_exact(&mut question).await.unwrap();
        assert_eq!(&question, b"question");
    }
}
