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

impl App {
    /// Takes the model from the front of the words, if no option names one: `llorch chat MODEL
    /// PROMPT…`. A word is the model only if a model has exactly this name.
    pub(super) fn model_and_prompt(
        &self,
        option: Option<String>,
        mut words: Vec<String>,
    ) -> Result<(Option<String>, Vec<String>), Failure> {
        let Some(first) = words.first().filter(|_| option.is_none()) else {
            return Ok((option, words));
        };
        // A name has no spaces, so a prompt in quotes needs no list of models.
        if first.contains(char::is_whitespace) || !self.is_model(first)? {
            return Ok((None, words));
        }
        Ok((Some(words.remove(0)), words))
    }

    /// Whether a model has this name, also when no endpoint can serve it now. The error for such a
    /// model is better than an answer of another one.
    fn is_model(&self, name: &str) -> Result<bool, Failure> {
        let served = self.client.model_names()?;
        if served.iter().any(|model| model == name) {
            return Ok(true);
        }
        match self.client.catalog().and_then(|catalog| catalog.read()) {
            Ok(catalog) => Ok(catalog.models.iter().any(|model| model.model == name)),
            // Another OpenAI-compatible server has no catalog.
            Err(error) if error.status().is_some() => Ok(false),
            Err(error) => Err(error.into()),
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
