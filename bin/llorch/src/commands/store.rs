//! `store export` and `store import`: all state of a control plane in one file.

use std::time::SystemTime;

use serde_json::json;
use state_export::{
    CaFiles, ImportOptions, MAX_EXPORT_BYTES, Profile, StateError, StateExport, Summary,
    export_directory, import, read_file, write_file,
};

use super::App;
use crate::{
    args,
    exit::{Exit, Failure, Outcome},
    output::{Output, note},
};

/// Runs what needs no server. `None` for the export of a control plane that runs.
pub(super) fn run_offline(command: &args::Store, output: Output) -> Option<Outcome> {
    match command {
        args::Store::Import(arguments) => Some(import_state(arguments, output)),
        args::Store::Export(arguments) => {
            let state_dir = arguments.state_dir.as_ref()?;
            let profile = arguments.profile.map(|profile| match profile {
                args::Profile::Home => Profile::Home,
                args::Profile::Cloud => Profile::Cloud,
            });
            let made_by = env!("CARGO_PKG_VERSION");
            let export = export_directory(state_dir, profile, made_by, SystemTime::now());
            let export = export.map_err(|error| failed(&error));
            Some(export.and_then(|export| save(export, arguments, output)))
        }
    }
}

impl App {
    /// Asks the control plane, which runs.
    pub(super) fn export_state(&self, arguments: &args::ExportState) -> Outcome {
        let bytes = self.client.export_state(MAX_EXPORT_BYTES)?;
        let export = StateExport::parse(&bytes).map_err(|problem| {
            let text = format!(
                "{} has sent what cannot be used: {problem}",
                self.client.url()
            );
            Failure::Message(Exit::Failed, text)
        })?;
        save(export, arguments, self.output)
    }
}

/// Adds the CA as the arguments say, and writes the file.
fn save(mut export: StateExport, arguments: &args::ExportState, output: Output) -> Outcome {
    match (&arguments.ca_dir, export.ca_sha256) {
        (Some(directory), known) => {
            let ca = CaFiles::read(directory).map_err(|error| failed(&error))?;
            if let Some(known) = known.filter(|known| *known != ca.fingerprint) {
                return Err(failed(&StateError::OtherCa {
                    directory: directory.clone(),
                    ca_sha256: known.to_string(),
                }));
            }
            export.add_ca(ca);
        }
        (None, Some(known)) if !arguments.without_ca => {
            return Err(failed(&StateError::CaNotChosen {
                ca_sha256: known.to_string(),
            }));
        }
        (None, _) => {}
    }
    let bytes = write_file(&arguments.file, &export).map_err(|error| failed(&error))?;
    let (file, summary) = (arguments.file.display().to_string(), export.summary());
    if output.json {
        let mut value = shown(&export, &summary);
        value["file"] = json!(file);
        value["bytes"] = json!(bytes);
        return Ok(output.json(&value)?);
    }
    output.line(&format!("{file}: {}", in_words(&export, &summary)))?;
    if export.ca.is_some() {
        note(
            "the file has the private key of the CA: its reader can make nodes, and a \
             control plane, that yours trust; keep it as you keep ca.key",
        );
    } else {
        note(
            "the file has no private key and no token; it has names of keys and addresses of nodes",
        );
    }
    Ok(())
}

fn import_state(arguments: &args::ImportState, output: Output) -> Outcome {
    let export = read_file(&arguments.file).map_err(|error| failed(&error))?;
    let directory = import(
        &export,
        &ImportOptions {
            state_dir: arguments.state_dir.clone(),
            ca_dir: arguments.ca_dir.clone(),
            without_ca: arguments.without_ca,
            replace: arguments.replace,
        },
    );
    let directory = directory.map_err(|error| failed(&error))?;
    let summary = export.summary();
    if output.json {
        let mut value = shown(&export, &summary);
        value["directory"] = json!(directory);
        return Ok(output.json(&value)?);
    }
    let place = directory.display();
    output.line(&format!("{place}: {}", in_words(&export, &summary)))?;
    if export.ca_sha256.is_some() && (export.ca.is_none() || arguments.without_ca) {
        note(
            "the CA was left out: nodes that have joined are known only with their CA in \
             ORCHESTRATORD_CA_DIR",
        );
    }
    let profile = match export.profile {
        Profile::Home => "",
        Profile::Cloud => " ORCHESTRATORD_CLOUD_PROFILE=true",
    };
    let ca = arguments
        .ca_dir
        .as_ref()
        .map_or_else(String::new, |directory| {
            format!(" ORCHESTRATORD_CA_DIR={}", directory.display())
        });
    note(&format!(
        "next: start orchestratord with ORCHESTRATORD_STATE_DIR={}{profile}{ca}",
        arguments.state_dir.display()
    ));
    Ok(())
}

fn shown(export: &StateExport, summary: &Summary) -> serde_json::Value {
    json!({
        "profile": export.profile.to_string(),
        "created_at_ms": export.created_at_ms,
        "made_by": export.made_by,
        "nodes": summary.nodes,
        "drained_nodes": summary.drained_nodes,
        "keys": summary.keys,
        "join_tokens": summary.join_tokens,
        "revoked_nodes": summary.revoked_nodes,
        "usage_rows": summary.usage_rows,
        "ca_sha256": export.ca_sha256.map(|fingerprint| fingerprint.to_string()),
        "has_ca_key": export.ca.is_some(),
    })
}

fn in_words(export: &StateExport, summary: &Summary) -> String {
    let count = |count: usize, one: &str, many: &str| match count {
        1 => format!("1 {one}"),
        count => format!("{count} {many}"),
    };
    let ca = match export.ca {
        Some(_) => ", the CA with its private key",
        None => "",
    };
    format!(
        "{} ({} drained), {}, {}, {}, {}{ca}; profile {}",
        count(summary.nodes, "node", "nodes"),
        summary.drained_nodes,
        count(summary.keys, "key", "keys"),
        count(summary.join_tokens, "join token", "join tokens"),
        count(summary.revoked_nodes, "revoked node", "revoked nodes"),
        count(summary.usage_rows, "row of usage", "rows of usage"),
        export.profile
    )
}

/// With what the system or a store says behind it.
fn failed(error: &StateError) -> Failure {
    let exit = match error {
        StateError::TooLarge | StateError::NotReadBack(_) => Exit::Failed,
        _ => Exit::Usage,
    };
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.contains(&said) {
            text = format!("{text}: {said}");
        }
        cause = error.source();
    }
    Failure::Message(exit, text)
}
