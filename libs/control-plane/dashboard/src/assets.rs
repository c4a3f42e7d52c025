//! The files of the page: embedded, compressed once, and named by their content.
//!
//! Every file but the page itself is served below `/assets/{hash}/`, with one hash of all files. So
//! browsers can cache them for ever, never mix two versions, and no build step is needed.

use std::{collections::HashMap, io::Write as _};

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use http::HeaderValue;
use xxhash_rust::xxh3::xxh3_64;

/// In the page: where the files are.
const BASE_MARK: &str = "{{assets}}";

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

macro_rules! embedded {
    ($($name:literal: $kind:expr,)*) => {
        &[$(($name, $kind, include_bytes!(concat!("../assets/", $name))),)*]
    };
}

/// Name, kind and content.
type Source = (&'static str, &'static str, &'static [u8]);

const PAGE: &str = include_str!("../assets/index.html");

const FILES: &[Source] = embedded! {
    "add-node.js": SCRIPT,
    "app.css": CSS,
    "app.js": SCRIPT,
    "chart.js": SCRIPT,
    "chat.js": SCRIPT,
    "dialog.js": SCRIPT,
    "dom.js": SCRIPT,
    "drain.js": SCRIPT,
    "events.js": SCRIPT,
    "explain.js": SCRIPT,
    "forget.js": SCRIPT,
    "format.js": SCRIPT,
    "key-dialogs.js": SCRIPT,
    "key-limits.js": SCRIPT,
    "keys.js": SCRIPT,
    "mark.svg": SVG,
    "node.js": SCRIPT,
    "nodes.js": SCRIPT,
    "once.js": SCRIPT,
    "overview.js": SCRIPT,
    "parts.js": SCRIPT,
    "playground.js": SCRIPT,
    "server.js": SCRIPT,
    "store.js": SCRIPT,
    "usage.js": SCRIPT,
};

/// One file as it goes over the wire.
#[derive(Debug, Clone)]
pub(crate) struct Asset {
    pub(crate) kind: HeaderValue,
    pub(crate) plain: Representation,
    pub(crate) gzip: Representation,
}

/// One way to send a file. Two ways have two tags, because their bytes differ (RFC 9110, 8.8.3.3).
#[derive(Debug, Clone)]
pub(crate) struct Representation {
    pub(crate) bytes: Bytes,
    pub(crate) tag: HeaderValue,
}

/// All files.
#[derive(Debug)]
pub(crate) struct Assets {
    /// What `/` is.
    pub(crate) page: Asset,
    /// By path, such as `/assets/0123456789abcdef/app.js`.
    files: HashMap<String, Asset>,
}

impl Assets {
    pub(crate) fn new() -> Self {
        let content: Vec<&[u8]> = FILES.iter().map(|(_, _, bytes)| *bytes).collect();
        let base = format!("/assets/{:016x}", xxh3_64(&content.concat()));
        let files = FILES
            .iter()
            .map(|(name, kind, bytes)| {
                (
                    format!("{base}/{name}"),
                    Asset::new(kind, Bytes::from_static(bytes)),
                )
            })
            .collect();
        let page = PAGE.replace(BASE_MARK, &base);
        Self {
            page: Asset::new(HTML, page.into()),
            files,
        }
    }

    pub(crate) fn file(&self, path: &str) -> Option<&Asset> {
        self.files.get(path)
    }

    #[cfg(test)]
    pub(crate) fn paths(&self) -> impl Iterator<Item = &str> {
        self.files.keys().map(String::as_str)
    }
}

impl Asset {
    fn new(kind: &'static str, plain: Bytes) -> Self {
        let gzip = compressed(&plain);
        let hash = xxh3_64(&plain);
        Self {
            kind: HeaderValue::from_static(kind),
            plain: Representation {
                bytes: plain,
                tag: tag(&format!("\"{hash:016x}\"")),
            },
            gzip: Representation {
                bytes: gzip,
                tag: tag(&format!("\"{hash:016x}-gz\"")),
            },
        }
    }
}

fn compressed(plain: &[u8]) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    // Memory takes every byte; if it ever did not, an empty file would be found out by the tests.
    let written = encoder.write_all(plain).and_then(|()| encoder.finish());
    written.unwrap_or_default().into()
}

fn tag(text: &str) -> HeaderValue {
    // Hexadecimal digits in quotes are a header value.
    HeaderValue::from_str(text).unwrap_or(HeaderValue::from_static("\"\""))
}
