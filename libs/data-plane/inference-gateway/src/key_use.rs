//! What a request uses of its key.

use std::sync::Arc;

use admission::{Flow, Priority};
use bearer_auth::{HighestPriority, Identity, Principal};
use key_limits::{KeyLimiter, KeyPermit, LimitExceeded, Quota};

use crate::error::GatewayError;

/// A request of a key.
#[derive(Debug)]
pub(crate) struct KeyUse {
    key: Arc<Identity>,
    /// For a key with limits that are counted.
    permit: Option<KeyPermit>,
    quota: Quota,
    /// The engine is asked for the usage, and the client has not asked.
    hides_usage: bool,
}

impl KeyUse {
    /// A request of this caller has come; `None` for a caller without a key. The second value says
    /// that a limit is reached.
    pub(crate) fn start(
        limiter: &KeyLimiter,
        principal: Option<&Principal>,
    ) -> Option<(Box<Self>, Option<LimitExceeded>)> {
        let key = principal?.identity()?;
        let admitted = key.limits.has_counted().then(|| limiter.admit(key));
        let (permit, refused) = match admitted {
            Some(Ok(permit)) => (Some(permit), None),
            Some(Err(exceeded)) => (None, Some(exceeded)),
            None => (None, None),
        };
        let quota = permit.as_ref().map(KeyPermit::quota).copied();
        let quota = quota.or(refused.map(|refused| refused.quota));
        let started = Box::new(Self {
            key: Arc::clone(key),
            permit,
            quota: quota.unwrap_or_default(),
            hides_usage: false,
        });
        Some((started, refused))
    }

    /// What the key has left.
    pub(crate) fn quota(&self) -> &Quota {
        &self.quota
    }

    /// Whether the key may use a model, which the client may have called by an alias.
    pub(crate) fn check_model(&self, model: &str, alias: Option<&str>) -> Result<(), GatewayError> {
        check_model(&self.key, model, alias)
    }

    /// The priority that a request has instead of the one that it asks for.
    pub(crate) fn priority(&self, wanted: Priority) -> Priority {
        match self.key.limits.highest_priority() {
            HighestPriority::Interactive => wanted,
            HighestPriority::Batch => Priority::Batch,
        }
    }

    /// The requests that it shares its turns with.
    pub(crate) fn flow(&self) -> Flow<'_> {
        Flow {
            key: Some(&self.key.id),
            weight: self.key.limits.weight(),
        }
    }

    /// The engine is asked for the usage, which the client does not expect.
    pub(crate) fn hide_usage(&mut self) {
        self.hides_usage = true;
    }

    /// Whether the usage is taken out of the stream.
    pub(crate) fn hides_usage(&self) -> bool {
        self.hides_usage
    }

    /// The request has ended and used tokens.
    pub(crate) fn ended(self, tokens: u64) {
        if let Some(permit) = &self.permit {
            permit.used_tokens(tokens);
        }
    }
}

/// Whether a key may use a model, which the client may have called by an alias. The answer does not
/// depend on which models exist.
pub(crate) fn check_model(
    key: &Identity,
    model: &str,
    alias: Option<&str>,
) -> Result<(), GatewayError> {
    let limits = &key.limits;
    if limits.allows_model(model) || alias.is_some_and(|alias| limits.allows_model(alias)) {
        return Ok(());
    }
    Err(GatewayError::model_not_allowed(
        &key.name,
        alias.unwrap_or(model),
    ))
}
