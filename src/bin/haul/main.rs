//! The command `haul`.

fn main() {}
