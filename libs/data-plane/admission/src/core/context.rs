//! Which endpoints have the context that a request needs.

use super::AdmissionCore;

impl<W> AdmissionCore<W> {
    /// Adds the endpoints whose context is known to be smaller than `least`.
    pub(super) fn skip_smaller(&self, model: &str, least: Option<u32>, skipped: &mut Vec<u32>) {
        let Some(least) = least else { return };
        let is_smaller = |index: &&u32| {
            let endpoint = self.table.endpoint(**index);
            endpoint
                .and_then(|endpoint| endpoint.context_length())
                .is_some_and(|tokens| tokens < least)
        };
        skipped.extend(self.table.candidates(model).iter().filter(is_smaller));
    }

    /// Whether an endpoint of the model accepts requests and is known to have this context.
    pub(crate) fn has_context(&self, model: &str, least: u32) -> bool {
        self.table.candidates(model).iter().any(|&index| {
            let endpoint = self.table.endpoint(index);
            let context = endpoint.and_then(|endpoint| endpoint.context_length());
            let report = self.table.report(index);
            context.is_some_and(|tokens| tokens >= least)
                && report.is_some_and(|report| report.state.is_routable())
        })
    }
}
