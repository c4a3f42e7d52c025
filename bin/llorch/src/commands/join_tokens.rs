//! `join-token`: how machines become nodes. And `nodes revoke`.

use std::net::IpAddr;

use llorch_client::{HttpUrl, NewJoinToken, NewJoinTokenAnswer, NodeId};
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
        let answer = self.client.create_join_token(&new_token(create))?;
        if self.output.json {
            return Ok(self.output.json(&answer.raw)?);
        }
        let created = answer.read()?;
        let token = &created.join_token;
        let uses = machines(token.max_uses);
        let life = left(token.expires_at_ms, now_ms()).unwrap_or_default();
        note(&format!(
            "join token {} for {uses} within {life}, shown this once:",
            token.token_id
        ));
        self.output.line(&created.token)?;
        let url = self.url_for_nodes(&created);
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

    /// One line on standard output, with the token: it ends within the hour, and lets one machine
    /// join.
    pub(super) fn join_command(&self, create: args::CreateJoinToken) -> Outcome {
        let created = self.client.create_join_token(&new_token(create))?.read()?;
        let url = self.url_for_nodes(&created);
        let mut line = format!("pool-managerd join {url} --token {}", created.token);
        if let Some(fingerprint) = &created.ca_sha256 {
            line.push_str(" --ca-sha256 ");
            line.push_str(fingerprint);
        }
        line.push_str(" --start");
        if self.output.json {
            let value = json!({
                "command": line,
                "token_id": created.join_token.token_id,
                "expires_at_ms": created.join_token.expires_at_ms,
            });
            return Ok(self.output.json(&value)?);
        }
        let life = left(created.join_token.expires_at_ms, now_ms()).unwrap_or_default();
        note(&format!(
            "run this on the machine within {life}, as the user of the engines; it lets {} join:",
            machines(created.join_token.max_uses)
        ));
        if is_loopback(&url) {
            note(
                "the control plane is known by an address of loopback only, so this works on its \
                 own machine alone; for others set ORCHESTRATORD_ADDR=0.0.0.0:8080 there, or name \
                 its address with --url",
            );
        }
        Ok(self.output.line(&line)?)
    }

    /// The URL of the server, or what it says of itself where this program talks to it over
    /// loopback.
    fn url_for_nodes(&self, created: &NewJoinTokenAnswer) -> String {
        let own = self.client.url().to_string();
        let url = match &created.url {
            Some(url) if is_loopback(&own) => url.clone(),
            _ => own,
        };
        // One port has both, and a control plane with a CA lets machines join over TLS only.
        match url.strip_prefix("http://") {
            Some(rest) if created.ca_sha256.is_some() => format!("https://{rest}"),
            _ => url,
        }
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

fn new_token(create: args::CreateJoinToken) -> NewJoinToken {
    NewJoinToken {
        node: create.node,
        uses: create.uses,
        expires_in: create.expires,
    }
}

fn machines(uses: u32) -> String {
    match uses {
        1 => "one node".to_owned(),
        uses => format!("{uses} nodes"),
    }
}

fn is_loopback(url: &str) -> bool {
    let Ok(url) = url.parse::<HttpUrl>() else {
        return false;
    };
    let host = url.host();
    let host = host.trim_matches(['[', ']']);
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}
