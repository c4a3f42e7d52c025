//! A timer queue with an entry for each node.
//!
//! The deadline of a node moves with every heartbeat. Its entry here does not: when it is due too
//! early, it is armed again for the current deadline. So a heartbeat costs nothing here, and each
//! node costs one check per timeout.

use std::{collections::BTreeSet, time::Duration};

use pool_registry_types::NodeId;

/// At most one entry for each node.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Deadlines(BTreeSet<(Duration, NodeId)>);

impl Deadlines {
    /// Makes the entry of a node due at `at` or earlier. `armed` is its current time.
    pub(crate) fn arm(&mut self, node: &NodeId, armed: &mut Option<Duration>, at: Duration) {
        match *armed {
            Some(before) if before <= at => return,
            Some(before) => {
                self.0.remove(&(before, node.clone()));
            }
            None => {}
        }
        self.0.insert((at, node.clone()));
        *armed = Some(at);
    }

    pub(crate) fn disarm(&mut self, node: &NodeId, armed: Option<Duration>) {
        if let Some(at) = armed {
            self.0.remove(&(at, node.clone()));
        }
    }

    pub(crate) fn first(&self) -> Option<Duration> {
        self.0.first().map(|(at, _)| *at)
    }

    /// Takes the earliest entry that is due.
    pub(crate) fn pop_due(&mut self, now: Duration) -> Option<NodeId> {
        if self.first()? > now {
            return None;
        }
        self.0.pop_first().map(|(_, node)| node)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // spec: LIVE-1, LIVE-32
    #[test]
    fn a_node_has_one_entry_that_moves_forward_only_when_due() {
        let [a, b] = ["a", "b"].map(|id| NodeId::new(id).unwrap());
        let second = Duration::from_secs;
        let (mut armed_a, mut armed_b) = (None, None);
        let mut deadlines = Deadlines::default();
        deadlines.arm(&a, &mut armed_a, second(2));
        deadlines.arm(&b, &mut armed_b, second(3));
        // Later: it stays. Earlier: it moves.
        deadlines.arm(&a, &mut armed_a, second(9));
        assert_eq!(
            (armed_a, deadlines.first()),
            (Some(second(2)), Some(second(2)))
        );
        deadlines.arm(&b, &mut armed_b, second(1));
        assert_eq!(
            (armed_b, deadlines.first()),
            (Some(second(1)), Some(second(1)))
        );
        assert_eq!(deadlines.pop_due(second(0)), None);
        assert_eq!(deadlines.pop_due(second(9)), Some(b));
        deadlines.disarm(&a, armed_a);
        assert_eq!(deadlines, Deadlines::default());
    }
}
