//! The thread against a control plane that does as the test says.

use std::{
    io,
    sync::{
        Arc,
        mpsc::{self, Receiver, RecvTimeoutError, Sender},
    },
    time::Duration,
};

use parking_lot::Mutex;
use pool_registry_types::{
    Capabilities, HeartbeatRequest, HeartbeatResponse, HttpUrl, NodeId, PoolStatus, RegisterRequest,
    RegisterResponse,
};
use tracing_subscriber::fmt::MakeWriter;

use crate::{
    Config, DeregisterError, RegistrationHandle, RegistrationState, StartError,
    control_plane::{ControlPlane, RequestError},
    handle,
    worker::Source,
};

/// No test waits this long for what happens at once.
const PATIENCE: Duration = Duration::from_secs(20);
const HOUR_MS: u64 = 3_600_000;

#[derive(Debug)]
enum Asked {
    Register(RegisterRequest),
    Heartbeat(HeartbeatRequest),
    Deregister,
}

type Answer = Result<(), RequestError>;

/// The thread's end: it hands over each request and waits for what to answer, for ever when nothing comes.
struct Scripted {
    asked: Sender<(HttpUrl, Asked)>,
    answers: Receiver<Answer>,
}

impl Scripted {
    fn ask(&self, url: &HttpUrl, asked: Asked) -> Answer {
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
        self.ask(url, Asked::Register(request.clone()))?;
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
        self.ask(url, Asked::Heartbeat(request.clone()))?;
        Ok(HeartbeatResponse {
            success: true,
            next_heartbeat_ms: HOUR_MS,
        })
    }

    fn deregister(&mut self, url: &HttpUrl, _: &NodeId, _: Duration) -> Result<(), RequestError> {
        self.ask(url, Asked::Deregister)
    }
}

/// The test's end, and the log.
struct Script {
    asked: Receiver<(HttpUrl, Asked)>,
    answers: Sender<Answer>,
    pools: Arc<Mutex<Vec<PoolStatus>>>,
    log: Log,
}

impl Script {
    fn next(&self) -> (HttpUrl, Asked) {
        self.asked.recv_timeout(PATIENCE).expect("a request")
    }

    fn register(&self, answer: Answer) -> RegisterRequest {
        match self.next() {
            (_, Asked::Register(request)) => {
                self.answers.send(answer).unwrap();
                request
            }
            other => panic!("expected a registration, not {other:?}"),
        }
    }

    fn heartbeat(&self, answer: Answer) -> HeartbeatRequest {
        match self.next() {
            (_, Asked::Heartbeat(request)) => {
                self.answers.send(answer).unwrap();
                request
            }
            other => panic!("expected a heartbeat, not {other:?}"),
        }
    }

