//! Drains of operators, and how long they are kept.

use std::time::Duration;

use pool_registry_types::{NodeId, PoolId, limits::MAX_POOL_DRAINS};

use crate::{
    Delta, FORGET_AFTER, Registry, RegistryError,
    intent::{Drain, Target},
    node::Node,
};

impl Registry {
    /// Drains `target`: it takes no new requests. Draining again replaces the deadline.
    ///
    /// # Errors
    /// [`RegistryError::UnknownNode`], [`RegistryError::UnknownPool`].
    pub fn drain(
        &mut self,
        target: &Target,
        deadline: Option<Duration>,
        now: Duration,
    ) -> Result<(), RegistryError> {
        let now = self.advance(now);
        self.require_target(target)?;
        let intent = self.intents.entry(target.node_id().clone()).or_default();
        let drain = |before: Option<Drain>| Drain {
            since: before.map_or(now, |before| before.since),
            deadline,
        };
        let before = match target {
            Target::Node(_) => intent.node.replace(drain(intent.node)),
            Target::Pool(_, pool) => intent
                .pools
                .insert(pool.clone(), drain(intent.pools.get(pool).copied())),
        };
        self.drop_excess_drains(target.node_id());
        self.publish_drain(target, before.is_none(), true);
        Ok(())
    }

    /// Ends a [`drain`](Self::drain).
    ///
    /// A drain that the node itself reports goes on. A pool of a drained node stays drained.
    ///
    /// # Errors
    /// [`RegistryError::UnknownNode`], [`RegistryError::UnknownPool`].
    pub fn undrain(&mut self, target: &Target, now: Duration) -> Result<(), RegistryError> {
        self.advance(now);
        let Some(intent) = self.intents.get_mut(target.node_id()) else {
            return self.require_target(target);
        };
        let before = match target {
            Target::Node(_) => intent.node.take(),
            Target::Pool(_, pool) => intent.pools.remove(pool),
        };
        if intent.is_empty() {
            self.drop_intent(target.node_id());
        }
        if before.is_none() {
            return self.require_target(target);
        }
        self.publish_drain(target, true, false);
        Ok(())
    }

    /// Keeps the drains of a node within their bound, which is the bound of its pools. So above it
    /// there is always a drain of a pool that the node does not have.
    fn drop_excess_drains(&mut self, node_id: &NodeId) {
        let (Some(node), Some(intent)) = (self.nodes.get(node_id), self.intents.get_mut(node_id))
        else {
            return;
        };
        let has = |pool: &PoolId| {
            node.observed
                .pools
                .iter()
                .any(|has| has.status.pool_id == *pool)
        };
        while intent.pools.len() > MAX_POOL_DRAINS {
            let evictable = intent.pools.iter().filter(|(pool, _)| !has(pool));
            let Some((pool_id, _)) = evictable.min_by_key(|(_, drain)| drain.since) else {
                return;
            };
            let pool_id = pool_id.clone();
            intent.pools.remove(&pool_id);
            self.deltas.push(Delta::DrainDropped {
                node_id: node_id.clone(),
                pool_id,
            });
        }
    }

    fn publish_drain(&mut self, target: &Target, is_new: bool, draining: bool) {
        if is_new {
            self.deltas.push(Delta::DrainChanged {
                target: target.clone(),
                draining,
            });
        }
        self.mark_dirty(target.node_id());
        let because = if draining {
            "an operator drains it"
        } else {
            "an operator undrained it"
        };
        self.update_evictable(target.node_id());
        self.refresh(target.node_id(), Some(because));
    }

    pub(crate) fn require(&self, node_id: &NodeId) -> Result<&Node, RegistryError> {
        self.nodes
            .get(node_id)
            .map(Box::as_ref)
            .ok_or_else(|| RegistryError::UnknownNode {
                node_id: node_id.clone(),
            })
    }

    fn require_target(&self, target: &Target) -> Result<(), RegistryError> {
        let node = self.require(target.node_id())?;
        match target {
            Target::Pool(node_id, pool_id)
                if node
                    .observed
                    .pools
                    .iter()
                    .all(|pool| pool.status.pool_id != *pool_id) =>
            {
                Err(RegistryError::UnknownPool {
                    node_id: node_id.clone(),
                    pool_id: pool_id.clone(),
                })
            }
            _ => Ok(()),
        }
    }

    /// Keeps the drains of a node that is known again.
    pub(crate) fn adopt_intent(&mut self, node_id: &NodeId) {
        if let Some(intent) = self.intents.get_mut(node_id)
            && let Some(at) = intent.forget_at.take()
        {
            self.orphans.remove(&(at, node_id.clone()));
        }
    }

    /// Keeps the drains of a node that has left as long as an offline node is kept, because an
    /// agent that restarts leaves and joins again.
    pub(crate) fn orphan_intent(&mut self, node_id: &NodeId) {
        let forget_at = self.now.saturating_add(FORGET_AFTER);
        if let Some(intent) = self.intents.get_mut(node_id) {
            intent.forget_at = Some(forget_at);
            self.orphans.insert((forget_at, node_id.clone()));
        }
    }

    pub(crate) fn drop_old_intents(&mut self) {
        while self.orphans.first().is_some_and(|(at, _)| *at <= self.now)
            && let Some((_, node_id)) = self.orphans.pop_first()
        {
            self.intents.remove(&node_id);
            self.mark_dirty(&node_id);
        }
    }

    fn drop_intent(&mut self, node_id: &NodeId) {
        if let Some(intent) = self.intents.remove(node_id)
            && let Some(at) = intent.forget_at
        {
            self.orphans.remove(&(at, node_id.clone()));
        }
    }
}
