//! An agent, as the prober meets it: a socket that answers.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};

/// Answers each connection with `answer` and counts them; hangs up when dropped.
pub struct Agent {
    pub address: String,
    requests: Arc<AtomicUsize>,
    task: tokio::task::AbortHandle,
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Agent {
    pub async fn start(answer: Option<&'static str>) -> Self {
        Self::serve(TcpListener::bind("127.0.0.1:0").await.unwrap(), answer)
    }

    pub fn serve(listener: TcpListener, answer: Option<&'static str>) -> Self {
        let address = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(AtomicUsize::new(0));
        let counter = requests.clone();
        let mut connections = tokio::task::JoinSet::new();
        #[expect(
            clippy::disallowed_methods,
            reason = "aborted when the agent is dropped"
        )]
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(answer_one(stream, answer, counter.clone()));
            }
        })
        .abort_handle();
        Self {
            address,
            requests,
            task,
        }
    }

    pub fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

async fn answer_one(
    mut stream: TcpStream,
    answer: Option<&'static str>,
    requests: Arc<AtomicUsize>,
) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    assert!(head.starts_with(b"GET /health HTTP/1.1\r\n"), "{head:?}");
    requests.fetch_add(1, Ordering::SeqCst);
    match answer {
        Some(answer) => {
            let _ = stream.write_all(answer.as_bytes()).await;
        }
        // Accepts and never answers.
        None => std::future::pending().await,
    }
}

/// What a healthy agent says.
pub const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
