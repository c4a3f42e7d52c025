//! `pool-managerd join`: makes this machine a node of a control plane.

use std::{
    ffi::OsString,
    io::{self, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _, UdpSocket},
    os::unix::process::CommandExt as _,
    path::PathBuf,
    process::{Command, ExitCode},
};

use node_join::{JoinPlan, JoinedFiles};
use pool_registry_types::{HttpUrl, NodeId, SecretText};
use service_runtime::env::{EXIT_BAD_CONFIGURATION, Environment};
use tls_config::{Fingerprint, Trust};

use crate::{
    joined::state_dir,
    settings::{ADDRESS, NODE_ID, PROGRAM},
};

/// The port of a node whose address is not given.
const NODE_PORT: u16 = 9200;

/// The longest file of a join token.
const TOKEN_FILE_BYTES: u64 = 4096;

const HELP: &str = "pool-managerd join: make this machine a node of a control plane

Usage: pool-managerd join URL --token-file FILE|--token TOKEN [OPTIONS]

  URL                 the control plane, such as https://control:8080
  --token-file FILE   a file with the join token; `llorch join-token create` makes one
  --token TOKEN       the join token itself, as in the line of `llorch join-command`; other users
                      of this machine see it in the list of processes
  --ca-sha256 HEX     the fingerprint of the control plane's CA
  --ca-file FILE      its certificate instead (PEM); without either, the system's CAs are trusted
  --node-id ID        the id of the node [default: POOL_MANAGERD_NODE_ID, or the hostname]
  --address URL       where the control plane reaches the node [default: POOL_MANAGERD_ADDRESS, or
                      the address of this machine towards the control plane, port 9200]
  --replace           join although this machine has joined before
  --start             serve as this node afterwards, until SIGTERM or Ctrl-C

The control plane connects to the address while the machine joins, and tells if it cannot. The key
pair is made here. The files go to POOL_MANAGERD_STATE_DIR, and the next start of
pool-managerd uses them. Run it as the user that runs pool-managerd.

Exit codes: 0 joined, 1 not joined, 64 a wrong argument.";

/// Why the machine did not join.
enum Failure {
    Usage(String),
    NotJoined(String),
}

/// Runs the command if the arguments name it.
pub(crate) fn run(mut arguments: impl Iterator<Item = OsString>) -> Option<ExitCode> {
    if arguments.next()? != "join" {
        return None;
    }
    let arguments: Vec<String> = arguments
        .map(|argument| argument.to_string_lossy().into_owned())
        .collect();
    if arguments
        .iter()
        .any(|argument| argument == "--help" || argument == "-h")
    {
        let _ = writeln!(io::stdout(), "{HELP}");
        return Some(ExitCode::SUCCESS);
    }
    let joined = join(&arguments).and_then(|joined| {
        let _ = writeln!(io::stdout(), "{}", joined.text);
        if joined.starts { serve() } else { Ok(()) }
    });
    let (exit, reason) = match joined {
        Ok(()) => return Some(ExitCode::SUCCESS),
        Err(Failure::Usage(reason)) => (ExitCode::from(EXIT_BAD_CONFIGURATION), reason),
        Err(Failure::NotJoined(reason)) => (ExitCode::FAILURE, reason),
    };
    let _ = writeln!(io::stderr(), "{} join: {reason}", PROGRAM.name);
    Some(exit)
}

/// What has happened, and whether this process serves as the node from now on.
struct Done {
    text: String,
    starts: bool,
}

/// Goes on as the agent: the settings are in the state directory now. It returns only a failure.
fn serve() -> Result<(), Failure> {
    let failed = |error: io::Error| Failure::NotJoined(format!("cannot start the agent: {error}"));
    let program = std::env::current_exe().map_err(failed)?;
    Err(failed(Command::new(program).exec()))
}

/// The arguments, as they are written.
#[derive(Default)]
struct Arguments {
    url: Option<String>,
    token_file: Option<String>,
    token: Option<String>,
    ca_sha256: Option<String>,
    ca_file: Option<String>,
    node_id: Option<String>,
    address: Option<String>,
    replace: bool,
    start: bool,
}

