//! Serves one connection, from its first byte to its end.

use std::sync::Arc;

use tls_config::ServerTls;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::Instant,
};

use crate::{
    HttpService, Limits, PeerAddr, PlainHttp,
    control::StageWatcher,
    driver::{ConnectionEnd, Driver},
    http1, http2,
    observed_io::ObservedIo,
    permits::ConnectionPermit,
    phase::{ConnectionState, Interruption},
    tls,
};

/// Serves `io` until either side closes it, a deadline passes, or the server is killed.
pub(crate) async fn serve_connection<Io, S>(
    io: Io,
    peer: PeerAddr,
    service: S,
    limits: Arc<Limits>,
    watcher: StageWatcher,
    permit: Arc<ConnectionPermit>,
    tls: Option<(ServerTls, PlainHttp)>,
) where
    Io: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: HttpService,
{
    let state = Arc::new(ConnectionState::new(Instant::now(), permit));
    let io = ObservedIo::new(io, Arc::clone(&state)).or_tls(tls.is_some());
    let mut driver = Driver::new(state, Arc::clone(&limits), watcher);
    let is_refused = tls.as_ref().is_some_and(|(_, plain)| plain.refuses(peer));
    let answering = tls.is_some().then(|| service.clone());
    let (end, io) = http1::serve(&mut driver, io, peer, service, &limits, is_refused).await;
    match (end, tls, answering) {
        (ConnectionEnd::Interrupted(Interruption::TlsBegins), Some((tls, _)), Some(service)) => {
            // In a box of its own, so that plain connections hold no room for it.
            Box::pin(serve_tls(driver, io, peer, service, limits, tls)).await;
        }
        (end, ..) => end.log(peer),
    }
}

/// Goes on with a connection whose first bytes are those of a TLS handshake.
async fn serve_tls<Io, S>(
    mut driver: Driver,
    io: ObservedIo<Io>,
    peer: PeerAddr,
    service: S,
    limits: Arc<Limits>,
    tls: ServerTls,
) where
    Io: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    S: HttpService,
{
    let accepted = match tls::accept(&mut driver, io, &tls).await {
        ConnectionEnd::Closed(Ok(accepted)) => accepted,
        end => return end.map(|result| result.map(drop)).log(peer),
    };
    driver.state.on_tls(accepted.peer, Instant::now());
    let io = ObservedIo::new(accepted.stream, Arc::clone(&driver.state));
    let end = if accepted.is_http2 {
        http2::serve(&mut driver, io, peer, service, &limits).await
    } else {
        http1::serve(&mut driver, io, peer, service, &limits, false)
            .await
            .0
    };
    end.log(peer);
}
