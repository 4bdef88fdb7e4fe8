//! The command, as it is built, with real streams and real peers.
#![expect(
    clippy::cast_possible_truncation,
    clippy::disallowed_methods,
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    clippy::print_stderr,
    clippy::print_stdout,
    reason = "tests open sockets and files, run where a usize has 64 bits, and stop where something is wrong"
)]

#[path = "../common/mod.rs"]
mod common;

mod budget;
mod counts;
mod cuts;
mod descriptors;
mod existing;
mod folding;
mod future;
mod haul;
mod help;
mod hidden;
mod interrupt;
mod json;
mod keys;
mod kills;
mod list;
mod name_conflicts;
mod pages;
mod partials;
mod peers;
mod plain;
mod producer;
mod proxy;
mod pull;
mod readme;
mod schema;
mod second;
mod settings;
mod stderr;
mod syscalls;
mod terminal;
mod then;
mod transfer;
mod trees;
mod usage;
mod wrong;
