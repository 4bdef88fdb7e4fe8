//! The driver and the server, over pipes, over networks in memory, and over streams that fail.
#![expect(clippy::expect_used, reason = "helpers of tests fail as tests do")]
#![cfg_attr(
    all(feature = "fs", feature = "testing"),
    expect(
        clippy::disallowed_methods,
        reason = "what stands in the folder is looked at from outside"
    )
)]

mod again;
mod again_serving;
#[cfg(all(feature = "fs", feature = "testing"))]
mod anew;
mod cancel;
mod claims;
#[cfg(feature = "testing")]
mod closed;
mod compared;
mod deadlines;
mod listening;
#[cfg(feature = "testing")]
mod own;
mod progress;
mod rate;
mod readers;
mod retry;
mod scene;
mod server;
mod store;
mod strangers;
mod stream;
#[cfg(all(feature = "fs", feature = "testing"))]
mod suspended;
#[cfg(all(feature = "fs", feature = "testing"))]
mod watched;
