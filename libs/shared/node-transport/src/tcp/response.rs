//! Reads a node's report or refusal from the headers of its response.

use std::time::{Duration, SystemTime};

use http::{
    HeaderMap, HeaderName, HeaderValue, Response,
    header::{ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_ORIGIN, DATE, RETRY_AFTER},
};
use pool_registry_types::{ErrorCode, ReplicaId, headers};
use stream_proxy::ProxyBody;

use crate::transport::{NodeRefusal, NodeReport, NodeResponse, Slots, TransportError};

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
    let report = take_report(headers, is_pool).ok_or(TransportError::NotANode(status))?;
    Ok(NodeResponse { response, report })
}

/// The node's report with an engine's response, if it comes from a node. It is for this process, so
/// it is taken out. `is_pool` tells whether the endpoint is a whole pool.
fn take_report(headers: &mut HeaderMap, is_pool: bool) -> Option<NodeReport> {
    // A node's data path sends these two with every response, in every version.
    let of_pool = take_slots(headers, &headers::SLOTS_FREE, &headers::SLOTS_TOTAL)?;
    let of_replica = take_slots(
        headers,
        &headers::REPLICA_SLOTS_FREE,
        &headers::REPLICA_SLOTS_TOTAL,
    );
    let replica = headers.remove(headers::REPLICA);
    headers.remove(headers::EXECUTIONS);
    // Older nodes pass on what engines say about pages of other origins.
    headers.remove(ACCESS_CONTROL_ALLOW_ORIGIN);
    headers.remove(ACCESS_CONTROL_ALLOW_CREDENTIALS);
    Some(NodeReport {
        replica: replica.as_ref().and_then(replica_of),
        slots: if is_pool { Some(of_pool) } else { of_replica },
    })
}

fn replica_of(value: &HeaderValue) -> Option<ReplicaId> {
    ReplicaId::new(trimmed(value)?).ok()
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
        replica: headers.get(headers::REPLICA).and_then(replica_of),
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    trimmed(headers.get(name)?)
}

fn trimmed(value: &HeaderValue) -> Option<&str> {
    Some(value.to_str().ok()?.trim())
}

fn take_slots(headers: &mut HeaderMap, free: &HeaderName, total: &HeaderName) -> Option<Slots> {
    let mut number = |name| trimmed(&headers.remove(name)?)?.parse().ok();
    let (free, total) = (number(free), number(total));
    Some(Slots {
        free: free?,
        total: total?,
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
        let read = |pairs: &[(HeaderName, &'static str)], is_pool| {
            let mut headers = map(pairs);
            headers.insert(headers::SLOTS_FREE, HeaderValue::from_static("5"));
            headers.insert(headers::SLOTS_TOTAL, HeaderValue::from_static("9"));
            let report = take_report(&mut headers, is_pool).unwrap();
            assert!(headers.is_empty(), "no client sees them");
            report
        };
        let whole = [
            (headers::REPLICA, "r1"),
            (headers::REPLICA_SLOTS_FREE, "1"),
            (headers::REPLICA_SLOTS_TOTAL, "4"),
        ];
        let expected = NodeReport {
            replica: Some(ReplicaId::new("r1").unwrap()),
            slots: Some(Slots { free: 1, total: 4 }),
        };
        assert_eq!(read(&whole, false), expected);
        assert_eq!(
            read(&whole[..2], false).slots,
            None,
            "half a report is not a report"
        );
        let pool = read(&whole, true);
        assert_eq!(pool.slots, Some(of_pool), "the endpoint is the pool");
        let strange = [
            (headers::REPLICA, "../r1"),
            (headers::REPLICA_SLOTS_FREE, "-1"),
        ];
        assert_eq!(read(&strange, false).replica, None);
        assert!(take_report(&mut map(&whole), true).is_none(), "not a node");
    }
}
