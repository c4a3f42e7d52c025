//! The fake engine as a program: an upstream for benchmarks and for trying things by hand.

use std::{io::BufRead, process::ExitCode, time::Duration};

use fake_engine::{FakeEngine, Options, Script};

const USAGE: &str = "\
A stand-in for an inference engine. It serves until its standard input ends.

usage: fake-engine [--port N] [--slots N] [--tokens N] [--model NAME] [--record]
                   [--head-ms N] [--first-ms N] [--token-ms N]

  --port N      port on 127.0.0.1; 0, the default, takes a free one
  --slots N     slots it claims to have; it serves all requests that come (4)
  --tokens N    tokens of an answer (16)
  --model NAME  the model it claims to serve (tiny)
  --record      remember requests
  --head-ms N, --first-ms N, --token-ms N
                delays before the head, from there to the first token, and from token to token (0)

A request changes the script for itself: x-fake: tokens=10,token_ms=5,cut=3
The same on a line of standard input changes it for all requests to come, and is answered by a line.
";

#[expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line program"
)]
fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments
        .iter()
        .any(|argument| argument == "--help" || argument == "-h")
    {
        print!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    let (script, options) = match parse(&arguments) {
        Ok(parsed) => parsed,
        Err(wrong) => {
            eprint!("fake-engine: {wrong}\n\n{USAGE}");
            return ExitCode::from(64);
        }
    };
    match FakeEngine::start_with(script, options) {
        Ok(engine) => {
            println!("fake-engine listening on {}", engine.url());
            // The parent process stops it by closing the pipe, or kills it.
            for line in std::io::stdin().lock().lines().map_while(Result::ok) {
                println!("{}", direct(&engine, &line));
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("fake-engine: port {}: {error}", options.port);
            ExitCode::FAILURE
        }
    }
}

/// Changes the script as a line of standard input says, and tells what came of it.
fn direct(engine: &FakeEngine, line: &str) -> String {
    match engine.script().with(line) {
        Ok(script) => {
            engine.set(script);
            format!("fake-engine now does {line}")
        }
        Err(wrong) => format!("fake-engine: {wrong}"),
    }
}

fn parse(arguments: &[String]) -> Result<(Script, Options), String> {
    let mut script = Script::default();
    let mut options = Options {
        record: false,
        ..Options::default()
    };
    let mut rest = arguments.iter();
    while let Some(name) = rest.next() {
        if name == "--record" {
            options.record = true;
            continue;
        }
        let value = rest.next().ok_or_else(|| format!("{name} needs a value"))?;
        let number = || {
            value
                .parse::<u32>()
                .map_err(|_| format!("{name} {value}: not a number"))
        };
        let time = || number().map(|ms| Duration::from_millis(u64::from(ms)));
        match name.as_str() {
            "--port" => {
                options.port = value
                    .parse()
                    .map_err(|_| format!("{name} {value}: not a port"))?;
            }
            "--slots" => script.slots = number()?,
            "--tokens" => script.tokens = number()?,
            "--model" => script.models = vec![value.clone()],
            "--head-ms" => script.head_delay = time()?,
            "--first-ms" => script.first_token_delay = time()?,
            "--token-ms" => script.token_delay = time()?,
            _ => return Err(format!("{name}: unknown option")),
        }
    }
    Ok((script, options))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_changes_the_script() {
        let engine = FakeEngine::start(Script::default()).unwrap();
        assert_eq!(direct(&engine, "tokens=7"), "fake-engine now does tokens=7");
        assert!(
            direct(&engine, "tokens").starts_with("fake-engine: x-fake: \"tokens\" is none of")
        );
        assert_eq!(engine.script().tokens, 7);
    }

    #[test]
    fn options_become_a_script() {
        let arguments = [
            "--port",
            "9",
            "--tokens",
            "3",
            "--token-ms",
            "5",
            "--record",
        ]
        .map(str::to_owned);
        let (script, options) = parse(&arguments).unwrap();
        assert_eq!(
            options,
            Options {
                port: 9,
                record: true
            }
        );
        assert_eq!(
            (script.tokens, script.token_delay),
            (3, Duration::from_millis(5))
        );
        for wrong in [
            &["--slots"][..],
            &["--slots", "x"],
            &["--colour", "red"],
            &["--port", "99999"],
        ] {
            let arguments: Vec<String> = wrong.iter().map(|&a| a.to_owned()).collect();
            assert!(parse(&arguments).unwrap_err().contains(wrong[0]));
        }
    }
}
