//! What must hold for admission in every history, however late the timer is.
//!
//! A history is a list of events with time between them. The timer fires (`Step::Tick`) when the
//! history says so, which may be long after its deadline.

mod history;
mod steps;

use proptest::prelude::proptest;

use self::{history::History, steps::steps};

proptest! {
    /// No endpoint gets more requests than it has slots. No request waits beside a free slot unless
    /// the timer is due. The queue keeps its order. Each request has one result. An open breaker
    /// admits one probe at a time, and always another one later. When every slot is given back,
    /// none is left taken.
    // spec: ADM-11, ADM-13, ADM-14, ADM-15
    #[test]
    fn invariants_hold_in_every_history(steps in steps()) {
        let mut history = History::new();
        for step in steps {
            history.step(step)?;
        }
        history.every_endpoint_is_probed()?;
        history.no_slot_is_lost()?;
    }
}
