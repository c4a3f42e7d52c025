//! Settings of `orchestratord`, good and bad.

use placement::Strategy;

use super::*;

fn config(pairs: &[(&str, &str)]) -> Result<Config, String> {
    let environment = Environment::from_pairs(pairs.iter().copied());
    Config::from_environment(environment).map_err(|problems| problems.to_string())
}

// spec: CLOUD-12001, CLOUD-12002, CONF-2
#[test]
fn home_is_the_default_and_needs_nothing() {
    let config = config(&[]).unwrap();
    assert_eq!(config.settings.addr.to_string(), "127.0.0.1:8080");
    assert!(config.registry.prober.is_none());
    let HomeConfig { node, registry_dir } = config.home.unwrap();
    assert_eq!(node.watch.runtime_dir, PathBuf::from(".runtime/engines"));
    assert_eq!(node.state_dir, StateDir::Optional(".runtime/state".into()));
    assert_eq!(registry_dir, PathBuf::from(".runtime/state/home"));
    assert!(node.engines.is_none());
}

// spec: CLOUD-12002
#[test]
fn cloud_takes_its_settings_and_defaults() {
    let config = config(&[
        ("ORCHESTRATORD_CLOUD_PROFILE", "1"),
        ("ORCHESTRATORD_ADDR", "0.0.0.0:8080"),
        ("ORCHESTRATORD_NODE_TIMEOUT_MS", "5000"),
        ("ORCHESTRATORD_PLACEMENT", "round-robin"),
        ("LLORCH_API_TOKEN", "a-long-enough-token"),
    ])
    .unwrap();
    assert!(config.home.is_none());
    assert!(config.registry.prober.is_some());
    assert_eq!(
        config.registry.registry.node_timeout(),
        Duration::from_secs(5)
    );
    assert_eq!(config.gateway.strategy, Strategy::RoundRobin);
    assert!(config.node_token.is_some_and(|token| token.is_sensitive()));
    assert!(config.settings.auth.has_token());
}

// spec: CONF-6, PATH-18
#[test]
fn mistakes_in_the_alias_file_are_reported_with_their_line() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("aliases.toml");
    let with = |text: &str| {
        std::fs::write(&path, text).unwrap();
        config(&[("ORCHESTRATORD_ALIASES_FILE", path.to_str().unwrap())])
    };
    let aliases = with("[aliases]\n\"gpt-4o\" = \"tiny\"\n")
        .unwrap()
        .gateway
        .aliases;
    assert_eq!(aliases.target("gpt-4o"), Some("tiny"));
    for (text, expected) in [
        ("[aliases]\na = \"a\"\n", "line 2: `a` stands for itself"),
        ("[alias]\n", "line 1: unknown key `alias`"),
    ] {
        let problems = with(text).unwrap_err();
        assert!(
            problems.contains("ORCHESTRATORD_ALIASES_FILE") && problems.contains(expected),
            "{problems}"
        );
    }
    let missing = config(&[("ORCHESTRATORD_ALIASES_FILE", "/nowhere/aliases.toml")]).unwrap_err();
    assert!(missing.contains("cannot read the alias file"), "{missing}");
}

// spec: CONF-23, PROV-14
#[test]
fn mistakes_in_the_pool_file_are_reported_with_the_settings() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("pools.toml");
    let with = |text: &str, more: &[(&str, &str)]| {
        std::fs::write(&path, text).unwrap();
        let base = [("ORCHESTRATORD_POOLS_FILE", path.to_str().unwrap())];
        config(&[&base, more].concat())
    };
    let good = "[[pool]]\nid=\"a\"\nengine=\"x\"\ncommand=[\"x\",\"{port}\"]\nslots=1\n";
    let node = with(good, &[]).unwrap().home.unwrap().node;
    assert_eq!(node.watch.pools.len(), 1);
    let engines = node.engines.unwrap();
    assert_eq!(engines.path, path);
    assert_eq!(engines.withheld_variables, ["LLORCH_API_TOKEN"]);
    let bad = "[[pool]]\nid = \"a\"\nport = \"x\"\n[[pool]]\nid = 7\n";
    let problems = with(bad, &[("ORCHESTRATORD_ADDR", "8080")]).unwrap_err();
    for expected in ["line 3: `port` must be", "line 5: ", "ORCHESTRATORD_ADDR: "] {
        assert!(
            problems.contains(expected),
            "{expected} is missing in:\n{problems}"
        );
    }
    let cloud = with(good, &[("ORCHESTRATORD_CLOUD_PROFILE", "true")]).unwrap_err();
    assert!(cloud.contains("works only in the HOME profile"), "{cloud}");
}

