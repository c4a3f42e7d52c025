//! Nodes that the control plane refuses, for people: who, why, and how often. Pure.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use pool_registry_types::{NodeId, one_line};

/// The most refused nodes that are remembered. When there are more, the one that has been silent
/// longest is forgotten.
pub const MAX_REFUSED_NODES: usize = 64;

/// The longest reason, in bytes.
const MAX_REASON_BYTES: usize = 512;

/// A refused node that does not try again for so long is forgotten. Agents try again within half a
/// minute.
pub const REFUSAL_FORGOTTEN_AFTER: Duration = Duration::from_secs(600);

/// At most [`NEWS_AT_ONCE`] refusals within this time are news. Without a limit, anyone could fill
/// the log of events.
const NEWS_WINDOW: Duration = Duration::from_secs(60);

/// See [`NEWS_WINDOW`].
const NEWS_AT_ONCE: usize = 10;

/// A node that was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct RefusedNode {
    /// Its network address, or the address that it wants to be reached at.
    pub from: String,
    /// Its id, if the request named one and had a valid token.
    pub node_id: Option<NodeId>,
    /// Why it was refused the last time.
    pub reason: String,
    /// How often it was refused.
    pub times: u64,
    /// When it was refused the last time.
    pub last: Duration,
}

/// The refused nodes.
#[derive(Debug, Default)]
pub struct RefusedNodes {
    by_source: BTreeMap<(String, Option<NodeId>), RefusedNode>,
    news: VecDeque<Duration>,
}

impl RefusedNodes {
    /// Notes a refusal. Returns whether it is news: the first one, or one for another reason, and
    /// not too many of them.
    pub fn refused(
        &mut self,
        from: String,
        node_id: Option<NodeId>,
        reason: &str,
        now: Duration,
    ) -> bool {
        self.forget_old(now);
        let reason = one_line(reason, MAX_REASON_BYTES);
        let key = (from, node_id);
        if let Some(known) = self.by_source.get_mut(&key) {
            let is_other = known.reason != reason;
            known.reason = reason;
            known.times = known.times.saturating_add(1);
            known.last = now;
            return is_other && self.is_news(now);
        }
        if self.by_source.len() >= MAX_REFUSED_NODES {
            let silent = self.by_source.iter().min_by_key(|(_, node)| node.last);
            if let Some(key) = silent.map(|(key, _)| key.clone()) {
                self.by_source.remove(&key);
            }
        }
        let node = RefusedNode {
            from: key.0.clone(),
            node_id: key.1.clone(),
            reason,
            times: 1,
            last: now,
        };
        self.by_source.insert(key, node);
        self.is_news(now)
    }

    /// Notes that a node was accepted.
    pub fn accepted(&mut self, node_id: &NodeId) {
        self.by_source
            .retain(|_, node| node.node_id.as_ref() != Some(node_id));
    }

    /// The refused nodes, the latest first.
    pub fn list(&mut self, now: Duration) -> Vec<RefusedNode> {
        self.forget_old(now);
        let mut all: Vec<RefusedNode> = self.by_source.values().cloned().collect();
        all.sort_by_key(|node| Reverse(node.last));
        all
    }

    fn forget_old(&mut self, now: Duration) {
        self.by_source
            .retain(|_, node| now.saturating_sub(node.last) < REFUSAL_FORGOTTEN_AFTER);
    }

    fn is_news(&mut self, now: Duration) -> bool {
        while self
            .news
            .front()
            .is_some_and(|at| now.saturating_sub(*at) >= NEWS_WINDOW)
        {
            self.news.pop_front();
        }
        let is_news = self.news.len() < NEWS_AT_ONCE;
        if is_news {
            self.news.push_back(now);
        }
        is_news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    // spec: SEE-41
    #[test]
    fn a_node_is_news_once_and_forgotten_when_it_stops_trying() {
        let mut refused = RefusedNodes::default();
        assert!(refused.refused("10.0.0.7".to_owned(), None, "wrong\ntoken", SECOND));
        for at in 2..30 {
            assert!(!refused.refused("10.0.0.7".to_owned(), None, "wrong\ntoken", at * SECOND));
        }
        let listed = refused.list(30 * SECOND);
        assert_eq!(
            (listed[0].times, listed[0].reason.as_str()),
            (29, "wrong token")
        );
        assert!(refused.refused("10.0.0.7".to_owned(), None, "no token", 30 * SECOND));
        assert_eq!(refused.list(30 * SECOND + REFUSAL_FORGOTTEN_AFTER), []);
        // One that is accepted is refused no more.
        let id = NodeId::new("gpu-1").unwrap();
        refused.refused(
            "http://gpu-1:9200".to_owned(),
            Some(id.clone()),
            "conflict",
            SECOND,
        );
        refused.accepted(&id);
        assert_eq!(refused.list(SECOND), []);
    }

    // spec: SEE-41
    #[test]
    fn a_flood_is_bounded() {
        let mut refused = RefusedNodes::default();
        let news = (0..1000_u32)
            .filter(|n| refused.refused(format!("2001:db8::{n:x}"), None, "wrong token", SECOND));
        assert_eq!(news.count(), NEWS_AT_ONCE);
        assert_eq!(refused.list(SECOND).len(), MAX_REFUSED_NODES);
        assert!(refused.refused(
            "later".to_owned(),
            None,
            "wrong token",
            SECOND + NEWS_WINDOW
        ));
    }
}
