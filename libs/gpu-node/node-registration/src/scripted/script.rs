//! A scripted control plane, and the log of the thread that talks to it.

use std::{
    sync::{
        Arc,
        mpsc::{self, Receiver, RecvTimeoutError, Sender},
    },
    time::Duration,
};

use captured_log::Log;
use parking_lot::Mutex;
use pool_registry_types::{
    Capabilities, HeartbeatRequest, HeartbeatResponse, HttpUrl, NodeId, PoolStatus,
    RegisterRequest, RegisterResponse,
};
use tracing::Level;

use crate::{
    RegistrationConfig, RegistrationHandle,
    control_plane::{ControlPlane, RequestError},
    handle,
    worker::NodeSource,
};

/// No test waits this long for what happens at once.
pub(super) const DEADLINE: Duration = Duration::from_secs(20);
pub(super) const HOUR_MS: u64 = 3_600_000;

#[derive(Debug)]
pub(super) enum ReceivedRequest {
    Register(RegisterRequest),
    Heartbeat(HeartbeatRequest),
    Deregister(u64),
}

pub(super) type Answer = Result<(), RequestError>;

/// The thread's end: it hands over each request and waits for what to answer, for ever when nothing
/// comes.
pub(super) struct Scripted {
    asked: Sender<(HttpUrl, ReceivedRequest)>,
    answers: Receiver<Answer>,
}

impl Scripted {
    fn ask(&self, url: &HttpUrl, asked: ReceivedRequest) -> Answer {
        let gone = || RequestError::NoAnswer("the test is over".to_owned());
        self.asked.send((url.clone(), asked)).map_err(|_| gone())?;
        self.answers.recv().map_err(|_| gone())?
    }
}

impl ControlPlane for Scripted {
    fn register(
        &mut self,
        url: &HttpUrl,
        request: &RegisterRequest,
        _: Duration,
    ) -> Result<RegisterResponse, RequestError> {
        self.ask(url, ReceivedRequest::Register(request.clone()))?;
        Ok(RegisterResponse {
            success: true,
            message: String::new(),
            node_id: request.node_id.clone(),
            next_heartbeat_ms: None,
            timeout_ms: None,
        })
    }

    fn heartbeat(
        &mut self,
        url: &HttpUrl,
        _: &NodeId,
        request: &HeartbeatRequest,
        _: Duration,
    ) -> Result<HeartbeatResponse, RequestError> {
        self.ask(url, ReceivedRequest::Heartbeat(request.clone()))?;
        Ok(HeartbeatResponse {
            success: true,
            next_heartbeat_ms: HOUR_MS,
            timeout_ms: None,
        })
    }

    fn deregister(
        &mut self,
        url: &HttpUrl,
        _: &NodeId,
        incarnation: u64,
        _: Duration,
    ) -> Result<(), RequestError> {
        self.ask(url, ReceivedRequest::Deregister(incarnation))
    }
}

/// The test's end, and the log.
pub(super) struct Script {
    asked: Receiver<(HttpUrl, ReceivedRequest)>,
    pub(super) answers: Sender<Answer>,
    pub(super) pools: Arc<Mutex<Vec<PoolStatus>>>,
    pub(super) log: Log,
}

impl Script {
    pub(super) fn next(&self) -> (HttpUrl, ReceivedRequest) {
        self.asked.recv_timeout(DEADLINE).expect("a request")
    }

    pub(super) fn register(&self, answer: Answer) -> RegisterRequest {
        match self.next() {
            (_, ReceivedRequest::Register(request)) => {
                self.answers.send(answer).unwrap();
                request
            }
            other => panic!("expected a registration, not {other:?}"),
        }
    }

    pub(super) fn heartbeat(&self, answer: Answer) -> HeartbeatRequest {
        match self.next() {
            (_, ReceivedRequest::Heartbeat(request)) => {
                self.answers.send(answer).unwrap();
                request
            }
            other => panic!("expected a heartbeat, not {other:?}"),
        }
    }

    /// The thread has ended: it holds the other end no more.
    pub(super) fn ended(&self) -> bool {
        matches!(
            self.asked.recv_timeout(DEADLINE),
            Err(RecvTimeoutError::Disconnected)
        )
    }
}

pub(super) fn config(control_planes: &[&str]) -> RegistrationConfig {
    let mut urls = control_planes.iter().map(|url| url.parse().unwrap());
    RegistrationConfig::new(
        "node".parse().unwrap(),
        "machine".parse().unwrap(),
        "http://node:9200".parse().unwrap(),
        urls.next().unwrap(),
    )
    .with_fallbacks(urls.collect())
    .with_heartbeat_interval(Duration::from_millis(HOUR_MS))
}

pub(super) fn start(config: RegistrationConfig) -> (RegistrationHandle, Script) {
    let pools = Arc::new(Mutex::new(Vec::new()));
    let source_pools = Arc::clone(&pools);
    start_with(config, pools, move || source_pools.lock().clone())
}

pub(super) fn start_with(
    config: RegistrationConfig,
    pools: Arc<Mutex<Vec<PoolStatus>>>,
    source: impl Fn() -> Vec<PoolStatus> + Send + 'static,
) -> (RegistrationHandle, Script) {
    let (asked_tx, asked) = mpsc::channel();
    let (answers, answers_rx) = mpsc::channel();
    let source = NodeSource {
        report: Box::new(move || source().into()),
        capabilities: Box::new(|| Capabilities {
            cpu_cores: 3,
            ..Capabilities::default()
        }),
    };
    let control_plane = Scripted {
        asked: asked_tx,
        answers: answers_rx,
    };
    // The thread that is started takes over where the lines of this one go.
    let (log, _guard) = Log::of_this_thread(Level::INFO);
    let handle = handle::start(config, source, control_plane).unwrap();
    (
        handle,
        Script {
            asked,
            answers,
            pools,
            log,
        },
    )
}

pub(super) fn unreachable() -> Answer {
    Err(RequestError::NoAnswer("connection refused".to_owned()))
}

pub(super) fn refused(status: u16, code: &str) -> Answer {
    Err(RequestError::Refused {
        status,
        code: Some(code.to_owned()),
        message: "because".to_owned(),
        retry_after: None,
    })
}