// spec: CONF-1
#[test]
fn every_bad_variable_is_reported_in_one_go() {
    let bad = [
        ("ORCHESTRATORD_ADDR", "8080"),
        ("ORCHESTRATORD_METRICS_ADDR", "9090"),
        ("ORCHESTRATORD_CLOUD_PROFILE", "yes"),
        ("ORCHESTRATORD_REQUIRE_AUTH", "true"),
        ("ORCHESTRATORD_ALLOWED_HOSTS", "http://llorch.example"),
        ("ORCHESTRATORD_NODE_TIMEOUT_MS", "-1"),
        ("ORCHESTRATORD_STALE_CHECK_INTERVAL_SECS", "0"),
        ("ORCHESTRATORD_PLACEMENT", "fastest"),
        ("ORCHESTRATORD_QUEUE_LIMIT", "many"),
        ("ORCHESTRATORD_QUEUE_WAIT_MS", "x"),
        ("ORCHESTRATORD_FIRST_BYTE_TIMEOUT_MS", "0"),
        ("ORCHESTRATORD_THREADS", "0"),
        ("ORCHESTRATORD_DRAIN_TIMEOUT_SECS", "x"),
        ("ORCHESTRATORD_SHUTDOWN_GRACE_MS", "600001"),
        ("ORCHESTRATORD_LOG_FORMAT", "xml"),
    ];
    let problems = config(&bad).unwrap_err();
    for (name, _) in bad {
        assert!(problems.contains(name), "{name} is missing in:\n{problems}");
    }
}

// spec: CONF-25
#[test]
fn paths_of_the_wrong_kind_are_reported_with_the_settings() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    std::fs::write(at("file"), "").unwrap();
    daemon_process::make_pipe(at("pipe").as_ref());
    let good = "[[pool]]\nid=\"a\"\nengine=\"x\"\ncommand=[\"x\",\"{port}\"]\nslots=1\n";
    std::fs::write(at("pools.toml"), good).unwrap();
    let (file, pipe, pools) = (at("file"), at("pipe"), at("pools.toml"));
    for (settings, expected) in [
        (
            &[("ORCHESTRATORD_RUNTIME_DIR", file.as_str())][..],
            "ORCHESTRATORD_RUNTIME_DIR: must be a directory, but ",
        ),
        (
            &[("ORCHESTRATORD_POOLS_FILE", pipe.as_str())],
            "ORCHESTRATORD_POOLS_FILE: must be the path of a regular file, but ",
        ),
        (
            &[("ORCHESTRATORD_ALIASES_FILE", pipe.as_str())],
            "ORCHESTRATORD_ALIASES_FILE: must be the path of a regular file, but ",
        ),
        (
            &[
                ("ORCHESTRATORD_POOLS_FILE", pools.as_str()),
                ("ORCHESTRATORD_RUNTIME_DIR", "/proc/1/nothing"),
            ],
            "ORCHESTRATORD_RUNTIME_DIR: must be a directory that this user can write, but ",
        ),
    ] {
        let problems = config(settings).unwrap_err();
        assert!(problems.starts_with(expected), "{problems}");
    }
    // Without a pool file the directory is only read, and may be created later.
    assert!(config(&[("ORCHESTRATORD_RUNTIME_DIR", "/proc/1/nothing")]).is_ok());
}

// spec: JOIN-35
#[test]
fn a_ca_turns_on_tls_and_is_no_credential_of_operators() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ca");
    let now = std::time::SystemTime::now();
    node_ca::CaDirectory::init(&path, &["localhost".parse().unwrap()], now).unwrap();
    let ca = ("ORCHESTRATORD_CA_DIR", path.to_str().unwrap());
    let with_ca = config(&[ca]).unwrap();
    assert!(with_ca.settings.tls.is_some() && with_ca.joining.ca.is_some());
    // Without a token loopback peers are served as before.
    assert!(
        with_ca
            .settings
            .auth
            .describe()
            .contains("only loopback peers")
    );
    let beyond = [
        ca,
        ("ORCHESTRATORD_ADDR", "0.0.0.0:8080"),
        ("ORCHESTRATORD_REQUIRE_AUTH", "beyond-loopback"),
    ];
    let problems = config(&beyond).unwrap_err();
    assert!(problems.contains("a CA is for nodes only"), "{problems}");
    let token = ("LLORCH_API_TOKEN", "a-long-enough-token");
    config(&[&beyond[..], &[token]].concat()).unwrap();
    // A certificate of another CA for clients needs its key.
    let own = [ca, ("ORCHESTRATORD_TLS_CERT_FILE", "/nowhere.pem")];
    let problems = config(&own).unwrap_err();
    assert!(
        problems.contains("ORCHESTRATORD_TLS_KEY_FILE"),
        "{problems}"
    );
    std::fs::write(path.join("ca.key"), "x").unwrap();
    let problems = config(&[ca]).unwrap_err();
    assert!(problems.contains("ORCHESTRATORD_CA_DIR") && problems.contains("ca.key: holds no"));
    for (ranges, is_right) in [("10.0.0.0/8, fc00::/7", true), ("10.0.0.7/8", false)] {
        let found = config(&[("ORCHESTRATORD_NODE_RANGES", ranges)]);
        assert_eq!(found.is_ok(), is_right, "{ranges}");
    }
}
