//! `engine add`: a handoff that survives a restart of the machine.

use std::{net::IpAddr, path::Path};

use engine_discovery::{
    Engine, Verdict, examine_blocking, handoff_of, is_never, own_machine::leads_here, read_key,
};
use pool_registry_types::{Handoff, HttpUrl, KeyFile, MAX_SLOTS};
use serde_json::json;

use super::directories::{Directories, failed};
use crate::{
    args::AddEngine,
    exit::{Exit, Failure, Outcome},
    output::{Output, note},
};

pub(super) fn run(add: &AddEngine, output: Output) -> Outcome {
    let url = add.engine.clone().without_api_version();
    check_url(&url)?;
    let directories = Directories::find(&add.directory)?;
    directories.check_not_announced(&url)?;
    let key_file = add.api_key_file.as_deref().map(key_file).transpose()?;
    let engine = ask(&url, key_file.as_ref())?;
    let handoff = handoff(add, &url, &engine, key_file)?;
    check_name(&directories, &handoff)?;
    let file = (directories.store)
        .write(&handoff)
        .map_err(|error| failed(&error))?;
    show(&handoff, &engine, add, &file, output)
}

/// Only engines of this machine can be announced to its node.
fn check_url(url: &HttpUrl) -> Outcome {
    if url.is_https() {
        return Err(Failure::usage(format!(
            "{url} is not an http:// URL; a node reaches the engines of its machine without TLS"
        )));
    }
    let is_forbidden = url.host().parse::<IpAddr>().is_ok_and(is_never);
    let system = rustix::system::uname();
    let hostname = system.nodename().to_str().ok();
    if is_forbidden || !leads_here(url, hostname) {
        return Err(Failure::usage(format!(
            "{url} does not lead to this machine; run this on the machine of the engine, with a \
             URL such as http://localhost:{}",
            url.port()
        )));
    }
    Ok(())
}

/// The absolute path of a key that can be read.
fn key_file(path: &Path) -> Result<KeyFile, Failure> {
    let wrong = |error: String| Failure::usage(format!("--api-key-file: {error}"));
    let path = std::path::absolute(path).map_err(|error| wrong(error.to_string()))?;
    let text = path
        .to_str()
        .ok_or_else(|| wrong(format!("{} is not UTF-8", path.display())))?;
    KeyFile::new(text).map_err(|error| wrong(error.to_string()))
}

/// What the engine says of itself.
fn ask(url: &HttpUrl, key_file: Option<&KeyFile>) -> Result<Engine, Failure> {
    let key = key_file.map(|file| read_key(file)).transpose();
    let key = key.map_err(Failure::usage)?;
    let verdict = examine_blocking(url, key.as_ref()).map_err(Failure::from)?;
    let refused = |exit, hint: &str| {
        let text = format!("at {url} there is {verdict}; {hint}");
        Err(Failure::Message(exit, text))
    };
    match &verdict {
        Verdict::Engine(engine) => Ok(engine.clone()),
        Verdict::NotReady(..) => refused(Exit::Unavailable, "add it when it is ready"),
        Verdict::NeedsKey(_) if key.is_some() => refused(
            Exit::Usage,
            "the key in the file is not the one that it wants",
        ),
        Verdict::NeedsKey(_) => refused(
            Exit::Usage,
            "write the key into a file F, and add --api-key-file F",
        ),
        Verdict::Closed => Err(Failure::Message(
            Exit::Unreachable,
            format!("nothing listens at {url}; start the engine first"),
        )),
        Verdict::NoAnswer(_) => refused(Exit::Unreachable, "is it an engine?"),
        Verdict::Shared(_) => Err(Failure::usage(format!(
            "at {url} {verdict}; give each engine a port, or name one by its address"
        ))),
        Verdict::Ours(_) => refused(Exit::Usage, "name the URL of an engine instead"),
        Verdict::NotAnEngine(_) => refused(Exit::Usage, "name the URL of an engine instead"),
    }
}

fn handoff(
    add: &AddEngine,
    url: &HttpUrl,
    engine: &Engine,
    key_file: Option<KeyFile>,
) -> Result<Handoff, Failure> {
    let handoff = handoff_of(engine, url, add.pool.as_ref());
    let mut handoff = handoff.ok_or_else(|| Failure::usage("name its pool with --pool"))?;
    if let Some(replica) = &add.replica {
        handoff.replica_id = replica.clone();
    }
    if let Some(slots) = add.slots {
        if slots > MAX_SLOTS {
            return Err(Failure::usage(format!(
                "--slots must be at most {MAX_SLOTS}"
            )));
        }
        handoff.set_slots(slots);
    }
    handoff.api_key_file = key_file;
    Ok(handoff)
}

/// Another engine must not lose its handoff.
fn check_name(directories: &Directories, handoff: &Handoff) -> Outcome {
    let all = directories.handoffs();
    let rival = all.iter().find(|(_, other)| {
        other.pool_id == handoff.pool_id && other.replica_id == handoff.replica_id
    });
    match rival {
        None => Ok(()),
        Some((path, other)) => Err(Failure::usage(format!(
            "{} announces {}/{} already, at {}; choose another name with --replica",
            path.display(),
            other.pool_id,
            other.replica_id,
            other.url
        ))),
    }
}

fn show(
    handoff: &Handoff,
    engine: &Engine,
    add: &AddEngine,
    file: &Path,
    output: Output,
) -> Outcome {
    if output.json {
        let value = json!({"file": file, "handoff": handoff, "models": engine.models});
        return Ok(output.json(&value)?);
    }
    let models: Vec<&str> = engine.models.iter().map(|model| &**model).collect();
    let models = if models.is_empty() {
        "no models yet".to_owned()
    } else {
        models.join(" ")
    };
    let slots = handoff.slots();
    output.line(&format!(
        "{}/{}: {} at {}, slots: {slots}, models: {models}",
        handoff.pool_id, handoff.replica_id, handoff.engine, handoff.url
    ))?;
    output.line(&file.display().to_string())?;
    match (add.slots, engine.slots) {
        (None, None) => note(&format!(
            "it does not report how many requests it serves at once, so {slots} is assumed; name \
             the number with --slots"
        )),
        (Some(wanted), Some(reported)) if wanted > reported => note(&format!(
            "it reports {reported} slots, and gets no more requests than that"
        )),
        _ => {}
    }
    note("its node offers it after a good probe; `llorch engine list` shows it");
    Ok(())
}
