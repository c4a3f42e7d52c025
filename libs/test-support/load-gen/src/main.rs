//! The load generator as a program: what it measured goes to standard output as one line of JSON.

use std::{process::ExitCode, time::Duration};

use load_gen::{
    Expected, Plan, Requests,
    fleet::{Beat, Fleet},
    paced::{self, Pacing},
    run,
};
use tls_config::{ClientTls, Trust};

const USAGE: &str = "\
Sends requests to HTTP servers in a closed loop. Prints their rate and times as one line of JSON.

usage: load-gen --target HOST:PORT [--target HOST:PORT ...] [--body JSON] [--path PATH] [--get]
                [--stream [--events N]] [--tls-ca FILE] [--token-file FILE]
                [--connections N] [--warm-up SECONDS] [--seconds SECONDS]
       load-gen --target HOST:PORT --fleet N --beat register|unchanged|load|readiness
                [--address URL] [--first-number N] [--count N]
                [--connections N] [--warm-up SECONDS] [--seconds SECONDS]
       load-gen --target HOST:PORT --fleet N --paced
                [--first-number N] [--connections N] [--seconds SECONDS]

  --target HOST:PORT  a server; the connections are distributed in turn
  --body JSON         the body of a POST
  --path PATH         the path (/v1/chat/completions)
  --get               sends a GET without a body
  --tls-ca FILE       speaks TLS to servers called localhost, with certificates of this CA
  --token-file FILE   sends the token in this file
  --fleet N           sends the messages of N simulated nodes, in turn
  --beat KIND         the messages: registrations, or heartbeats that repeat the last one
                      (unchanged), or change the load or the readiness
  --address URL       the address in registrations
  --first-number N    the number of the first heartbeat; later runs need larger ones (1)
  --paced             the nodes send heartbeats at the pace of the server
  --count N           stops after N messages
  --connections N     connections, each with one request at a time (32)
  --stream            the answers are event streams that end with [DONE]
  --events N          the events of a stream, [DONE] included (any number)
  --warm-up SECONDS   the time before the measurement (0.5)
  --seconds SECONDS   the measured time (3)
";

/// How long the answers that run at the end of the measured time may take to end.
const DRAIN: Duration = Duration::from_secs(10);

