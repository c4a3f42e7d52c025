//! Fetches a URL and shows each frame as it arrives: `fetch http://127.0.0.1:8081/v1/models`.

use bytes::Bytes;
use http::{HeaderMap, Method};
use http_body_util::BodyExt;
use pool_registry_types::HttpUrl;
use stream_proxy::{Outbound, StreamProxy, Timeouts};

#[expect(clippy::print_stdout, reason = "an example owns its terminal")]
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let url: HttpUrl = std::env::args().nth(1).ok_or("usage: fetch URL")?.parse()?;
    let target = HttpUrl::new(&format!("http://{}", url.authority()))?;
    let path = if url.base_path().is_empty() {
        "/"
    } else {
        url.base_path()
    }
    .parse()?;
    let request = Outbound::new(Method::GET, path, HeaderMap::new(), Bytes::new());
    let answer = StreamProxy::new()
        .forward(&target, &request, Timeouts::default())
        .await?;
    println!("{}", answer.status());
    let mut body = answer.into_body();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            println!("{} bytes: {}", data.len(), String::from_utf8_lossy(&data));
        }
    }
    Ok(())
}