    /// The thread has ended: it holds the other end no more.
    fn ended(&self) -> bool {
        matches!(
            self.asked.recv_timeout(PATIENCE),
            Err(RecvTimeoutError::Disconnected)
        )
    }
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn count(&self, text: &str) -> usize {
        String::from_utf8_lossy(&self.0.lock()).matches(text).count()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

fn config(orchestrators: &[&str]) -> Config {
    Config {
        orchestrators: orchestrators.iter().map(|url| url.parse().unwrap()).collect(),
        heartbeat_interval: Duration::from_millis(HOUR_MS),
        ..Config::new(
            "node".parse().unwrap(),
            "machine".parse().unwrap(),
            "http://node:9200".parse().unwrap(),
            "http://a:8080".parse().unwrap(),
        )
    }
}

fn start(config: Config) -> (RegistrationHandle, Script) {
    let pools = Arc::new(Mutex::new(Vec::new()));
    let source_pools = Arc::clone(&pools);
    start_with(config, pools, move || source_pools.lock().clone())
}

fn start_with(
    config: Config,
    pools: Arc<Mutex<Vec<PoolStatus>>>,
    source: impl Fn() -> Vec<PoolStatus> + Send + 'static,
) -> (RegistrationHandle, Script) {
    let (asked_tx, asked) = mpsc::channel();
    let (answers, answers_rx) = mpsc::channel();
    let log = Log::default();
    let source = Source {
        pools: Box::new(source),
        capabilities: Box::new(|| Capabilities {
            cpu_cores: 3,
            ..Capabilities::default()
        }),
    };
    let control_plane = Scripted {
        asked: asked_tx,
        answers: answers_rx,
    };
    let subscriber = tracing_subscriber::fmt()
        .with_writer(log.clone())
        .with_ansi(false)
        .finish();
    let handle =
        tracing::subscriber::with_default(subscriber, || handle::start(config, source, control_plane))
            .unwrap();
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

fn unreachable() -> Answer {
    Err(RequestError::NoAnswer("connection refused".to_owned()))
}

fn refused(status: u16, code: &str) -> Answer {
    Err(RequestError::Refused {
        status,
        code: Some(code.to_owned()),
        message: "because".to_owned(),
        retry_after: None,
    })
}

#[test]
fn registers_and_reports_what_the_source_says() {
    let (registration, script) = start(config(&["http://a:1"]));
    let register = script.register(Ok(()));
    assert_eq!(register.node_id.as_str(), "node");
    assert_eq!(register.capabilities.cpu_cores, 3);
    let heartbeat = script.heartbeat(Ok(()));
    assert_eq!(
        (heartbeat.seq, heartbeat.incarnation),
        (Some(1), register.incarnation)
    );
    humantime::parse_rfc3339(&heartbeat.timestamp).expect("a timestamp of RFC 3339");

    script.pools.lock().push(
        serde_json::from_str(
            r#"{"pool_id":"p","ready":true,"draining":true,"slots_free":0,"slots_total":4}"#,
        )
        .unwrap(),
    );
    registration.notifier().notify();
    let heartbeat = script.heartbeat(Ok(()));
    assert_eq!(heartbeat.seq, Some(2));
    assert!(heartbeat.pools[0].draining);

    drop(registration);
    assert!(script.ended());
    assert_eq!(script.log.count("Successfully registered with orchestratord"), 1);
    assert_eq!(script.log.count("Heartbeat task started"), 1);
}

#[test]
fn heartbeats_come_by_themselves() {
    let mut config = config(&["http://a:1"]);
    config.heartbeat_interval = Duration::from_millis(5);
    let (registration, script) = start(config);
    script.register(Ok(()));
    for seq in 1..6 {
        assert_eq!(script.heartbeat(Ok(())).seq, Some(seq));
    }
    drop(registration);
}

#[test]
fn a_forgotten_node_registers_again_with_the_same_incarnation() {
    let (registration, script) = start(config(&["http://a:1"]));
    let first = script.register(Ok(()));
    script.heartbeat(refused(404, "UNKNOWN_NODE"));
    let second = script.register(Ok(()));
    assert_eq!(first.incarnation, second.incarnation);
    assert_eq!(script.heartbeat(Ok(())).seq, Some(2));
    drop(registration);
    assert!(script.ended());
    assert_eq!(script.log.count("registering again"), 1);
    assert_eq!(script.log.count("WARN"), 0);
}

#[test]
fn an_outage_is_told_once_and_its_end_too() {
    let (registration, script) = start(config(&["http://a:1"]));
    for _ in 0..2 {
        script.register(unreachable());
    }
    script.register(Ok(()));
    // Whoever sees this heartbeat sees the state after the registration.
    script.heartbeat(unreachable());
    script.heartbeat(Ok(()));
    registration.notify();
    script.heartbeat(Ok(()));
    let status = registration.status();
    assert_eq!(
        (status.state, status.registrations),
        (RegistrationState::Registered, 1)
    );
    assert_eq!((status.failures, status.failures_in_a_row), (3, 0));
    assert_eq!(status.last_error, None);
    assert!(status.last_success_age.is_some());
    drop(registration);
    assert!(script.ended());
    assert_eq!(script.log.count("orchestratord cannot be reached"), 1);
    assert_eq!(script.log.count("orchestratord accepts heartbeats again"), 1);
    assert_eq!(script.log.count("WARN"), 1);
}

#[test]
fn another_orchestrator_takes_over() {
    let (registration, script) = start(config(&["http://a:1", "http://b:1"]));
    script.register(Ok(()));
    script.heartbeat(unreachable());
    let (url, asked) = script.next();
    assert_eq!(url.host(), "b");
    assert!(matches!(asked, Asked::Heartbeat(_)), "{asked:?}");
    script.answers.send(Ok(())).unwrap();
    drop(registration);
}

#[test]
fn an_earlier_life_says_so_and_takes_nothing_back() {
    let (registration, script) = start(config(&["http://a:1"]));
    script.register(Ok(()));
    script.heartbeat(refused(409, "STALE_INCARNATION"));
    registration.notify();
    // Had it a word left to say, it would come before the thread's end.
    assert_eq!(registration.deregister(PATIENCE), Ok(()));
    assert!(script.ended());
    assert_eq!(script.log.count("ERROR"), 1);
    assert_eq!(script.log.count("This node has been superseded"), 1);
}

#[test]
fn a_refusal_says_what_to_do() {
    for (answer, advice) in [
        (refused(401, "UNAUTHORIZED"), "give this node the token"),
        (
            refused(409, "NODE_ID_CONFLICT"),
            "another machine uses this node id",
        ),
        (refused(404, "NOT_FOUND"), "check the address of orchestratord"),
    ] {
        let (registration, script) = start(config(&["http://a:1"]));
        script.register(answer);
        assert_eq!(
            registration.deregister(PATIENCE),
            Ok(()),
            "there is nothing to take back"
        );
        assert!(script.ended());
        assert_eq!(script.log.count(advice), 1, "{advice}");
        assert_eq!(script.log.count("WARN"), 1, "{advice}");
    }
}

#[test]
fn stopping_deregisters() {
    let (registration, script) = start(config(&["http://a:1"]));
    script.register(Ok(()));
    script.heartbeat(Ok(()));
    let (deregistered, outcome) = mpsc::channel();
    let stopper = std::thread::spawn(move || deregistered.send(registration.deregister(PATIENCE)).unwrap());
    assert!(matches!(script.next().1, Asked::Deregister));
    script.answers.send(Ok(())).unwrap();
    assert_eq!(outcome.recv_timeout(PATIENCE), Ok(Ok(())));
    stopper.join().unwrap();
    assert_eq!(script.log.count("Deregistered from orchestratord"), 1);
}

#[test]
fn a_failed_deregistration_is_told() {
    let (registration, script) = start(config(&["http://a:1"]));
    script.register(Ok(()));
    script.heartbeat(Ok(()));
    script.answers.send(unreachable()).unwrap();
    let outcome = registration.deregister(PATIENCE);
    let told = matches!(&outcome, Err(DeregisterError::Failed(why)) if why.contains("connection refused"));
    assert!(told, "{outcome:?}");
}

#[test]
fn a_hanging_request_does_not_hold_up_stopping() {
    let (registration, script) = start(config(&["http://a:1"]));
    assert!(matches!(script.next().1, Asked::Register(_)));
    // Nobody answers.
    let short = Duration::from_millis(20);
    assert_eq!(
        registration.deregister(short),
        Err(DeregisterError::TimedOut(short))
    );
    // The answer comes too late to take anything back: the thread just ends.
    script.answers.send(Ok(())).unwrap();
    assert!(script.ended());
}

#[test]
fn a_source_that_panics_leaves_nobody_waiting() {
    let (registration, script) = start_with(config(&["http://a:1"]), Arc::default(), || {
        panic!("as the test wants")
    });
    script.register(Ok(()));
    let outcome = registration.deregister(PATIENCE);
    let told = matches!(&outcome, Err(DeregisterError::Failed(why)) if why.contains("panicked"));
    assert!(told, "{outcome:?}");
}

#[test]
fn a_configuration_that_cannot_work_is_refused() {
    let refuse = |config: Config| match crate::NodeRegistration::start(config, Vec::new) {
        Err(error) => error,
        Ok(_) => panic!("it should not start"),
    };
    assert!(matches!(refuse(config(&[])), StartError::NoOrchestrator));
    let mut never = config(&["http://a:1"]);
    never.heartbeat_interval = Duration::ZERO;
    assert!(matches!(refuse(never), StartError::Zero("heartbeat interval")));
}