#[expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line program"
)]
fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments
        .iter()
        .any(|word| word == "--help" || word == "-h")
    {
        print!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    let plan = match parse(&arguments) {
        Ok(plan) => plan,
        Err(wrong) => {
            eprint!("load-gen: {wrong}\n\n{USAGE}");
            return ExitCode::from(64);
        }
    };
    let told = match &plan {
        Work::Load(plan) => run(plan).and_then(|outcome| Ok(serde_json::to_string(&outcome)?)),
        Work::Paced(pacing) => {
            paced::run(pacing).and_then(|tally| Ok(serde_json::to_string(&tally)?))
        }
    };
    match told {
        Ok(line) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("load-gen: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What the arguments ask for.
#[derive(Debug)]
enum Work {
    Load(Plan),
    Paced(Pacing),
}

fn parse(arguments: &[String]) -> Result<Work, String> {
    let mut plan = Plan {
        targets: Vec::new(),
        tls: None,
        connections: 32,
        requests: Requests::Get {
            path: String::new(),
        },
        expected: Expected::Whole,
        warm_up: Duration::from_millis(500),
        measure: Duration::from_secs(3),
        drain: DRAIN,
    };
    let (mut stream, mut events, mut get, mut is_paced) = (false, None, false, false);
    let (mut path, mut body) = ("/v1/chat/completions".to_owned(), String::new());
    let (mut nodes, mut beat, mut address) = (None, None, None);
    let (mut first_number, mut count, mut token) = (1, None, None);
    let mut rest = arguments.iter();
    while let Some(name) = rest.next() {
        if name == "--stream" {
            stream = true;
            continue;
        }
        if name == "--paced" {
            is_paced = true;
            continue;
        }
        if name == "--get" {
            get = true;
            continue;
        }
        let value = rest.next().ok_or_else(|| format!("{name} needs a value"))?;
        let bad = |what: &str| format!("{name} {value}: not {what}");
        match name.as_str() {
            "--target" => plan
                .targets
                .push(value.parse().map_err(|_| bad("an address"))?),
            "--body" => body.clone_from(value),
            "--path" => path.clone_from(value),
            "--tls-ca" => plan.tls = Some(trusting(value)?),
            "--token-file" => token = Some(read_token(value)?),
            "--fleet" => nodes = Some(value.parse().map_err(|_| bad("a number"))?),
            "--beat" => {
                beat = Some(
                    value
                        .parse::<Beat>()
                        .map_err(|()| bad("a message of a node"))?,
                );
            }
            "--address" => address = Some(value.clone()),
            "--first-number" => first_number = value.parse().map_err(|_| bad("a number"))?,
            "--count" => count = Some(value.parse().map_err(|_| bad("a number"))?),
            "--connections" => plan.connections = value.parse().map_err(|_| bad("a number"))?,
            "--events" => events = Some(value.parse().map_err(|_| bad("a number"))?),
            "--warm-up" => {
                plan.warm_up = seconds(value).ok_or_else(|| bad("a number of seconds"))?;
            }
            "--seconds" => {
                plan.measure = seconds(value).ok_or_else(|| bad("a number of seconds"))?;
            }
            _ => return Err(format!("{name}: unknown option")),
        }
    }
    let Some(&target) = plan.targets.first() else {
        return Err("--target is missing".to_owned());
    };
    if is_paced {
        return Ok(Work::Paced(Pacing {
            target,
            nodes: nodes.ok_or("--paced needs --fleet")?,
            connections: plan.connections as u64,
            first_number,
            time: plan.measure,
        }));
    }
    plan.requests = match (nodes, beat) {
        (Some(nodes), Some(beat)) => {
            let mut fleet = Fleet::new(nodes, beat);
            (fleet.first_number, fleet.count) = (first_number, count);
            fleet.address = address.unwrap_or(fleet.address);
            Requests::Fleet(fleet)
        }
        (None, None) if get => Requests::Get { path },
        (None, None) => Requests::Post { path, body, token },
        _ => return Err("--fleet and --beat belong together".to_owned()),
    };
    if stream {
        plan.expected = Expected::Stream { events };
    }
    Ok(Work::Load(plan))
}

fn trusting(file: &str) -> Result<ClientTls, String> {
    ClientTls::load(Trust::CaFile(file.into()), None).map_err(|error| format!("--tls-ca: {error}"))
}

fn read_token(file: &str) -> Result<String, String> {
    let text = std::fs::read_to_string(file);
    let text = text.map_err(|error| format!("--token-file {file}: {error}"))?;
    Ok(text.trim().to_owned())
}

fn seconds(text: &str) -> Option<Duration> {
    Duration::try_from_secs_f64(text.parse().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Work, String> {
        parse(&line.split(' ').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn options_become_a_plan() {
        let line = "--target 127.0.0.1:1 --target 127.0.0.1:2 --stream --events 5 --seconds 0.5";
        let Ok(Work::Load(plan)) = parsed(line) else {
            panic!("{line}");
        };
        assert_eq!((plan.targets.len(), plan.connections), (2, 32));
        assert_eq!(plan.expected, Expected::Stream { events: Some(5) });
        assert_eq!(plan.measure, Duration::from_millis(500));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (line, named) in [
            ("--connections 3", "--target"),
            ("--target nowhere", "nowhere"),
            ("--seconds -1", "-1"),
            ("--colour red", "--colour"),
            ("--body", "--body"),
            ("--tls-ca nowhere.pem", "nowhere.pem"),
            ("--token-file nowhere.txt", "nowhere.txt"),
            ("--target 127.0.0.1:1 --paced", "--fleet"),
            ("--target 127.0.0.1:1 --fleet 3", "--beat"),
            ("--target 127.0.0.1:1 --fleet 3 --beat drum", "drum"),
        ] {
            assert!(parsed(line).unwrap_err().contains(named), "{line}");
        }
    }
}
