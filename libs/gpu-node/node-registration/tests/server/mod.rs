//! An HTTP server on loopback that answers one request at a time with what the test hands it.

use std::{
    io::{BufRead, BufReader, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{self, Receiver, Sender},
    },
    thread::JoinHandle,
    time::Duration,
};

use parking_lot::Mutex;
use socket2::{Domain, Socket, Type};

/// No test waits this long for what happens at once.
const DEADLINE: Duration = Duration::from_secs(60);

/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(2);

/// What to answer.
#[derive(Clone, Copy)]
pub(crate) enum Answer {
    Json(u16, &'static str),
    /// Nothing, for as long as the connection lasts.
    Silence,
}

impl Answer {
    pub(crate) const fn json(status: u16, body: &'static str) -> Self {
        Self::Json(status, body)
    }
}

/// A request as it came in.
#[derive(Debug)]
pub(crate) struct Received {
    pub(crate) line: String,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    /// Which connection it came on.
    pub(crate) connection: usize,
}

impl Received {
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).expect("a JSON body")
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self
            .headers
            .iter()
            .find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }
}

/// A port of ours that refuses connections while no server listens on it.
///
/// A bound socket that does not listen keeps the port reserved.
#[derive(Clone)]
pub(crate) struct Port(Arc<Socket>);

impl Port {
    pub(crate) fn reserve() -> Self {
        Self(Arc::new(bind(0)))
    }

    pub(crate) fn number(&self) -> u16 {
        self.0.local_addr().unwrap().as_socket().unwrap().port()
    }

    fn listen(&self) -> TcpListener {
        let socket = bind(self.number());
        socket.listen(16).unwrap();
        socket.into()
    }
}

fn bind(port: u16) -> Socket {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_reuse_address(true).unwrap();
    socket.set_reuse_port(true).unwrap();
    socket
        .bind(&SocketAddr::from(([127, 0, 0, 1], port)).into())
        .expect("the port is ours");
    socket
}

/// The server; dropping it closes the port and every connection.
pub(crate) struct Server {
    port: Port,
    requests: Receiver<(Received, Sender<Answer>)>,
    connections: Arc<Mutex<Vec<TcpStream>>>,
    stopped: Arc<AtomicBool>,
    acceptor: Option<JoinHandle<()>>,
}

impl Server {
    pub(crate) fn start() -> Self {
        Self::start_on(Port::reserve())
    }

    pub(crate) fn start_on(port: Port) -> Self {
        let listener = port.listen();
        let (sender, requests) = mpsc::channel();
        let connections = Arc::new(Mutex::new(Vec::new()));
        let stopped = Arc::new(AtomicBool::new(false));
        let acceptor = std::thread::spawn({
            let (connections, stopped) = (Arc::clone(&connections), Arc::clone(&stopped));
            move || {
                for (number, stream) in listener.incoming().enumerate() {
                    if stopped.load(Ordering::SeqCst) {
                        return;
                    }
                    let stream = stream.expect("a connection");
                    connections.lock().push(stream.try_clone().unwrap());
                    let sender = sender.clone();
                    std::thread::spawn(move || serve(&stream, number, &sender));
                }
            }
        });
        Self {
            port,
            requests,
            connections,
            stopped,
            acceptor: Some(acceptor),
        }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port.number()
    }

    /// Closes the server and returns its port, which from then on refuses connections.
    pub(crate) fn close(self) -> Port {
        self.port.clone()
    }

    /// Waits for the next request and answers it.
    pub(crate) fn answer(&self, answer: Answer) -> Received {
        let (request, reply) = self.requests.recv_timeout(DEADLINE).expect("a request");
        // The client may have timed out by now.
        let _ = reply.send(answer);
        request
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(("127.0.0.1", self.port()));
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
        for connection in self.connections.lock().iter() {
            let _ = connection.shutdown(Shutdown::Both);
        }
    }
}

fn serve(stream: &TcpStream, connection: usize, sender: &Sender<(Received, Sender<Answer>)>) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    while let Some(request) = read(&mut reader, connection) {
        let (reply, answer) = mpsc::channel();
        if sender.send((request, reply)).is_err() {
            return;
        }
        match answer.recv() {
            Ok(Answer::Json(status, body)) => {
                let length = body.len();
                let head = format!(
                    "HTTP/1.1 {status} X\r\ncontent-type: application/json\r\n\
                     content-length: {length}\r\n\r\n"
                );
                let mut writer = stream;
                if writer
                    .write_all(format!("{head}{body}").as_bytes())
                    .is_err()
                {
                    return;
                }
            }
            // Reading on notices when the client goes.
            Ok(Answer::Silence) => {}
            Err(_) => return,
        }
    }
}

fn read(reader: &mut impl BufRead, connection: usize) -> Option<Received> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let line = line.trim_end().to_owned();
        if line.is_empty() {
            break;
        }
        lines.push(line);
    }
    let mut lines = lines.into_iter();
    let mut request = Received {
        line: lines.next()?,
        headers: lines
            .filter_map(|line| {
                let (name, value) = line.split_once(':')?;
                Some((name.to_owned(), value.trim().to_owned()))
            })
            .collect(),
        body: Vec::new(),
        connection,
    };
    let length = request
        .header("content-length")
        .map_or(0, |length| length.parse().unwrap());
    request.body.resize(length, 0);
    reader.read_exact(&mut request.body).ok()?;
    Some(request)
}

/// Waits until `condition` holds.
pub(crate) fn wait_for(condition: impl Fn() -> bool) {
    let (_never, ticks) = mpsc::channel::<()>();
    for _ in 0..DEADLINE.as_millis() / LOOK.as_millis() {
        if condition() {
            return;
        }
        let _ = ticks.recv_timeout(LOOK);
    }
    panic!("the condition did not come about");
}
