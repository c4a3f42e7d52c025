//! Reads a node's report or refusal from the headers of its response.

use std::time::{Duration, SystemTime};

use http::{
    HeaderMap, HeaderName, Response,
    header::{DATE, RETRY_AFTER},
};
use pool_registry_types::{ErrorCode, ReplicaId, headers};
use stream_proxy::ProxyBody;

use crate::transport::{NodeRefusal, NodeReport, NodeResponse, Slots, TransportError};

/// Headers of a node for the control plane. They do not go on to the client.
static REPORT_HEADERS: [HeaderName; 7] = [
    headers::REPLICA,
    headers::REPLICA_SLOTS_FREE,
    headers::REPLICA_SLOTS_TOTAL,
    headers::SLOTS_FREE,
    headers::SLOTS_TOTAL,
    headers::REFUSAL,
    headers::EXECUTIONS,
];

/// Reads a response that arrived at `now`. `is_pool` tells whether the endpoint is a whole pool.
pub(super) fn read(
    mut response: Response<ProxyBody>,
    is_pool: bool,
    now: SystemTime,
) -> Result<NodeResponse, TransportError> {
    let status = response.status().as_u16();
    let headers = response.headers_mut();
    if headers.contains_key(headers::REFUSAL) {
        return Err(TransportError::Refused(refusal(headers, now)));
    }
    // A node's data path sends these headers with every response, in every version.
    let Some(of_pool) = slots(headers, &headers::SLOTS_FREE, &headers::SLOTS_TOTAL) else {
        return Err(TransportError::NotANode(status));
    };
    let report = report(headers, is_pool.then_some(of_pool));
    for name in &REPORT_HEADERS {
        headers.remove(name);
    }
    Ok(NodeResponse { response, report })
}

fn replica(headers: &HeaderMap) -> Option<ReplicaId> {
    ReplicaId::new(text(headers, &headers::REPLICA)?).ok()
}

/// The node's report with an engine's response. `of_pool` is set where the pool is the endpoint.
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
        pause: requested_pause(headers, now),
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

/// The pause that the response, received at `now`, requests before a retry: in milliseconds in the
/// header of nodes, else in whole seconds or as a date (RFC 9110, 10.2.3). A date is relative to
/// the response's own date, where it has one, because clocks differ.
#[must_use]
pub fn requested_pause(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let number = |text: &str| {
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        // A number that does not fit is a long time.
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
    // A date in the past requests no pause.
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
    fn a_pause_is_given_in_seconds_milliseconds_or_as_a_date() {
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
            assert_eq!(requested_pause(&map(&pairs), now), expected, "{pairs:?}");
        }
    }

    // spec: PATH-37, PATH-63
    #[test]
    fn a_refusal_has_a_reason_a_pause_and_whether_an_engine_started() {
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
    fn a_report_covers_the_replica_or_else_the_pool() {
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
        assert_eq!(
            read(&whole[..2]).slots,
            None,
            "half a report is not a report"
        );
        let pool = report(&map(&whole), Some(of_pool));
        assert_eq!(pool.slots, Some(of_pool), "the endpoint is the pool");
        let strange = [
            (headers::REPLICA, "../r1"),
            (headers::REPLICA_SLOTS_FREE, "-1"),
        ];
        assert_eq!(read(&strange).replica, None);
    }
}