fn parse(arguments: &[String]) -> Result<Arguments, Failure> {
    let mut parsed = Arguments::default();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let (name, inline) = match argument.split_once('=') {
            Some((name, value)) if name.starts_with("--") => (name, Some(value.to_owned())),
            _ => (argument.as_str(), None),
        };
        let slot = match name {
            "--replace" => {
                parsed.replace = true;
                continue;
            }
            "--start" => {
                parsed.start = true;
                continue;
            }
            "--token" => &mut parsed.token,
            "--token-file" => &mut parsed.token_file,
            "--ca-sha256" => &mut parsed.ca_sha256,
            "--ca-file" => &mut parsed.ca_file,
            "--node-id" => &mut parsed.node_id,
            "--address" => &mut parsed.address,
            _ if name.starts_with('-') => {
                return Err(Failure::Usage(format!(
                    "unknown option {name:?}; see `pool-managerd join --help`"
                )));
            }
            _ => {
                if parsed.url.replace(argument.clone()).is_some() {
                    let reason = "one URL is enough; see `pool-managerd join --help`";
                    return Err(Failure::Usage(reason.to_owned()));
                }
                continue;
            }
        };
        let value = inline.or_else(|| rest.next().cloned());
        let value = value.ok_or_else(|| Failure::Usage(format!("{name}: needs a value")))?;
        *slot = Some(value);
    }
    Ok(parsed)
}

fn join(arguments: &[String]) -> Result<Done, Failure> {
    let arguments = parse(arguments)?;
    let environment = Environment::from_process(&[PROGRAM.prefix]);
    let files = JoinedFiles::in_directory(state_dir(&environment));
    if files.settings().exists() && !arguments.replace {
        if let Some(url) = arguments.url.as_ref().filter(|_| arguments.start)
            && files.has_joined(&value("URL", url)?)
        {
            return Ok(Done {
                text: format!("this machine has joined {url} before, and serves as its node"),
                starts: true,
            });
        }
        return Err(Failure::NotJoined(format!(
            "this machine has joined before, as {} says; --replace joins again",
            files.settings().display()
        )));
    }
    let plan = plan(&arguments, &environment)?;
    let joined = node_join::join(&plan, &files);
    let joined = joined.map_err(|error| Failure::NotJoined(error.to_string()))?;
    let credential = if joined.has_certificate {
        "a certificate, which renews itself"
    } else {
        "a token; without TLS it travels in clear text"
    };
    let reached = if joined.is_reached {
        "the control plane reaches it there"
    } else {
        "it is unknown whether the control plane reaches it there"
    };
    let next = if arguments.start {
        "serving as this node until SIGTERM or Ctrl-C"
    } else {
        "next: start pool-managerd as this user, or restart it"
    };
    let text = format!(
        "joined {} as node {} at {}, with {credential}\n{reached}\nsettings: {}\n{next}",
        plan.control_plane,
        plan.node_id,
        plan.address,
        joined.files.settings().display()
    );
    Ok(Done {
        text,
        starts: arguments.start,
    })
}

fn plan(arguments: &Arguments, environment: &Environment) -> Result<JoinPlan, Failure> {
    let url = needed(arguments.url.as_deref(), "URL", "https://control:8080")?;
    let control_plane: HttpUrl = value("URL", url)?;
    let trust = trust(arguments, &control_plane)?;
    let token = token(arguments)?;
    let own = |given: Option<&String>, variable: String| {
        given
            .cloned()
            .or_else(|| environment.value(&variable).map(str::to_owned))
    };
    let node_id = match own(arguments.node_id.as_ref(), NODE_ID.variable(PROGRAM.prefix)) {
        Some(id) => value::<NodeId>("--node-id", &id)?,
        None => hostname()?,
    };
    let address = match own(arguments.address.as_ref(), ADDRESS.variable(PROGRAM.prefix)) {
        Some(address) => value::<HttpUrl>("--address", &address)?,
        None => own_address(&control_plane)?,
    };
    Ok(JoinPlan {
        control_plane,
        node_id,
        address,
        token,
        trust,
        // The agent of a node that has joined before listens there.
        connect_back: !arguments.replace,
    })
}

