#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| copilot::fuzz::parse("durations", bytes));
