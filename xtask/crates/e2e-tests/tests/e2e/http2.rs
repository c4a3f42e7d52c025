//! HTTP/2 over TLS on both daemons: what RFC 9113 and RFC 7541 say about wrong frames, floods, and
//! headers that are too large.

mod cases;
mod client;
mod connections;
mod floods;
mod frames;
mod kinds;
mod messages;

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use test_client::Client;
use test_cluster::Cluster;
use tls_config::rustls::ClientConfig;

use self::{
    cases::{Case, Step},
    client::{Connection, Expected},
    frames::{
        CONTINUATION, END_HEADERS, END_STREAM, HEADERS, MAX_FRAME_BYTES, NO_FLAGS, PREFACE, block,
        frame, pseudo,
    },
};
use crate::tls::{Pki, borrowed};

const SOON: Duration = Duration::from_secs(30);

/// Longer than the 64 KiB that a header may have.
const TOO_LONG_BYTES: usize = 66_000;

/// `:status: 431` as the first field of a response, in Huffman code.
const STATUS_431: [u8; 5] = [0x48, 0x83, 0x69, 0x90, 0xff];

/// A daemon with TLS.
struct Place {
    name: &'static str,
    address: SocketAddr,
    config: Arc<ClientConfig>,
    /// Another client, without TLS.
    other: Client,
}

impl Place {
    fn new(name: &'static str, url: &str, config: &Arc<ClientConfig>) -> Result<Self> {
        Ok(Self {
            name,
            address: url.replace("http://", "").parse()?,
            config: Arc::clone(config),
            other: Client::new(url),
        })
    }

    fn open(&self) -> Result<Connection> {
        Connection::open(self.address, &self.config)
    }

    fn try_case(&self, case: &Case) -> Result<()> {
        let mut connection = self.open()?;
        for step in &case.steps {
            match step {
                Step::Send(bytes) => connection.send(bytes),
                Step::Answered(stream) => drop(connection.response(*stream)?),
            }
        }
        let health = self.other.get("/health")?.status;
        ensure!(health == 200, "/health: {health}");
        connection.judge(case.expected)
    }

    /// Runs all cases, and says which of them failed.
    fn try_all(&self, cases: &[Case]) -> Vec<String> {
        let failed = cases.iter().filter_map(|case| {
            let error = self.try_case(case).err()?;
            Some(format!("{} of {}: {error:#}", case.name, self.name))
        });
        failed.collect()
    }

    /// What the server says to bytes without TLS, up to the end of the connection.
    fn plain(&self, bytes: &[u8]) -> Result<String> {
        let mut stream = TcpStream::connect(self.address)?;
        stream.set_read_timeout(Some(SOON))?;
        stream.write_all(bytes)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }
}

/// Both daemons with TLS.
fn both(name: &str, test: impl FnOnce(&[Place]) -> Result<()>) -> Result<()> {
    Cluster::test(name, |cluster| {
        let pki = Pki::new(cluster)?;
        let settings = pki.settings("ORCHESTRATORD_");
        let orchestrator = cluster.orchestrator(&borrowed(&settings))?;
        let settings = pki.settings("POOL_MANAGERD_");
        let node = cluster.node("node-a", &orchestrator, &borrowed(&settings))?;
        let config = pki.http2()?;
        let places = [
            Place::new("orchestratord", &orchestrator.url(), &config)?,
            Place::new("pool-managerd", &node.url(), &config)?,
        ];
        test(&places)
    })
}

fn run(name: &str, cases: &[Case]) -> Result<()> {
    both(name, |places| {
        let failed: Vec<String> = places
            .iter()
            .flat_map(|place| place.try_all(cases))
            .collect();
        ensure!(failed.is_empty(), "{}", failed.join("\n"));
        Ok(())
    })
}

// spec: TLS-16
#[test]
fn wrong_frames_end_what_the_rfc_says() -> Result<()> {
    let mut cases = connections::all();
    cases.extend(kinds::all());
    run("http2-frames", &cases)
}

// spec: TLS-16
#[test]
fn malformed_messages_and_header_blocks_end_what_the_rfcs_say() -> Result<()> {
    let mut cases = messages::of_messages();
    cases.extend(messages::of_header_blocks());
    run("http2-messages", &cases)
}

