#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| haul::testing::fuzz::line(data));
