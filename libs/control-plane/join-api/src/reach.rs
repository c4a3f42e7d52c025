//! Connects to a machine that joins. An address that only the machine itself reaches is found now,
//! and not by the first request.

use std::{io, net::SocketAddr, time::Duration};

use address_ranges::AddressRanges;
use pool_registry_types::{Challenge, HttpUrl};
use tokio::{
    io::AsyncReadExt as _,
    net::{TcpStream, lookup_host},
    time::timeout,
};

/// How long connecting and the line may take together. A node in the same network takes
/// milliseconds, and the machine waits 15 s for its answer.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Connects to `address` and reads the line of `challenge`.
///
/// # Errors
/// Why the machine is not reached, as the end of a sentence that begins with its address.
pub(crate) async fn reach(
    address: &HttpUrl,
    challenge: &Challenge,
    ranges: &AddressRanges,
) -> Result<(), String> {
    let read = timeout(TIMEOUT, read_line(address, challenge.line().len(), ranges));
    let unreachable = match read.await {
        Ok(Ok(line)) if line == challenge.line().as_bytes() => return Ok(()),
        Ok(Ok(_)) => {
            return Err(
                "is answered by another program than `pool-managerd join`; join with \
                        --address URL, an address at which the control plane reaches this machine"
                    .to_owned(),
            );
        }
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("no answer within {} s", TIMEOUT.as_secs()),
    };
    Err(format!(
        "is not reached by the control plane: {unreachable}; open the port {} of the node to the \
         control plane, or join with --address URL of another address of the node",
        address.port()
    ))
}

/// The first bytes that the machine sends. It is judged again which addresses may be connected to,
/// because a name may resolve to others now.
async fn read_line(
    address: &HttpUrl,
    length: usize,
    ranges: &AddressRanges,
) -> io::Result<Vec<u8>> {
    let found = lookup_host((address.host(), address.port())).await?;
    let allowed: Vec<SocketAddr> = found
        .filter(|socket| ranges.check(socket.ip()).is_ok())
        .collect();
    let stream = TcpStream::connect(&*allowed).await?;
    let mut line = Vec::with_capacity(length);
    let length = u64::try_from(length).unwrap_or(u64::MAX);
    stream.take(length).read_to_end(&mut line).await?;
    Ok(line)
}
