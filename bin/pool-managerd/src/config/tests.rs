//! Settings of `pool-managerd`, good and bad.

use std::time::Duration;

use super::*;

fn config(pairs: &[(&str, &str)]) -> Result<Config, String> {
    let environment = Environment::from_pairs(pairs.iter().copied());
    Config::from_environment(environment).map_err(|problems| problems.to_string())
}

// spec: CLOUD-12001, CLOUD-12002, CONF-2
#[test]
fn home_is_the_default_and_needs_nothing() {
    let config = config(&[]).unwrap();
    assert!(config.cloud.is_none());
    assert_eq!(config.settings.addr.to_string(), "127.0.0.1:9200");
    assert!(config.pools.is_empty());
    assert_eq!(config.placeholder, PoolId::new("pool-0").ok());
    assert!(!config.settings.auth.has_token());
}

// spec: CLOUD-12002
#[test]
fn cloud_takes_its_settings_and_defaults() {
    let config = config(&[
        ("POOL_MANAGERD_CLOUD_PROFILE", "true"),
        ("POOL_MANAGERD_NODE_ID", "gpu-1"),
        ("POOL_MANAGERD_ADDRESS", "http://10.0.0.7:9200"),
        ("ORCHESTRATORD_URL", "http://a:8080,http://b:8080"),
        ("LLORCH_API_TOKEN", "a-long-enough-token"),
        ("POOL_MANAGERD_FIRST_BYTE_TIMEOUT_MS", "300000"),
    ])
    .unwrap();
    assert_eq!(config.settings.first_byte_timeout, Duration::from_secs(300));
    let hosts = format!("{:?}", config.settings.allowed_hosts);
    assert!(hosts.contains("10.0.0.7"), "{hosts}");
    let cloud = config.cloud.unwrap();
    assert_eq!(cloud.node.watch.watch_interval, Duration::from_secs(1));
    let registration = cloud.registration.unwrap();
    assert_eq!(
        (
            registration.node_id().as_str(),
            registration.machine_id().as_str()
        ),
        ("gpu-1", "gpu-1")
    );
    assert_eq!(registration.control_planes().count(), 2);
    assert_eq!(registration.heartbeat_interval(), Duration::from_secs(10));
    assert!(registration.has_token() && config.settings.auth.has_token());
}

// spec: CONF-1
#[test]
fn every_bad_variable_is_reported_in_one_go() {
    let problems = config(&[
        ("POOL_MANAGERD_ADDR", "localhost"),
        ("POOL_MANAGERD_METRICS_ADDR", "9090"),
        ("POOL_MANAGERD_CLOUD_PROFILE", "true"),
        ("POOL_MANAGERD_NODE_ID", "a b"),
        ("POOL_MANAGERD_POOLS", "pool-0,,x/y"),
        ("POOL_MANAGERD_HEARTBEAT_INTERVAL_SECS", "0"),
        ("POOL_MANAGERD_WATCH_INTERVAL_MS", "soon"),
        ("POOL_MANAGERD_FIRST_BYTE_TIMEOUT_MS", "0"),
        ("POOL_MANAGERD_LOG_FORMAT", "xml"),
        ("POOL_MANAGERD_REQUIRE_AUTH", "1"),
        ("POOL_MANAGERD_ALLOWED_HOSTS", "http://llorch.example"),
        ("ORCHESTRATORD_REGISTER_ON_STARTUP", "maybe"),
    ])
    .unwrap_err();
    for name in [
        "POOL_MANAGERD_ADDR:",
        "POOL_MANAGERD_METRICS_ADDR:",
        "POOL_MANAGERD_NODE_ID",
        "POOL_MANAGERD_POOLS",
        "POOL_MANAGERD_HEARTBEAT_INTERVAL_SECS",
        "POOL_MANAGERD_WATCH_INTERVAL_MS",
        "POOL_MANAGERD_FIRST_BYTE_TIMEOUT_MS",
        "POOL_MANAGERD_LOG_FORMAT",
        "POOL_MANAGERD_REQUIRE_AUTH",
        "POOL_MANAGERD_ALLOWED_HOSTS",
        "ORCHESTRATORD_REGISTER_ON_STARTUP",
        "POOL_MANAGERD_ADDRESS",
        "ORCHESTRATORD_URL",
    ] {
        assert!(problems.contains(name), "{name} is missing in:\n{problems}");
    }
}

