//! `token create`, `list`, `rotate`, `limits` and `revoke`: the keys of the control plane.

use llorch_client::{Key, KeyLimits, KeyLimitsChange, KeyWithToken, NewKey, Response};
use serde_json::json;

use super::{App, cells::NONE};
use crate::{
    args,
    clock::{left, now_ms},
    exit::{Exit, Failure, Outcome},
    output::{Cell, Table, millis, note},
};

impl App {
    pub(super) fn create_key(&self, create: args::CreateKey) -> Outcome {
        let scopes = create.scopes.iter().map(|scope| scope.name().to_owned());
        let key = NewKey {
            name: create.name,
            scopes: scopes.collect(),
            node: create.node,
            expires_in: create.expires,
            limits: limits(create.limits),
        };
        self.show_token(&self.client.create_key(&key)?)
    }

    pub(super) fn list_keys(&self) -> Outcome {
        let answer = self.client.keys()?;
        if self.output.json {
            return Ok(self.output.json(&answer.raw)?);
        }
        let keys = answer.read()?.keys;
        if self.output.names {
            return Ok(self.output.name_list(keys.iter().map(|key| &key.key_id))?);
        }
        if keys.is_empty() {
            return Ok(self
                .output
                .line("there is no key; `llorch token create` makes one")?);
        }
        let columns = [
            "KEY", "NAME", "SCOPES", "NODE", "STATE", "ENDS", "LIMITS", "AGE",
        ];
        let mut table = Table::new(&columns).optional(&["AGE", "NODE", "LIMITS"]);
        let now = now_ms();
        for key in &keys {
            table.row([
                Cell::new(&key.key_id),
                Cell::new(&key.name),
                Cell::new(key.scopes.join(", ")),
                Cell::new(key.node.as_ref().map_or(NONE, |node| node.as_str())),
                Cell::new(state(key, now)),
                Cell::new(key.expires_at_ms.map_or_else(
                    || "never".to_owned(),
                    |end| left(end, now).unwrap_or_else(|| "over".to_owned()),
                )),
                Cell::new(shown(&key.limits)),
                Cell::number(millis(now.saturating_sub(key.created_at_ms) as f64)),
            ]);
        }
        Ok(self.output.table(&table)?)
    }

    pub(super) fn rotate_key(&self, rotate: &args::RotateKey) -> Outcome {
        let key = self.find_key(&rotate.key)?;
        let answer = self
            .client
            .rotate_key(&key.key_id, rotate.overlap, rotate.expires)?;
        self.show_token(&answer)
    }

    pub(super) fn change_key_limits(&self, change: args::ChangeKeyLimits) -> Outcome {
        let key = self.find_key(&change.key)?;
        let change = KeyLimitsChange {
            models: change.models.map(|models| models.0.map(|models| models.0)),
            requests_per_minute: change.rpm.map(|value| value.0),
            tokens_per_minute: change.tpm.map(|value| value.0),
            tokens_per_day: change.tpd.map(|value| value.0),
            concurrent_requests: change.concurrent.map(|value| value.0),
            highest_priority: change.highest_priority.map(|value| value.0),
            weight: change.weight.map(|value| value.0),
        };
        let answer = self.client.change_key_limits(&key.key_id, &change)?;
        if self.output.json {
            return Ok(self.output.json(&answer.raw)?);
        }
        let limits = match shown(&answer.read()?.limits) {
            none if none == NONE => "no limits".to_owned(),
            limits => limits,
        };
        let (name, id) = (&key.name, &key.key_id);
        Ok(self.output.line(&format!("{name} ({id}) has {limits}"))?)
    }

    pub(super) fn revoke_key(&self, name_or_id: &str) -> Outcome {
        let key = self.find_key(name_or_id)?;
        self.client.revoke_key(&key.key_id)?;
        if self.output.json {
            let value = json!({"key_id": key.key_id, "revoked": true});
            return Ok(self.output.json(&value)?);
        }
        Ok(self
            .output
            .line(&format!("{} ({}) is revoked", key.name, key.key_id))?)
    }

    /// The key with this id, or the one in use with this name.
    fn find_key(&self, name_or_id: &str) -> Result<Key, Failure> {
        let keys = self.client.keys()?.read()?.keys;
        let by_id = keys.iter().find(|key| key.key_id == name_or_id);
        let by_name = || {
            let mut named = keys.iter().filter(|key| key.name == name_or_id);
            // Keys in use have different names; keys that have ended come last.
            named.clone().find(|key| key.valid).or_else(|| named.next())
        };
        by_id.or_else(by_name).cloned().ok_or_else(|| {
            let text = format!("there is no key {name_or_id:?}; `llorch token list` lists them");
            Failure::Message(Exit::NotFound, text)
        })
    }

    /// The token on standard output, so that a script can keep it; all else beside it.
    fn show_token(&self, answer: &Response<KeyWithToken>) -> Outcome {
        if self.output.json {
            return Ok(self.output.json(&answer.raw)?);
        }
        let KeyWithToken { key, token, .. } = answer.read()?;
        note(&format!(
            "key {} ({}); the token is shown this once:",
            key.key_id, key.name
        ));
        self.output.line(&token)?;
        if let Some(left) = key
            .previous_valid_until_ms
            .and_then(|end| left(end, now_ms()))
        {
            note(&format!("the old token stays valid for {left}"));
        }
        Ok(())
    }
}

/// The server checks the numbers: it knows the bounds of its version.
fn limits(given: args::KeyLimitArgs) -> KeyLimits {
    let priority = given.highest_priority.map(|priority| match priority {
        args::Priority::Interactive => "interactive".to_owned(),
        args::Priority::Batch => "batch".to_owned(),
    });
    KeyLimits {
        models: given.models,
        requests_per_minute: given.rpm,
        tokens_per_minute: given.tpm,
        tokens_per_day: given.tpd,
        concurrent_requests: given.concurrent,
        highest_priority: priority,
        weight: given.weight,
    }
}

/// The limits of a key in a few words.
fn shown(limits: &KeyLimits) -> String {
    let models = limits.models.as_ref().map(|models| models.join(" "));
    let number = |count: Option<u64>, unit: &str| count.map(|count| format!("{count} {unit}"));
    let all = [
        number(limits.requests_per_minute, "rpm"),
        number(limits.tokens_per_minute, "tpm"),
        number(limits.tokens_per_day, "tpd"),
        number(limits.concurrent_requests, "at once"),
        limits.highest_priority.clone(),
        number(limits.weight.map(u64::from), "a turn"),
        models,
    ];
    let all: Vec<String> = all.into_iter().flatten().collect();
    if all.is_empty() {
        return NONE.to_owned();
    }
    all.join(", ")
}

fn state(key: &Key, now: u64) -> String {
    match (key.valid, key.revoked_at_ms) {
        (_, Some(_)) => "revoked".to_owned(),
        (false, None) => "expired".to_owned(),
        (true, None) => match key.previous_valid_until_ms.and_then(|end| left(end, now)) {
            Some(left) => format!("valid, old token {left}"),
            None => "valid".to_owned(),
        },
    }
}
