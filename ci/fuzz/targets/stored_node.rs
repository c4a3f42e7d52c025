//! Runs `fuzz_targets::stored_node` under libFuzzer.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| fuzz_targets::stored_node(data));