// spec: PROV-14
#[test]
fn the_pool_file_is_read_with_the_settings() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("pools.toml");
    let path = path.to_str().unwrap();
    let cloud = |more: &[(&str, &str)]| {
        let base = [
            ("POOL_MANAGERD_CLOUD_PROFILE", "true"),
            ("ORCHESTRATORD_REGISTER_ON_STARTUP", "false"),
            ("POOL_MANAGERD_NODE_ID", "gpu-1"),
            ("POOL_MANAGERD_POOLS_FILE", path),
        ];
        config(&[&base, more].concat())
    };
    assert!(
        cloud(&[])
            .unwrap_err()
            .contains("POOL_MANAGERD_POOLS_FILE: cannot read the pool file")
    );
    std::fs::write(path, "[[pool]]\nid = \"a\"\nport = \"x\"\n").unwrap();
    let problems = cloud(&[]).unwrap_err();
    assert!(problems.contains("line 3: `port` must be"), "{problems}");
    std::fs::write(
        path,
        "[[pool]]\nid=\"a\"\nengine=\"x\"\ncommand=[\"x\",\"{port}\"]\nslots=1\n",
    )
    .unwrap();
    let pools = |config: &Config| {
        config
            .pools
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
    };
    let alone = cloud(&[]).unwrap();
    assert_eq!(pools(&alone), ["a"]);
    let engines = alone.cloud.unwrap().node.engines.unwrap();
    assert_eq!(engines.file.pools.len(), 1);
    assert_eq!(engines.withheld_variables, ["LLORCH_API_TOKEN"]);
    assert_eq!(
        pools(&cloud(&[("POOL_MANAGERD_POOLS", "b,a")]).unwrap()),
        ["b", "a"]
    );
    let home = config(&[("POOL_MANAGERD_POOLS_FILE", path)]).unwrap_err();
    assert!(home.contains("POOL_MANAGERD_CLOUD_PROFILE=true"), "{home}");
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
    let cloud = |more: &[(&str, &str)]| {
        let base = [
            ("POOL_MANAGERD_CLOUD_PROFILE", "true"),
            ("ORCHESTRATORD_REGISTER_ON_STARTUP", "false"),
            ("POOL_MANAGERD_NODE_ID", "gpu-1"),
        ];
        config(&[&base, more].concat())
    };
    let (file, pipe, pools) = (at("file"), at("pipe"), at("pools.toml"));
    for (settings, expected) in [
        (
            &[("POOL_MANAGERD_RUNTIME_DIR", file.as_str())][..],
            "POOL_MANAGERD_RUNTIME_DIR: must be a directory, but ",
        ),
        (
            &[("POOL_MANAGERD_POOLS_FILE", pipe.as_str())],
            "POOL_MANAGERD_POOLS_FILE: must be the path of a regular file, but ",
        ),
        (
            &[
                ("POOL_MANAGERD_POOLS_FILE", pools.as_str()),
                ("POOL_MANAGERD_RUNTIME_DIR", "/proc/1/nothing"),
            ],
            "POOL_MANAGERD_RUNTIME_DIR: must be a directory that this user can write, but ",
        ),
    ] {
        let problems = cloud(settings).unwrap_err();
        assert!(problems.starts_with(expected), "{problems}");
    }
    // In HOME the agent uses no directory.
    assert!(config(&[("POOL_MANAGERD_RUNTIME_DIR", file.as_str())]).is_ok());
}