// spec: TLS-15, TLS-16
#[test]
fn floods_end_or_are_answered_while_others_are_served() -> Result<()> {
    run("http2-floods", &floods::all())
}

// spec: TLS-16
#[test]
fn what_is_not_http2_is_closed() -> Result<()> {
    both("http2-preface", |places| {
        for place in places {
            let mut connection = Connection::begin(place.address, &place.config)?;
            connection.send(b"GET / HTTP/1.1\r\nhost: h\r\n\r\n");
            connection.judge(Expected::Closed).context(place.name)?;
            // Without TLS there is HTTP/1.1 alone.
            let answer = place.plain(PREFACE)?;
            ensure!(answer.is_empty(), "{}: {answer}", place.name);
        }
        Ok(())
    })
}

/// A request whose header is too large, as fields and path.
struct TooLarge {
    what: &'static str,
    fields: Vec<(String, String)>,
    path: String,
    /// HTTP/2 answers without a body what its frames refuse.
    is_explained_on_http2: bool,
}

fn too_large() -> Vec<TooLarge> {
    let long = "x".repeat(TOO_LONG_BYTES);
    let open = || "/health".to_owned();
    let many = (0..=100).map(|number| (format!("x-{number}"), "1".to_owned()));
    vec![
        TooLarge {
            what: "101 headers",
            fields: many.collect(),
            path: open(),
            is_explained_on_http2: true,
        },
        TooLarge {
            what: "a long header",
            fields: vec![("x-long".to_owned(), long.clone())],
            path: open(),
            is_explained_on_http2: false,
        },
        TooLarge {
            what: "a long path",
            fields: Vec::new(),
            path: format!("/health?{long}"),
            is_explained_on_http2: false,
        },
    ]
}

impl TooLarge {
    fn http1(&self) -> String {
        let fields: String = self
            .fields
            .iter()
            .map(|(name, value)| format!("{name}: {value}\r\n"))
            .collect();
        format!("GET {} HTTP/1.1\r\nhost: h\r\n{fields}\r\n", self.path)
    }

    /// HEADERS and as many CONTINUATIONs as it takes.
    fn http2(&self) -> Vec<u8> {
        let fields: Vec<(&str, &str)> = self
            .fields
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let block = [block(&pseudo("GET", &self.path)), block(&fields)].concat();
        let pieces: Vec<&[u8]> = block.chunks(MAX_FRAME_BYTES).collect();
        let frame_of = |(at, piece): (usize, &&[u8])| {
            let ends = if at + 1 == pieces.len() {
                END_HEADERS
            } else {
                NO_FLAGS
            };
            match at {
                0 => frame(HEADERS, END_STREAM | ends, 1, piece),
                _ => frame(CONTINUATION, ends, 1, piece),
            }
        };
        pieces.iter().enumerate().flat_map(frame_of).collect()
    }
}

// spec: DOOR-6
#[test]
fn headers_that_are_too_large_get_the_same_answer_on_both_versions() -> Result<()> {
    both("http2-headers", |places| {
        for (place, case) in places.iter().flat_map(|place| {
            let cases = too_large().into_iter();
            cases.map(move |case| (place, case))
        }) {
            let what = || format!("{} at {}", case.what, place.name);
            let answer = place.plain(case.http1().as_bytes()).with_context(what)?;
            let (head, body) = answer.split_once("\r\n\r\n").with_context(what)?;
            ensure!(head.starts_with("HTTP/1.1 431 "), "{}: {head}", what());
            let error: Value = serde_json::from_str(body).with_context(what)?;
            ensure!(
                error["error"]["code"] == "HEADER_TOO_LARGE",
                "{}: {body}",
                what()
            );
            let allowed = error["error"]["message"].as_str().unwrap_or_default();
            ensure!(allowed.contains("65536 bytes"), "{}: {body}", what());

            let mut connection = place.open()?;
            connection.send(&case.http2());
            let (head, on_http2) = connection.response(1).with_context(what)?;
            ensure!(
                head.payload.starts_with(&STATUS_431),
                "{}: {head:?}",
                what()
            );
            let expected = if case.is_explained_on_http2 { body } else { "" };
            ensure!(on_http2 == expected.as_bytes(), "{}: {on_http2:?}", what());
            connection.judge(Expected::Served).with_context(what)?;
        }
        Ok(())
    })
}
