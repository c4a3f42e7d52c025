//! Streams without an end of their own, whose readers are judged again every second.
//!
//! A request is judged when it comes, and an inference that runs then is finished. A feed of the
//! fleet would go on for ever: its reader may be revoked, expire or sign out meanwhile.

use std::{
    net::IpAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::{Duration, SystemTime},
};

use bearer_auth::{AuthError, AuthPolicy, CertificateHolder, Principal};
use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame};
use tokio::time::{Interval, MissedTickBehavior, interval};

/// How often a reader is judged: what is changed takes effect within a second.
const PERIOD: Duration = Duration::from_millis(500);

/// Who presents these headers, and whether by the cookie of a session.
pub(crate) fn identify(
    policy: &AuthPolicy,
    peer: IpAddr,
    headers: &HeaderMap,
    holder: Option<&Arc<CertificateHolder>>,
    now: SystemTime,
) -> (Result<Principal, AuthError>, bool) {
    let judged = match holder {
        Some(holder) => policy.holder(holder),
        None => policy.authorize(peer, headers, now),
    };
    match judged {
        Err(AuthError::Missing) => match policy.session(headers, now) {
            Some(session) => (session, true),
            None => (Err(AuthError::Missing), false),
        },
        judged => (judged, false),
    }
}

/// The reader of a feed, with what it presented.
pub(crate) struct FeedReader {
    policy: AuthPolicy,
    peer: IpAddr,
    headers: HeaderMap,
    holder: Option<Arc<CertificateHolder>>,
    principal: Principal,
}

impl FeedReader {
    pub(crate) fn new(
        policy: AuthPolicy,
        peer: IpAddr,
        headers: &HeaderMap,
        holder: Option<&Arc<CertificateHolder>>,
        principal: &Principal,
    ) -> Self {
        Self {
            policy,
            peer,
            headers: headers.clone(),
            holder: holder.cloned(),
            principal: principal.clone(),
        }
    }

    /// Whether it is still who it was.
    fn is_valid(&self, now: SystemTime) -> bool {
        let holder = self.holder.as_ref();
        let (principal, _) = identify(&self.policy, self.peer, &self.headers, holder, now);
        principal.as_ref() == Ok(&self.principal)
    }
}

/// The body of a feed. It ends when its reader is not valid any more.
pub(crate) struct JudgedFeed<B> {
    body: Pin<Box<B>>,
    reader: FeedReader,
    ticks: Interval,
    has_ended: bool,
}

impl<B> JudgedFeed<B> {
    pub(crate) fn new(body: B, reader: FeedReader) -> Self {
        let mut ticks = interval(PERIOD);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            body: Box::pin(body),
            reader,
            ticks,
            has_ended: false,
        }
    }
}

impl<B: Body<Data = Bytes>> Body for JudgedFeed<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = &mut *self;
        while !this.has_ended && this.ticks.poll_tick(cx).is_ready() {
            this.has_ended = !this.reader.is_valid(SystemTime::now());
        }
        if this.has_ended {
            return Poll::Ready(None);
        }
        this.body.as_mut().poll_frame(cx)
    }
}
