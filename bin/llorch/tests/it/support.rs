//! A server of scripted answers, and the program run beside it.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Output, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
};

use serde_json::Value;

/// One request as the server saw it.
#[derive(Debug, Clone)]
pub(crate) struct ReceivedRequest {
    pub(crate) line: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl ReceivedRequest {
    pub(crate) fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(has, _)| has == name);
        found.map_or("", |(_, value)| value)
    }
}

/// What is answered: the whole text after the head is read, then the connection is closed.
pub(crate) type Script = Box<dyn FnMut(&ReceivedRequest) -> Answer + Send>;

pub(crate) enum Answer {
    /// Written, then closed.
    Text(String),
    /// Written, and kept open until the client goes.
    Hold(String),
}

/// A server whose answers a closure makes. Its thread ends with the test's process.
pub(crate) struct Server {
    address: SocketAddr,
    received: Receiver<ReceivedRequest>,
}

impl Server {
    pub(crate) fn start(mut script: Script) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, received) = channel();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let Some((stream, request)) = read(stream) else {
                    continue;
                };
                let answer = script(&request);
                let _ = sender.send(request);
                reply(stream, answer);
            }
        });
        Self { address, received }
    }

    /// The same JSON for every request.
    pub(crate) fn json(status: u16, body: &Value) -> Self {
        let text = json(status, body);
        Self::start(Box::new(move |_| Answer::Text(text.clone())))
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The next request that came.
    pub(crate) fn received(&self) -> ReceivedRequest {
        self.received.recv().unwrap()
    }
}

fn read(stream: TcpStream) -> Option<(TcpStream, ReceivedRequest)> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut headers = Vec::new();
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        let Some((name, value)) = header.trim_end().split_once(':') else {
            break;
        };
        headers.push((name.to_lowercase(), value.trim().to_owned()));
    }
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let length = length.map_or(0, |(_, value)| value.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let received = ReceivedRequest {
        line: line.trim_end().to_owned(),
        headers,
        body: String::from_utf8(body).ok()?,
    };
    (!received.line.is_empty()).then(|| (reader.into_inner(), received))
}

fn reply(mut stream: TcpStream, answer: Answer) {
    match answer {
        Answer::Text(text) => {
            let _ = stream.write_all(text.as_bytes());
        }
        Answer::Hold(text) => {
            thread::spawn(move || {
                let _ = stream.write_all(text.as_bytes());
                let _ = stream.read(&mut [0]);
            });
        }
    }
}

/// A whole answer of JSON.
pub(crate) fn json(status: u16, body: &Value) -> String {
    let body = body.to_string();
    let length = body.len();
    format!(
        "HTTP/1.1 {status} x\r\ncontent-type: application/json\r\nconnection: close\r\n\
         content-length: {length}\r\n\r\n{body}"
    )
}

/// An event stream, with further header lines.
pub(crate) fn events(headers: &str, events: &str) -> String {
    format!(
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n{headers}\r\n\
         {events}"
    )
}

/// The program, in an environment with nothing of the developer's.
pub(crate) fn llorch(url: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_llorch"));
    command
        .args(arguments)
        .env_clear()
        .env("LLORCH_URL", url)
        .stdin(Stdio::null());
    command
}

/// How a run ended.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl From<Output> for Finished {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

pub(crate) fn run(url: &str, arguments: &[&str]) -> Finished {
    llorch(url, arguments).output().unwrap().into()
}

/// Started with both outputs in pipes.
pub(crate) fn start(mut command: Command) -> Child {
    command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// The URL of a closed port.
pub(crate) fn unreachable_url() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

/// Writes a file with these permissions.
pub(crate) fn write(path: &Path, text: &str, mode: u32) {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}
