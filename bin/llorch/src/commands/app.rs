//! What commands share: the client, the settings and the output.

use std::io::{self, Read as _};

use llorch_client::{Client, ClientError, ErrorCode, RequestPriority, RoutingOptions};

use crate::{
    args::{Priority, RoutingArgs},
    config::Config,
    exit::{Exit, Failure},
    output::Output,
};

/// What a command works with.
pub(crate) struct App {
    pub(crate) client: Client,
    pub(crate) config: Config,
    pub(crate) output: Output,
}

impl App {
    /// The model with this name; without a name, the only model that is served.
    pub(super) fn model(&self, name: Option<String>) -> Result<String, Failure> {
        if let Some(name) = name {
            return Ok(name);
        }
        let mut models = self.client.model_names()?;
        match models.len() {
            0 => Err(Failure::Message(
                Exit::NotFound,
                "no model is served now; `llorch pools` shows why".to_owned(),
            )),
            1 => Ok(models.remove(0)),
            _ => Err(Failure::usage(format!(
                "there are several models, choose one with --model: {}",
                models.join(", ")
            ))),
        }
    }
}

/// The words of a prompt as one text; without words, all of standard input.
pub(super) fn prompt(words: &[String]) -> Result<String, Failure> {
    if !words.is_empty() {
        return Ok(words.join(" "));
    }
    let mut text = String::new();
    io::stdin()
        .read_to_string(&mut text)
        .map_err(|error| Failure::usage(format!("cannot read standard input: {error}")))?;
    if text.trim().is_empty() {
        return Err(Failure::usage(
            "there is no prompt, neither as an argument nor on standard input",
        ));
    }
    Ok(text)
}

/// The options of the command line for a request.
pub(super) fn routing(args: &RoutingArgs) -> RoutingOptions {
    let mut routing = RoutingOptions::default();
    routing.pin_node.clone_from(&args.pin_node);
    routing.session.clone_from(&args.session);
    routing.priority = args.priority.map(|priority| match priority {
        Priority::Interactive => RequestPriority::Interactive,
        Priority::Batch => RequestPriority::Batch,
    });
    routing.deadline = args.deadline;
    routing
}

/// Whether the server does not have the route, because it is older than this program.
pub(super) fn is_missing_route(error: &ClientError) -> bool {
    error.status() == Some(404)
        && (error.has_code(ErrorCode::NotFound)
            || matches!(error, ClientError::Refused { code, .. } if code.is_empty()))
}
