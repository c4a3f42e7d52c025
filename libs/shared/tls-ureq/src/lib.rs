//! TLS for blocking clients on ureq: [`TlsConnector`], with the configurations of `tls-config`.

use std::{
    fmt,
    io::{self, Read as _, Write as _},
};

use tls_config::{
    ClientTls,
    rustls::{ClientConnection, StreamOwned, pki_types::ServerName},
};
use ureq::{
    Error,
    unversioned::transport::{
        Buffers, ConnectionDetails, Connector, Either, LazyBuffers, NextTimeout, Transport,
        TransportAdapter,
    },
};

/// Why a handshake failed, in one sentence; `None` if `error` is not about TLS.
#[must_use]
pub fn explain(error: &Error) -> Option<String> {
    match error {
        // It does not name its cause as its source.
        Error::Io(cause) => tls_config::explain(cause),
        other => tls_config::explain(other),
    }
}

/// Wraps the connections of `https` URLs in TLS. It comes after ureq's `TcpConnector` in a chain.
#[derive(Debug, Clone)]
pub struct TlsConnector(ClientTls);

impl TlsConnector {
    /// Each new connection uses what `tls` is then.
    #[must_use]
    pub fn new(tls: ClientTls) -> Self {
        Self(tls)
    }
}

impl<In: Transport> Connector<In> for TlsConnector {
    type Out = Either<In, TlsTransport>;

    fn connect(
        &self,
        details: &ConnectionDetails<'_>,
        chained: Option<In>,
    ) -> Result<Option<Self::Out>, Error> {
        let Some(transport) = chained else {
            return Ok(None);
        };
        if !details.needs_tls() || transport.is_tls() {
            return Ok(Some(Either::A(transport)));
        }
        let host = details.uri.host().unwrap_or_default();
        let name = ServerName::try_from(host.trim_matches(['[', ']']))
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "the host is no name"))?;
        let config = self.0.config().map_err(io::Error::other)?;
        let mut tls = ClientConnection::new(config, name.to_owned()).map_err(io::Error::other)?;
        let mut socket = TransportAdapter::new(transport.boxed(), details.current_time.clone());
        socket.set_timeout(details.timeout);
        tls.complete_io(&mut socket)?;
        let chain = tls.peer_certificates();
        self.0.check_holder(chain).map_err(io::Error::other)?;
        let config = details.config;
        Ok(Some(Either::B(TlsTransport {
            buffers: LazyBuffers::new(config.input_buffer_size(), config.output_buffer_size()),
            stream: StreamOwned::new(tls, socket),
        })))
    }
}

/// A connection of ureq with TLS.
pub struct TlsTransport {
    buffers: LazyBuffers,
    stream: StreamOwned<ClientConnection, TransportAdapter>,
}

impl Transport for TlsTransport {
    fn buffers(&mut self) -> &mut dyn Buffers {
        &mut self.buffers
    }

    fn transmit_output(&mut self, amount: usize, timeout: NextTimeout) -> Result<(), Error> {
        self.stream.get_mut().set_timeout(timeout);
        let output = self.buffers.output().get(..amount).unwrap_or_default();
        self.stream.write_all(output)?;
        Ok(())
    }

    fn await_input(&mut self, timeout: NextTimeout) -> Result<bool, Error> {
        self.stream.get_mut().set_timeout(timeout);
        let amount = self.stream.read(self.buffers.input_append_buf())?;
        self.buffers.input_appended(amount);
        Ok(amount > 0)
    }

    fn is_open(&mut self) -> bool {
        self.stream.get_mut().get_mut().is_open()
    }

    fn is_tls(&self) -> bool {
        true
    }
}

impl fmt::Debug for TlsTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsTransport").finish_non_exhaustive()
    }
}

/// Compiles the README's examples as tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
