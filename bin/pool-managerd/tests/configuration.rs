//! Settings from the configuration file and from flags.

use daemon_process::Configured;

const DAEMON: Configured<'_> = Configured {
    program: env!("CARGO_BIN_EXE_pool-managerd"),
    prefix: "POOL_MANAGERD_",
    number: "watch_interval_ms",
};

// spec: CONF-44, CONF-46
#[test]
fn each_setting_has_a_key_and_a_flag() {
    DAEMON.has_a_key_and_a_flag_for_each_setting();
}

// spec: CONF-41
#[test]
fn a_flag_and_a_variable_count_before_the_file() {
    DAEMON.prefers_flags_and_variables();
}

// spec: CONF-41, CONF-42
#[test]
fn all_problems_are_reported_with_their_places() {
    DAEMON.reports_all_problems_with_their_places();
}
