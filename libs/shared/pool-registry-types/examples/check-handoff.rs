//! Checks handoff files and says what is wrong with each: `check-handoff FILE…`.

use std::process::ExitCode;

use pool_registry_types::Handoff;

fn check(path: &str) -> Result<Handoff, String> {
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    let mut json = serde_json::Deserializer::from_str(&text);
    serde_path_to_error::deserialize(&mut json).map_err(|error| error.to_string())
}

#[expect(clippy::print_stdout, reason = "an example owns its terminal")]
fn main() -> ExitCode {
    let mut all_good = true;
    for path in std::env::args().skip(1) {
        match check(&path) {
            Ok(handoff) => println!(
                "{path}: {}/{} at {}",
                handoff.pool_id, handoff.replica_id, handoff.url
            ),
            Err(error) => {
                all_good = false;
                println!("{path}: {error}");
            }
        }
    }
    if all_good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