fn needed<'a>(value: Option<&'a str>, name: &str, example: &str) -> Result<&'a str, Failure> {
    value.ok_or_else(|| {
        Failure::Usage(format!(
            "{name} is missing, such as {example}; see `pool-managerd join --help`"
        ))
    })
}

fn value<T: std::str::FromStr<Err: std::fmt::Display>>(
    name: &str,
    text: &str,
) -> Result<T, Failure> {
    let parsed = text.parse();
    parsed.map_err(|error| Failure::Usage(format!("{name}: {error}")))
}

fn trust(arguments: &Arguments, control_plane: &HttpUrl) -> Result<Trust, Failure> {
    let usage = |reason: &str| Err(Failure::Usage(reason.to_owned()));
    match (&arguments.ca_sha256, &arguments.ca_file) {
        (Some(_), Some(_)) => usage("--ca-file: must not be given with --ca-sha256"),
        (Some(_), _) | (_, Some(_)) if !control_plane.is_https() => {
            usage("URL: must begin with https://, because a CA is given")
        }
        (Some(text), None) => Ok(Trust::Pinned(value::<Fingerprint>("--ca-sha256", text)?)),
        (None, Some(file)) => Ok(Trust::CaFile(PathBuf::from(file))),
        (None, None) => Ok(Trust::System),
    }
}

/// The token is not shown in any error.
fn token(arguments: &Arguments) -> Result<SecretText, Failure> {
    let file = match (&arguments.token, &arguments.token_file) {
        (Some(_), Some(_)) => {
            let reason = "--token-file: must not be given with --token";
            return Err(Failure::Usage(reason.to_owned()));
        }
        (Some(token), None) => {
            let token = SecretText::new(token.trim());
            return token.map_err(|error| Failure::Usage(format!("--token: {error}")));
        }
        (None, file) => needed(file.as_deref(), "--token-file", "FILE")?,
    };
    let failed = |reason: String| Failure::Usage(format!("--token-file: {file}: {reason}"));
    let text = state_file::read_text(file.as_ref(), TOKEN_FILE_BYTES);
    let text = text.map_err(|error| failed(format!("cannot be read: {error}")))?;
    let text = text.ok_or_else(|| failed(format!("has more than {TOKEN_FILE_BYTES} bytes")))?;
    let token = text.trim();
    if token.is_empty() || token.contains(char::is_whitespace) {
        return Err(failed(
            "must hold one join token and nothing else".to_owned(),
        ));
    }
    SecretText::new(token).map_err(|error| failed(error.to_string()))
}

fn hostname() -> Result<NodeId, Failure> {
    let hostname = gpu_inventory::hostname().ok();
    let id = hostname.and_then(|name| NodeId::new(&name).ok());
    id.ok_or_else(|| {
        let reason = "--node-id: must be given: the hostname of this machine cannot be used";
        Failure::Usage(reason.to_owned())
    })
}

/// The address of this machine towards the control plane. No packet is sent.
fn own_address(control_plane: &HttpUrl) -> Result<HttpUrl, Failure> {
    let unknown = |error: io::Error| {
        Failure::Usage(format!(
            "--address: must be given: the address of this machine towards {control_plane} is \
             unknown: {error}"
        ))
    };
    let mut found = (control_plane.host(), control_plane.port())
        .to_socket_addrs()
        .map_err(unknown)?;
    let target = found
        .next()
        .ok_or_else(|| unknown(io::ErrorKind::NotFound.into()))?;
    let any: SocketAddr = match target.ip() {
        IpAddr::V4(_) => ([0, 0, 0, 0], 0).into(),
        IpAddr::V6(_) => ([0_u16; 8], 0).into(),
    };
    let socket = UdpSocket::bind(any).map_err(unknown)?;
    socket.connect(target).map_err(unknown)?;
    let mut own = SocketAddr::new(socket.local_addr().map_err(unknown)?.ip(), NODE_PORT);
    // On the machine of the control plane, whose own address no node gets a certificate for.
    if own.ip() == target.ip() {
        own.set_ip(match target.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    let scheme = if control_plane.is_https() {
        "https"
    } else {
        "http"
    };
    value("--address", &format!("{scheme}://{own}"))
}
