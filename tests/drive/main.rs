//! The driver and the server, over pipes, over networks in memory, and over streams that fail.
#![expect(clippy::expect_used, reason = "helpers of tests fail as tests do")]

mod cancel;
mod deadlines;
mod rate;
mod retry;
mod scene;
mod server;
mod store;
mod stream;
