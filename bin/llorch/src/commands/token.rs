//! `token`: make one, and ask whether the one that is set is accepted.

use llorch_client::{AccessToken, ClientError};
use pool_registry_types::ErrorCode;
use serde_json::json;

use super::App;
use crate::{
    exit::{Exit, Failure, Outcome},
    output::Output,
};

/// Prints a new token.
pub(crate) fn generate(output: Output) -> Outcome {
    let token = AccessToken::generate()?;
    let token = token.reveal();
    if output.json {
        output.json(&json!({ "token": token }))?;
    } else {
        output.line(token)?;
    }
    Ok(())
}

impl App {
    pub(super) fn check_token(&self) -> Outcome {
        let url = self.client.url();
        let from = self
            .config
            .token
            .as_ref()
            .map(|(_, source)| source.to_string());
        let answer = self.client.catalog();
        let refused = answer.as_ref().is_err_and(|error| {
            error.has_code(ErrorCode::Unauthorized) || error.status() == Some(401)
        });
        match answer {
            // The server checks the token before it says that it has no such route.
            Ok(_) | Err(ClientError::Refused { status: 404, .. }) => {}
            // A key that may not see the models is a key.
            Err(ClientError::Refused { status: 403, .. }) if from.is_some() => {}
            Err(_) if refused => {}
            Err(error) => return Err(error.into()),
        }
        let (exit, text) = match (&from, refused) {
            (Some(from), false) => (
                Exit::Ok,
                format!("accepted: {url} lets in the token from {from}"),
            ),
            (None, false) => (
                Exit::Ok,
                format!("no token is set, and {url} asks for none from here"),
            ),
            (Some(from), true) => (
                Exit::Unauthorized,
                format!("refused: {url} wants another token than the one from {from}"),
            ),
            (None, true) => (
                Exit::Unauthorized,
                format!(
                    "no token is set, and {url} wants one; set LLORCH_API_TOKEN, or `token` in \
                     the config file"
                ),
            ),
        };
        if self.output.json {
            self.output
                .json(&json!({"accepted": !refused, "token_from": from, "url": url}))?;
            return if refused {
                Err(Failure::Reported(exit))
            } else {
                Ok(())
            };
        }
        if refused {
            return Err(Failure::Message(exit, text));
        }
        Ok(self.output.line(&text)?)
    }
}
