//! Runs `fuzz_targets::json_scanner` under libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_targets::json_scanner(data));
