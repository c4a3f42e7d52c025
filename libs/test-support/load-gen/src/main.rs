//! The load generator as a program: what it measured goes to standard output as one line of JSON.

use std::{process::ExitCode, time::Duration};

use load_gen::{Expected, Plan, run};

const USAGE: &str = "\
Asks HTTP servers again and again, and tells how fast they answered, as one line of JSON.

usage: load-gen --target HOST:PORT [--target HOST:PORT ...] --body JSON [--path PATH] [--connections N]
                [--stream [--events N]] [--warm-up SECONDS] [--seconds SECONDS]

  --target HOST:PORT  where to; connections are dealt out in turn
  --body JSON         what is sent by POST
  --path PATH         to this path (/v1/chat/completions)
  --connections N     connections, each with one request at a time (32)
  --stream            answers are event streams that end with [DONE]
  --events N          a stream has so many events, [DONE] included (any number)
  --warm-up SECONDS   time before the clock runs (0.5)
  --seconds SECONDS   measured time (3)
";

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line program")]
fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|word| word == "--help" || word == "-h") {
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
    let told = run(&plan).and_then(|outcome| Ok(serde_json::to_string(&outcome)?));
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

fn parse(arguments: &[String]) -> Result<Plan, String> {
    let mut plan = Plan {
        targets: Vec::new(),
        connections: 32,
        path: "/v1/chat/completions".to_owned(),
        body: String::new(),
        expected: Expected::Whole,
        warm_up: Duration::from_millis(500),
        measure: Duration::from_secs(3),
    };
    let (mut stream, mut events) = (false, None);
    let mut rest = arguments.iter();
    while let Some(name) = rest.next() {
        if name == "--stream" {
            stream = true;
            continue;
        }
        let value = rest.next().ok_or_else(|| format!("{name} needs a value"))?;
        let bad = |what: &str| format!("{name} {value}: not {what}");
        match name.as_str() {
            "--target" => plan.targets.push(value.parse().map_err(|_| bad("an address"))?),
            "--body" => plan.body.clone_from(value),
            "--path" => plan.path.clone_from(value),
            "--connections" => plan.connections = value.parse().map_err(|_| bad("a number"))?,
            "--events" => events = Some(value.parse().map_err(|_| bad("a number"))?),
            "--warm-up" => plan.warm_up = seconds(value).ok_or_else(|| bad("a number of seconds"))?,
            "--seconds" => plan.measure = seconds(value).ok_or_else(|| bad("a number of seconds"))?,
            _ => return Err(format!("{name}: unknown option")),
        }
    }
    if plan.targets.is_empty() {
        return Err("--target is missing".to_owned());
    }
    if stream {
        plan.expected = Expected::Stream { events };
    }
    Ok(plan)
}

fn seconds(text: &str) -> Option<Duration> {
    Duration::try_from_secs_f64(text.parse().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Plan, String> {
        parse(&line.split(' ').map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn options_become_a_plan() {
        let plan =
            parsed("--target 127.0.0.1:1 --target 127.0.0.1:2 --stream --events 5 --seconds 0.5").unwrap();
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
        ] {
            assert!(parsed(line).unwrap_err().contains(named), "{line}");
        }
    }
}
