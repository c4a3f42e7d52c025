//! Runs `fuzz_targets::server_sent_events` under libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_targets::server_sent_events(data));
