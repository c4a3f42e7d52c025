//! A client that reads answers strictly.

use std::{
    io::{BufRead, BufReader, ErrorKind, Read, Write},
    net::TcpStream,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};

use super::engine::GOOD_BODY;

/// How long a message may take.
pub(super) const SOON: Duration = Duration::from_secs(20);

/// A body that every daemon takes.
pub(crate) const BODY: &str = r#"{"model":"tiny"}"#;

/// Headers of one connection, which no answer has; `connection` and `transfer-encoding` are the
/// daemon's own.
const OF_ONE_HOP: [&str; 7] = [
    "keep-alive",
    "proxy-authenticate",
    "proxy-connection",
    "te",
    "trailer",
    "upgrade",
    "x-hop",
];

/// Where a client sends its requests.
pub(crate) struct Place {
    pub(crate) name: &'static str,
    address: String,
    pub(crate) path: &'static str,
}

impl Place {
    pub(crate) fn gateway(url: &str) -> Result<Self> {
        Self::new("gateway", url, "/v1/completions")
    }

    pub(crate) fn node(url: &str) -> Result<Self> {
        Self::new("node", url, "/v2/pools/pool-0/engine/v1/completions")
    }

    fn new(name: &'static str, url: &str, path: &'static str) -> Result<Self> {
        let address = url
            .strip_prefix("http://")
            .context("no address")?
            .to_owned();
        Ok(Self {
            name,
            address,
            path,
        })
    }

    /// A proper request.
    pub(crate) fn request(&self, method: &str, id: &str, connection: &str) -> String {
        let body = if method == "POST" { BODY } else { "" };
        format!(
            "{method} {} HTTP/1.1\r\nhost: {}\r\nx-request-id: {id}\r\nconnection: {connection}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            self.path,
            self.address,
            body.len()
        )
    }

    /// What stands in a row, with the names of this place.
    pub(crate) fn fill_in(&self, row: &str) -> String {
        row.replace("PATH", self.path)
            .replace("HOST", &self.address)
    }

    pub(crate) fn connect(&self) -> Result<Connection> {
        let stream = TcpStream::connect(&self.address)?;
        stream.set_read_timeout(Some(SOON))?;
        stream.set_write_timeout(Some(SOON))?;
        Ok(Connection {
            reader: BufReader::new(stream),
        })
    }

    /// Whether a proper request on a new connection is answered properly.
    pub(crate) fn serves(&self) -> bool {
        self.connect()
            .and_then(|mut connection| connection.last_request(self, "fresh"))
            .is_ok_and(|answered| answered)
    }
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    }

    pub(crate) fn closes(&self) -> bool {
        self.header("connection") == Some("close")
    }
}

pub(crate) struct Connection {
    reader: BufReader<TcpStream>,
}

impl Connection {
    /// Sends what may already be refused while it is sent.
    pub(crate) fn send(&mut self, bytes: &[u8]) {
        let _ = self.reader.get_mut().write_all(bytes);
    }

    /// Reads an answer to a request with this method; `None` when the connection ends before its
    /// first byte.
    pub(crate) fn answer(&mut self, method: &str) -> Result<Option<Answer>> {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            match self.reader.read_line(&mut line) {
                Ok(0) if lines.is_empty() => return Ok(None),
                Err(error) if lines.is_empty() && error.kind() == ErrorKind::ConnectionReset => {
                    return Ok(None);
                }
                read => read?,
            };
            let line = line
                .strip_suffix("\r\n")
                .context("a line without its end")?;
            if line.is_empty() {
                break;
            }
            lines.push(line.to_owned());
        }
        let (first, rest) = lines.split_first().context("an empty head")?;
        let status = first.strip_prefix("HTTP/1.").context("no status line")?;
        let status: u16 = status.get(2..5).context("no status")?.parse()?;
        let headers = rest
            .iter()
            .map(|line| line.split_once(':').context("no header"))
            .map(|header| {
                header.map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
            })
            .collect::<Result<Vec<_>>>()?;
        for (name, _) in &headers {
            ensure!(
                !OF_ONE_HOP.contains(&name.as_str()),
                "{name} is of another connection"
            );
        }
        let mut answer = Answer {
            status,
            headers,
            body: String::new(),
        };
        let lengths = answer
            .headers
            .iter()
            .filter(|(name, _)| name == "content-length")
            .count();
        let is_chunked = match answer.header("transfer-encoding") {
            None => false,
            Some("chunked") => true,
            Some(other) => bail!("Transfer-Encoding: {other}"),
        };
        ensure!(
            lengths + usize::from(is_chunked) <= 1,
            "two ends: {:?}",
            answer.headers
        );
        let has_body = method != "HEAD" && !matches!(status, 100..200 | 204 | 304);
        let mut body = Vec::new();
        if has_body {
            if is_chunked {
                self.read_chunks(&mut body)?;
            } else if let Some(length) = answer.header("content-length") {
                body.resize(length.parse()?, 0);
                self.reader.read_exact(&mut body)?;
            } else {
                self.reader.read_to_end(&mut body)?;
            }
        }
        answer.body = String::from_utf8(body)?;
        Ok(Some(answer))
    }

    fn read_chunks(&mut self, body: &mut Vec<u8>) -> Result<()> {
        loop {
            let mut line = String::new();
            self.reader.read_line(&mut line)?;
            let size = line.strip_suffix("\r\n").context("the body is cut")?;
            let size = usize::from_str_radix(size, 16)?;
            let start = body.len();
            body.resize(start + size + 2, 0);
            self.reader.read_exact(&mut body[start..])?;
            ensure!(body.ends_with(b"\r\n"), "a chunk without its end");
            body.truncate(start + size);
            if size == 0 {
                return Ok(());
            }
        }
    }

    /// Nothing is there but the end.
    pub(crate) fn ends(&mut self) -> Result<()> {
        let mut rest = Vec::new();
        match self.reader.read_to_end(&mut rest) {
            Err(error) if error.kind() != ErrorKind::ConnectionReset => return Err(error.into()),
            _ => {}
        }
        ensure!(
            rest.is_empty(),
            "injected: {:?}",
            String::from_utf8_lossy(&rest)
        );
        Ok(())
    }

    /// Sends a last, proper request, and says whether it was answered. If not, the connection had
    /// been closed.
    pub(crate) fn last_request(&mut self, place: &Place, id: &str) -> Result<bool> {
        self.send(place.request("POST", id, "close").as_bytes());
        let answer = self.answer("POST")?;
        if let Some(answer) = &answer {
            ensure!(
                (
                    answer.status,
                    answer.body.as_str(),
                    answer.header("x-request-id")
                ) == (200, GOOD_BODY, Some(id)),
                "not in step: {answer:?}"
            );
        }
        self.ends()?;
        Ok(answer.is_some())
    }
}
