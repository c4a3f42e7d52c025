//! Tests of the thread against a scripted control plane.

mod script;

use std::{
    sync::{Arc, mpsc},
    time::Duration,
};

use pool_registry_types::HeartbeatRequest;

use crate::{DeregisterError, RegistrationState};
use script::{DEADLINE, ReceivedRequest, config, refused, start, start_with, unreachable};

// spec: CLOUD-3003, CLOUD-3011, REG-42
#[test]
fn registers_and_reports_the_state_of_the_source() {
    let (registration, script) = start(config(&["http://a:1"]));
    let register = script.register(Ok(()));
    assert_eq!(register.node_id.as_str(), "node");
    assert_eq!(register.capabilities.cpu_cores, 3);
    assert!(register.takes_replica_hint);
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
    assert_eq!(
        script
            .log
            .count("Successfully registered with orchestratord"),
        1
    );
    assert_eq!(script.log.count("Heartbeat task started"), 1);
}

// spec: CLOUD-3011
#[test]
fn heartbeats_are_sent_regularly() {
    let config = config(&["http://a:1"]);
    let (registration, script) = start(config.with_heartbeat_interval(Duration::from_millis(5)));
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
fn an_outage_and_its_end_are_logged_once() {
    let (registration, script) = start(config(&["http://a:1"]));
    for _ in 0..2 {
        script.register(unreachable());
    }
    script.register(Ok(()));
    // This heartbeat is sent after the registration was accepted.
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
    assert_eq!(
        script.log.count("orchestratord accepts heartbeats again"),
        1
    );
    assert_eq!(script.log.count("WARN"), 1);
}

// spec: REG-9
#[test]
fn the_next_control_plane_is_used_when_one_fails() {
    let (registration, script) = start(config(&["http://a:1", "http://b:1"]));
    script.register(Ok(()));
    script.heartbeat(unreachable());
    let (url, asked) = script.next();
    assert_eq!(url.host(), "b");
    assert!(matches!(asked, ReceivedRequest::Heartbeat(_)), "{asked:?}");
    script.answers.send(Ok(())).unwrap();
    drop(registration);
}

// spec: REG-6
#[test]
fn a_superseded_node_logs_it_and_does_not_deregister() {
    let (registration, script) = start(config(&["http://a:1"]));
    script.register(Ok(()));
    script.heartbeat(refused(409, "STALE_INCARNATION"));
    registration.notify();
    // Another request would arrive before the thread ends.
    assert_eq!(registration.deregister(DEADLINE), Ok(()));
    assert!(script.ended());
    assert_eq!(script.log.count("ERROR"), 1);
    assert_eq!(script.log.count("This node has been superseded"), 1);
}

// spec: REG-7
#[test]
fn a_refusal_is_logged_with_advice() {
    for (answer, advice) in [
        (refused(401, "UNAUTHORIZED"), "give this node the token"),
        (
            refused(409, "NODE_ID_CONFLICT"),
            "another machine uses this node id",
        ),
        (
            refused(404, "NOT_FOUND"),
            "check the address of orchestratord",
        ),
    ] {
        let (registration, script) = start(config(&["http://a:1"]));
        script.register(answer);
        assert_eq!(
            registration.deregister(DEADLINE),
            Ok(()),
            "there is nothing to deregister"
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
    let stopper = std::thread::spawn(move || {
        deregistered
            .send(registration.deregister(DEADLINE))
            .unwrap()
    });
    assert!(matches!(script.next().1, ReceivedRequest::Deregister(_)));
    script.answers.send(Ok(())).unwrap();
    assert_eq!(outcome.recv_timeout(DEADLINE), Ok(Ok(())));
    stopper.join().unwrap();
    assert_eq!(script.log.count("Deregistered from orchestratord"), 1);
}

// spec: REG-11
#[test]
fn a_later_incarnation_stays_registered_when_this_one_stops() {
    let (registration, script) = start(config(&["http://a:1"]));
    let incarnation = script.register(Ok(())).incarnation;
    script.heartbeat(Ok(()));
    // The thread may not know of the later incarnation: it names its own, and accepts the refusal.
    script
        .answers
        .send(refused(409, "STALE_INCARNATION"))
        .unwrap();
    assert_eq!(registration.deregister(DEADLINE), Ok(()));
    match script.next().1 {
        ReceivedRequest::Deregister(named) => assert_eq!(Some(named), incarnation),
        other => panic!("expected a deregistration, not {other:?}"),
    }
    assert!(script.ended(), "it is asked once");
    assert_eq!(
        script
            .log
            .count("A later start of this node has registered"),
        1
    );
    assert_eq!(script.log.count("WARN") + script.log.count("ERROR"), 0);
}

// spec: REG-13
#[test]
fn a_report_that_is_refused_for_its_size_is_resent_without_its_lists() {
    let (registration, script) = start(config(&["http://a:1"]));
    let replica = serde_json::json!({
        "replica_id": "r0", "ready": true, "slots_free": 1, "slots_total": 1,
        "models": (0..1000).map(|i| format!("{i:04}{}", "m".repeat(200))).collect::<Vec<_>>(),
    });
    let pool = serde_json::json!({
        "pool_id": "p", "ready": true, "draining": false, "slots_free": 1, "slots_total": 1,
        "models_available": ["tiny"], "replicas": vec![replica; 10],
    });
    *script.pools.lock() = vec![serde_json::from_value(pool).unwrap()];
    let models = |beat: &HeartbeatRequest| {
        let replicas = beat.pools[0].replicas.as_ref();
        replicas.map_or(0, |replicas| {
            replicas.iter().flat_map(|replica| &replica.models).count()
        })
    };
    script.register(Ok(()));
    let whole = script.heartbeat(refused(413, "PAYLOAD_TOO_LARGE"));
    assert_eq!(models(&whole), 10);
    let brief = script.heartbeat(Ok(()));
    assert_eq!((brief.seq, models(&brief)), (Some(2), 0));
    assert_eq!(
        brief.pools[0].models_available,
        whole.pools[0].models_available
    );
    // It stays short for a while.
    registration.notify();
    assert_eq!(models(&script.heartbeat(Ok(()))), 0);
    drop(registration);
    assert!(script.ended());
    assert_eq!(script.log.count("let the proxy before it"), 1);
    assert_eq!(
        script.log.count("which replica has which models"),
        1,
        "it is logged once"
    );
}

#[test]
fn a_failed_deregistration_is_reported() {
    let (registration, script) = start(config(&["http://a:1"]));
    script.register(Ok(()));
    script.heartbeat(Ok(()));
    script.answers.send(unreachable()).unwrap();
    let outcome = registration.deregister(DEADLINE);
    let reported =
        matches!(&outcome, Err(DeregisterError::Failed(why)) if why.contains("connection refused"));
    assert!(reported, "{outcome:?}");
}

// spec: REG-8
#[test]
fn a_hanging_request_does_not_delay_stopping() {
    let (registration, script) = start(config(&["http://a:1"]));
    assert!(matches!(script.next().1, ReceivedRequest::Register(_)));
    // The control plane does not answer.
    let short = Duration::from_millis(20);
    assert_eq!(
        registration.deregister(short),
        Err(DeregisterError::TimedOut(short))
    );
    // The answer comes too late to deregister: the thread ends.
    script.answers.send(Ok(())).unwrap();
    assert!(script.ended());
}

#[test]
fn a_source_that_panics_ends_the_thread() {
    let (registration, script) = start_with(config(&["http://a:1"]), Arc::default(), || {
        panic!("as the test wants")
    });
    script.register(Ok(()));
    // An earlier stop would prevent the heartbeat that calls the source.
    assert!(script.ended());
    let outcome = registration.deregister(DEADLINE);
    let reported =
        matches!(&outcome, Err(DeregisterError::Failed(why)) if why.contains("panicked"));
    assert!(reported, "{outcome:?}");
}
