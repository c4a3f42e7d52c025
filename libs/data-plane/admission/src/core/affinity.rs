//! Remembers which endpoint holds which conversation, and which has seen which prompt.

use std::time::Duration;

use placement::Strategy;

use super::{AdmissionCore, grant::Grant};
use crate::request::RoutingPreference;

impl<W> AdmissionCore<W> {
    /// The hash of the endpoint that holds the request's conversation, for the affinity strategies.
    pub(super) fn conversation_endpoint(
        &self,
        model: &str,
        preference: &RoutingPreference,
    ) -> Option<u64> {
        match preference.strategy {
            Strategy::Session => {
                let conversation = preference.affinity.conversation_key(model)?;
                self.conversations.endpoint_of(conversation)
            }
            Strategy::Prefix => {
                let blocks = &preference.affinity.blocks;
                let (_, endpoint) = self.conversations.find_by_blocks(blocks)?;
                Some(endpoint)
            }
            Strategy::LeastLoaded | Strategy::RoundRobin | Strategy::Weighted => None,
        }
    }

    /// Records that the grant's endpoint holds the request's conversation and sees its prompt.
    pub(super) fn record_affinity(&mut self, grant: &mut Grant, now: Duration) {
        let Some(preference) = &grant.preference else {
            return;
        };
        let endpoint = grant.endpoint.hash();
        let (conversation, before) = match (preference.strategy, grant.session) {
            (Strategy::Prefix, _) => {
                let blocks = &preference.affinity.blocks;
                grant.known_blocks = self.prefixes.record(blocks, endpoint);
                let before = self.conversations.find_by_blocks(blocks);
                (blocks.last().copied(), before.map(|(before, _)| before))
            }
            (_, session) => (session, None),
        };
        let Some(conversation) = conversation else {
            return;
        };
        for hash in self
            .conversations
            .record(conversation, before, endpoint, now)
        {
            if let Some(index) = self.table.by_hash(hash) {
                self.update_conversation_count(index);
            }
        }
    }

    /// Forgets that the grant's endpoint sees the request's prompt. It keeps the blocks that it had
    /// seen before.
    pub(super) fn forget_prompt(&mut self, grant: &Grant) {
        if let Some(preference) = &grant.preference
            && preference.strategy == Strategy::Prefix
            && let Some(new_blocks) = preference.affinity.blocks.get(grant.known_blocks..)
        {
            self.prefixes.forget(new_blocks, grant.endpoint.hash());
        }
    }

    /// Updates the number of conversations in the load of one endpoint.
    pub(super) fn update_conversation_count(&mut self, index: u32) {
        if let Some(endpoint) = self.table.endpoint(index) {
            let load = placement::Load {
                conversations: self.conversations.count(endpoint.hash()),
                ..self.loads.get(index)
            };
            self.loads.set(&self.table, index, load);
        }
    }
}
