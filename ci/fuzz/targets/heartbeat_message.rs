//! Runs `fuzz_targets::heartbeat_message` under libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_targets::heartbeat_message(data));
