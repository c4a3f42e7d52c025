//! What the headers of a node's answer say.

use std::time::{Duration, SystemTime};

use http::{
    HeaderMap, HeaderName, Response,
    header::{DATE, RETRY_AFTER},
};
use pool_registry_types::{ErrorCode, ReplicaId, headers};
use stream_proxy::ProxyBody;

use crate::{NoAnswer, NodeAnswer, NodeRefusal, NodeReport, Slots};

/// What a node says to the control plane, and nobody else hears.
static OF_THE_NODE: [HeaderName; 7] = [
    headers::REPLICA,
    headers::REPLICA_SLOTS_FREE,
    headers::REPLICA_SLOTS_TOTAL,
    headers::SLOTS_FREE,
    headers::SLOTS_TOTAL,
    headers::REFUSAL,
    headers::EXECUTIONS,
];

/// Reads an answer that came at `now`, from an endpoint that is a whole pool or not.
pub(super) fn read(
    mut response: Response<ProxyBody>,
    is_pool: bool,
    now: SystemTime,
) -> Result<NodeAnswer, NoAnswer> {
    let status = response.status().as_u16();
    let headers = response.headers_mut();
    if headers.contains_key(headers::REFUSAL) {
        return Err(NoAnswer::Refused(refusal(headers, now)));
    }
    // A node's data path says this with each of its answers, in every version.
    let Some(of_pool) = slots(headers, &headers::SLOTS_FREE, &headers::SLOTS_TOTAL) else {
        return Err(NoAnswer::NotANode(status));
    };
    let report = report(headers, is_pool.then_some(of_pool));
    for name in &OF_THE_NODE {
        headers.remove(name);
    }
    Ok(NodeAnswer { response, report })
}

fn replica(headers: &HeaderMap) -> Option<ReplicaId> {
    ReplicaId::new(text(headers, &headers::REPLICA)?).ok()
}

/// What the node says of itself with an engine's answer. The slots of the pool are told of where it
/// is the endpoint.
fn report(headers: &HeaderMap, of_pool: Option<Slots>) -> NodeReport {
    let of_replica = slots(
        headers,
        &headers::REPLICA_SLOTS_FREE,
        &headers::REPLICA_SLOTS_TOTAL,
    );
    NodeReport {
        replica: replica(headers),
        slots: of_pool.or(of_replica),
    }
}

