//! What a request uses of its key.

use std::{
    sync::{Arc, OnceLock},
    time::{Duration, SystemTime},
};

use admission::{Flow, Priority};
use bearer_auth::{AuthError, AuthPolicy, HighestPriority, Identity, Principal};
use key_limits::{KeyLimiter, KeyPermit, LimitExceeded, Quota};
use pool_registry_types::millis;
use tokio::time::Instant;
use usage_log::{Usage, UsageLog};

use crate::{error::GatewayError, token_use::TokenUse};

/// The bytes of a request that stand for a token of its prompt. English text has about four a
/// token; the JSON around it makes up for other languages.
const BYTES_PER_TOKEN: usize = 4;

/// A request of a key.
#[derive(Debug)]
pub(crate) struct KeyUse {
    key: Arc<Identity>,
    /// For a key with limits that are counted.
    permit: Option<KeyPermit>,
    quota: Quota,
    /// The engine is asked for the usage, and the client has not asked.
    hides_usage: bool,
    usage: Option<UsageLog>,
    /// When the request got the slot that it holds.
    slot_since: Option<Instant>,
    /// How long it held earlier ones; `None` if it never got one.
    slot_time: Option<Duration>,
    /// The size of the request.
    body_bytes: usize,
    /// The tokens are charged to the limits of the key.
    is_charged: bool,
}

/// Why a request of a key goes no further.
#[derive(Debug, Clone, Copy)]
pub(crate) enum KeyRefusal {
    /// A limit is reached.
    Limit(LimitExceeded),
    /// The key is not valid any more.
    NotValid(AuthError),
}

/// What counts the requests of keys.
#[derive(Debug, Default)]
pub(crate) struct KeyCounters {
    pub(crate) limiter: KeyLimiter,
    pub(crate) usage: OnceLock<UsageLog>,
    /// Which keys are valid now.
    pub(crate) policy: OnceLock<AuthPolicy>,
}

impl KeyUse {
    /// A request of this caller has come; `None` for a caller without a key. The second value says
    /// that a limit is reached.
    pub(crate) fn start(
        counters: &KeyCounters,
        principal: Option<&Principal>,
    ) -> Option<(Box<Self>, Option<LimitExceeded>)> {
        let key = principal?.identity()?;
        let is_counted = key.limits.has_counted();
        let admitted = is_counted.then(|| counters.limiter.admit(key));
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
            usage: counters.usage.get().cloned(),
            slot_since: None,
            slot_time: None,
            body_bytes: 0,
            is_charged: false,
        });
        Some((started, refused))
    }

    /// The request has been given a slot, perhaps after it waited. Whether its key may still use
    /// it: the key may have used up its tokens meanwhile, or have been revoked.
    pub(crate) fn check_again(&mut self, counters: &KeyCounters) -> Result<(), KeyRefusal> {
        if let Some(policy) = counters.policy.get() {
            let valid = policy.holds(&self.key, SystemTime::now());
            valid.map_err(KeyRefusal::NotValid)?;
        }
        let Some(permit) = &self.permit else {
            return Ok(());
        };
        permit.has_tokens().map_err(|exceeded| {
            self.quota = exceeded.quota;
            if self.slot_time.is_none() {
                permit.withdraw();
            }
            KeyRefusal::Limit(exceeded)
        })
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

    /// The request has a body of this size.
    pub(crate) fn read(&mut self, body_bytes: usize) {
        self.body_bytes = body_bytes;
    }

    /// About how many tokens the prompt has, where an engine has got it and its client left before
    /// the engine could tell: a quarter of the bytes, and no more than the engine takes.
    pub(crate) fn estimated_prompt(&self, context_length: Option<u32>) -> u64 {
        if self.slot_time.is_none() {
            return 0;
        }
        let tokens = u64::try_from(self.body_bytes / BYTES_PER_TOKEN).unwrap_or(u64::MAX);
        tokens.min(context_length.map_or(u64::MAX, u64::from))
    }

    /// The engine is asked for the usage, which the client does not expect.
    pub(crate) fn hide_usage(&mut self) {
        self.hides_usage = true;
    }

    /// Whether the usage is taken out of the stream.
    pub(crate) fn hides_usage(&self) -> bool {
        self.hides_usage
    }

    /// The request has got a slot.
    pub(crate) fn slot_taken(&mut self) {
        self.slot_time.get_or_insert_default();
        self.slot_since = Some(Instant::now());
    }

    /// The request has given its slot back.
    pub(crate) fn slot_given_back(&mut self, now: Instant) {
        if let (Some(since), Some(time)) = (self.slot_since.take(), &mut self.slot_time) {
            *time = time.saturating_add(now.saturating_duration_since(since));
        }
    }

    /// Charges what the request has used to the limits of its key, once. Before it gives its slot
    /// back: the next request of the key must see it.
    pub(crate) fn charge(&mut self, used: TokenUse) {
        if let Some(permit) = &self.permit
            && !std::mem::replace(&mut self.is_charged, true)
        {
            permit.used_tokens(used.input.saturating_add(used.output));
        }
    }

    /// The request has ended and used tokens of a model. It counts if an engine has got it.
    pub(crate) fn ended(mut self, model: &Arc<str>, used: TokenUse, now: Instant) {
        self.slot_given_back(now);
        self.charge(used);
        if let (Some(log), Some(slot_time)) = (&self.usage, self.slot_time) {
            let usage = Usage {
                requests: 1,
                input_tokens: used.input,
                output_tokens: used.output,
                slot_ms: millis(slot_time),
            };
            let key = (&self.key.id, &self.key.name);
            log.record(SystemTime::now(), key, model, usage);
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
