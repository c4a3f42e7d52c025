//! An engine with scripted answers, on its own thread.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::Arc,
    thread,
};

use parking_lot::Mutex;
use pool_registry_types::HttpUrl;

/// What to do with a connection.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    /// Answer with this status and body.
    Json(u16, String),
    /// Send these bytes.
    Raw(Vec<u8>),
    /// Take the request and never answer.
    Hang,
}

/// The answer to a path and to the head of its request.
type Script = Box<dyn FnMut(&str, &str) -> Reply + Send>;

struct State {
    script: Script,
    paths: Vec<String>,
    heads: Vec<String>,
    /// Connections that hang, kept open.
    hanging: Vec<TcpStream>,
    stop: bool,
}

pub(crate) struct StandIn {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl StandIn {
    /// `script` gives the answer to each path.
    pub(crate) fn start(mut script: impl FnMut(&str) -> Reply + Send + 'static) -> Self {
        Self::start_with_heads(move |path, _head| script(path))
    }

    /// `script` gives the answer to each path and head.
    pub(crate) fn start_with_heads(
        script: impl FnMut(&str, &str) -> Reply + Send + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State {
            script: Box::new(script),
            paths: Vec::new(),
            heads: Vec::new(),
            hanging: Vec::new(),
            stop: false,
        }));
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming() {
                if shared.lock().stop {
                    return;
                }
                answer(stream.unwrap(), &mut shared.lock());
            }
        });
        Self { address, state }
    }

    /// An engine that answers every request with `reply`.
    pub(crate) fn always(reply: Reply) -> Self {
        Self::start(move |_| reply.clone())
    }

    pub(crate) fn url(&self) -> HttpUrl {
        HttpUrl::new(&format!("http://{}", self.address)).unwrap()
    }

    /// The heads of the requests so far.
    pub(crate) fn heads(&self) -> Vec<String> {
        self.state.lock().heads.clone()
    }

    /// The requested paths so far.
    pub(crate) fn paths(&self) -> Vec<String> {
        self.state.lock().paths.clone()
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.state.lock().stop = true;
        // Wakes the accepting thread, so that it sees the stop.
        drop(TcpStream::connect(self.address));
    }
}

fn answer(mut stream: TcpStream, state: &mut State) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read(&mut byte) {
            Ok(1) => head.push(byte[0]),
            _ => return,
        }
    }
    let head = String::from_utf8(head).unwrap();
    let path = head.split(' ').nth(1).unwrap().to_owned();
    let reply = (state.script)(&path, &head);
    state.paths.push(path);
    state.heads.push(head);
    let bytes = match reply {
        Reply::Json(status, body) => {
            let length = body.len();
            format!(
                "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\n\
                     content-length: {length}\r\n\r\n{body}"
            )
            .into_bytes()
        }
        Reply::Raw(bytes) => bytes,
        Reply::Hang => return state.hanging.push(stream),
    };
    // The peer may have closed the connection already.
    let _: std::io::Result<()> = stream.write_all(&bytes);
}

/// An address where nothing listens.
pub(crate) fn closed_port() -> HttpUrl {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    HttpUrl::new(&format!("http://{}", listener.local_addr().unwrap())).unwrap()
}