fn refusal(headers: &HeaderMap, now: SystemTime) -> NodeRefusal {
    let code = text(headers, &headers::REFUSAL).unwrap_or_default();
    NodeRefusal {
        code: ErrorCode::ALL
            .iter()
            .copied()
            .find(|known| known.as_str() == code),
        pause: asked_pause(headers, now),
        executed: headers.contains_key(headers::EXECUTIONS),
        replica: replica(headers),
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    Some(headers.get(name)?.to_str().ok()?.trim())
}

fn slots(headers: &HeaderMap, free: &HeaderName, total: &HeaderName) -> Option<Slots> {
    let number = |name| text(headers, name)?.parse().ok();
    Some(Slots {
        free: number(free)?,
        total: number(total)?,
    })
}

/// The delay that the answer, received at `now`, asks for before a retry: in milliseconds in the
/// header of nodes, else in whole seconds or as a date (RFC 9110, 10.2.3). A date counts from the
/// answer's own, where it has one: clocks differ.
#[must_use]
pub fn asked_pause(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let number = |text: &str| {
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        // One that is too large for any time is a long time.
        is_number.then(|| text.parse().unwrap_or(u64::MAX))
    };
    if let Some(millis) = text(headers, &headers::BACKOFF_MS).and_then(number) {
        return Some(Duration::from_millis(millis));
    }
    let after = text(headers, &RETRY_AFTER)?;
    if let Some(seconds) = number(after) {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(after).ok()?;
    let sent = text(headers, &DATE).and_then(|date| httpdate::parse_http_date(date).ok());
    // One that has passed already asks for nothing.
    Some(date.duration_since(sent.unwrap_or(now)).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn map(pairs: &[(HeaderName, &'static str)]) -> HeaderMap {
        let pairs = pairs.iter();
        pairs
            .map(|(name, value)| (name.clone(), HeaderValue::from_static(value)))
            .collect()
    }

    // spec: PATH-37
    #[test]
    fn a_pause_is_asked_for_in_seconds_in_milliseconds_or_by_a_date() {
        let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        let date = "Sun, 06 Nov 1994 08:50:07 GMT";
        let secs = |secs| Some(Duration::from_secs(secs));
        for (pairs, expected) in [
            (vec![(RETRY_AFTER, "7")], secs(7)),
            (vec![(RETRY_AFTER, " 0 ")], secs(0)),
            (
                vec![(RETRY_AFTER, "99999999999999999999999")],
                secs(u64::MAX),
            ),
            (vec![(RETRY_AFTER, date)], secs(30)),
            (
                vec![(RETRY_AFTER, date), (DATE, "Sun, 06 Nov 1994 08:50:05 GMT")],
                secs(2),
            ),
            (
                vec![(RETRY_AFTER, "Sun, 06 Nov 1994 08:49:07 GMT")],
                secs(0),
            ),
            (
                vec![(RETRY_AFTER, "2"), (headers::BACKOFF_MS, "1200")],
                Some(Duration::from_millis(1200)),
            ),
            (vec![(RETRY_AFTER, "-1")], None),
            (vec![(RETRY_AFTER, "1.5")], None),
            (vec![(RETRY_AFTER, "soon")], None),
            (vec![(RETRY_AFTER, "")], None),
            (vec![], None),
        ] {
            assert_eq!(asked_pause(&map(&pairs), now), expected, "{pairs:?}");
        }
    }

    // spec: PATH-37, PATH-63
    #[test]
    fn a_refusal_says_why_for_how_long_and_after_what() {
        let now = SystemTime::UNIX_EPOCH;
        let read = |pairs: &[(HeaderName, &'static str)]| refusal(&map(pairs), now);
        assert_eq!(
            read(&[
                (headers::REFUSAL, "POOL_BUSY"),
                (headers::BACKOFF_MS, "1200")
            ]),
            NodeRefusal {
                code: Some(ErrorCode::PoolBusy),
                pause: Some(Duration::from_millis(1200)),
                executed: false,
                replica: None,
            }
        );
        let later = read(&[
            (headers::REFUSAL, "OF_A_LATER_VERSION"),
            (headers::EXECUTIONS, "1"),
            (headers::REPLICA, "r1"),
        ]);
        assert_eq!((later.code, later.executed), (None, true));
        assert_eq!(later.replica, ReplicaId::new("r1").ok());
    }

    // spec: PATH-64
    #[test]
    fn a_report_is_about_the_replica_or_else_about_the_pool() {
        let of_pool = Slots { free: 5, total: 9 };
        let read = |pairs: &[(HeaderName, &'static str)]| report(&map(pairs), None);
        let whole = [
            (headers::REPLICA, "r1"),
            (headers::REPLICA_SLOTS_FREE, "1"),
            (headers::REPLICA_SLOTS_TOTAL, "4"),
        ];
        let expected = NodeReport {
            replica: Some(ReplicaId::new("r1").unwrap()),
            slots: Some(Slots { free: 1, total: 4 }),
        };
        assert_eq!(read(&whole), expected);
        assert_eq!(read(&whole[..2]).slots, None, "half a report is none");
        let pool = report(&map(&whole), Some(of_pool));
        assert_eq!(pool.slots, Some(of_pool), "the endpoint is the pool");
        let strange = [
            (headers::REPLICA, "../r1"),
            (headers::REPLICA_SLOTS_FREE, "-1"),
        ];
        assert_eq!(read(&strange).replica, None);
    }
}
