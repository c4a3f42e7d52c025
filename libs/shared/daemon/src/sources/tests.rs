//! Tests of the order of the sources.

use super::*;
use crate::{SettingsReader, configuration_file, fixtures::DEMO, settings::Settings};

fn load(file: &str, environment: &[(&str, &str)], flags: &[(&str, &str)]) -> Loaded {
    let flags: Vec<FlagValue> = flags
        .iter()
        .map(|(variable, text)| FlagValue {
            variable: (*variable).to_owned(),
            flag: "--flag".to_owned(),
            text: (*text).to_owned(),
        })
        .collect();
    let environment = Environment::from_pairs(environment.iter().copied());
    merge(
        environment,
        &flags,
        configuration_file::parse("demo.toml", file, &DEMO.settings()),
    )
}

fn read(loaded: &Loaded) -> Result<Settings, String> {
    let configure = |environment| {
        let mut reader = SettingsReader::new(&DEMO, environment);
        let settings = Settings::read(&mut reader, &DEMO);
        reader.finish().map(|()| settings)
    };
    loaded.configure(configure).map_err(|it| it.to_string())
}

// spec: CONF-41
#[test]
fn a_flag_beats_the_environment_and_that_the_file() {
    let file = "threads = 1\nmax_body_mib = 1\nstate_dir = \"/file\"\n";
    let environment = [
        ("DEMO_THREADS", "2"),
        ("DEMO_MAX_BODY_MIB", "2"),
        ("DEMO_STATE_DIR", " "),
    ];
    let loaded = load(file, &environment, &[("DEMO_THREADS", "3")]);
    let settings = read(&loaded).unwrap();
    assert_eq!(settings.threads.get(), 3);
    assert_eq!(settings.max_body_bytes, 2 << 20);
    assert_eq!(settings.state_dir.to_str(), Some("/file"));
    let places: Vec<&str> = loaded.places.values().map(String::as_str).collect();
    assert_eq!(places, ["demo.toml:3: state_dir", "--flag"]);
}

// spec: CONF-42, CONF-45
#[test]
fn each_problem_names_the_source_of_its_value() {
    let file = "threads = 0\nnonsense_key = 1\napi_token = \"short\"\nrequire_auth = \"maybe\"\n";
    let environment = [("DEMO_MAX_BODY_MIB", "0")];
    let loaded = load(file, &environment, &[("DEMO_DRAIN_TIMEOUT_SECS", "x")]);
    let problems = read(&loaded).unwrap_err();
    for start in [
        "demo.toml:2: \"nonsense_key\": is no setting",
        "demo.toml:1: threads: must be a whole number from 1 to 1024, not \"0\"",
        "demo.toml:3: api_token: ",
        "demo.toml:4: require_auth: must be true, false or beyond-loopback",
        "DEMO_MAX_BODY_MIB: must be",
        "--flag: must be a whole number",
    ] {
        let found = problems.lines().filter(|line| line.starts_with(start));
        assert_eq!(found.count(), 1, "{start}\n{problems}");
    }
    assert!(!problems.contains("short\""), "{problems}");
}

// spec: CONF-42
#[test]
fn a_setting_in_the_broken_part_of_the_file_is_not_missed() {
    let loaded = load("api_token = [1]\n", &[("DEMO_REQUIRE_AUTH", "true")], &[]);
    let problems = read(&loaded).unwrap_err();
    assert!(
        problems.starts_with("demo.toml:1: api_token: must be a string, not an array"),
        "{problems}"
    );
}

// spec: CONF-44
#[test]
fn no_two_settings_share_a_key_or_an_argument() {
    let settings = DEMO.settings();
    let mut keys: Vec<&str> = settings.iter().filter_map(|row| row.key()).collect();
    keys.extend([
        "config", "json", "help", "settings", "limits", "openapi", "version",
    ]);
    let count = keys.len();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), count);
}
