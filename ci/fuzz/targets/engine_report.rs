//! Runs `fuzz_targets::engine_report` under libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_targets::engine_report(data));
