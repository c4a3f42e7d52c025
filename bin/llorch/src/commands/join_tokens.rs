//! `join-token`: how machines become nodes. And `nodes revoke`.

use llorch_client::{NewJoinToken, NodeId};
use serde_json::json;

use super::{App, cells::NONE};
use crate::{
    args,
    clock::{left, now_ms},
    exit::Outcome,
    output::{Cell, Table, millis, note},
};

impl App {
    pub(super) fn join_token(&self, command: args::JoinToken) -> Outcome {
        match command {
            args::JoinToken::Create(create) => self.create_join_token(create),
            args::JoinToken::List => self.list_join_tokens(),
            args::JoinToken::Revoke { id } => self.revoke_join_token(&id),
        }
    }

    /// The token on standard output, so that a script can keep it; all else beside it.
    fn create_join_token(&self, create: args::CreateJoinToken) -> Outcome {
        let answer = self.client.create_join_token(&NewJoinToken {
            node: create.node,
            uses: create.uses,
            expires_in: create.expires,
        })?;
        if self.output.json {
            return Ok(self.output.json(&answer.raw)?);
        }
        let created = answer.read()?;
        let token = &created.join_token;
        let uses = match token.max_uses {
            1 => "one node".to_owned(),
            uses => format!("{uses} nodes"),
        };
        let life = left(token.expires_at_ms, now_ms()).unwrap_or_default();
        note(&format!(
            "join token {} for {uses} within {life}, shown this once:",
            token.token_id
        ));
        self.output.line(&created.token)?;
        let url = self.client.url();
        let pin = match &created.ca_sha256 {
            Some(fingerprint) => format!(" --ca-sha256 {fingerprint}"),
            None => String::new(),
        };
        note(&format!(
            "on the node, put it into a file F, and run:\n  pool-managerd join {url} --token-file \
             F{pin}"
        ));
        Ok(())
    }

    fn list_join_tokens(&self) -> Outcome {
        let answer = self.client.join_tokens()?;
        if self.output.json {
            return Ok(self.output.json(&answer.raw)?);
        }
        let tokens = answer.read()?.join_tokens;
        if self.output.names {
            let names = tokens.iter().map(|token| &token.token_id);
            return Ok(self.output.name_list(names)?);
        }
        if tokens.is_empty() {
            let text = "there is no join token; `llorch join-token create` makes one";
            return Ok(self.output.line(text)?);
        }
        let columns = ["TOKEN", "NODE", "STATE", "USES", "ENDS", "AGE"];
        let mut table = Table::new(&columns).optional(&["AGE", "NODE"]);
        let now = now_ms();
        for token in &tokens {
            let state = match (token.revoked_at_ms, token.valid) {
                (Some(_), _) => "revoked",
                (None, true) => "valid",
                (None, false) if token.uses >= token.max_uses => "used up",
                (None, false) => "expired",
            };
            table.row([
                Cell::new(&token.token_id),
                Cell::new(token.node.as_ref().map_or(NONE, |node| node.as_str())),
                Cell::new(state),
                Cell::new(format!("{} of {}", token.uses, token.max_uses)),
                Cell::new(left(token.expires_at_ms, now).unwrap_or_else(|| "over".to_owned())),
                Cell::number(millis(now.saturating_sub(token.created_at_ms) as f64)),
            ]);
        }
        Ok(self.output.table(&table)?)
    }

    fn revoke_join_token(&self, id: &str) -> Outcome {
        self.client.revoke_join_token(id)?;
        if self.output.json {
            let value = json!({"token_id": id, "revoked": true});
            return Ok(self.output.json(&value)?);
        }
        Ok(self.output.line(&format!("join token {id} is revoked"))?)
    }

    pub(super) fn revoke_node(&self, node: &NodeId) -> Outcome {
        self.client.revoke_node(node)?;
        if self.output.json {
            let value = json!({"node_id": node, "revoked": true});
            return Ok(self.output.json(&value)?);
        }
        note("it is offline when its last heartbeat is old; `llorch nodes forget` removes it then");
        Ok(self
            .output
            .line(&format!("the credentials of {node} are revoked"))?)
    }
}
