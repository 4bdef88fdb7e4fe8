//! Both machines against each other, in virtual time, without a driver.
//!
//! Some of these enumerate or generate far more with `HAUL_LONG=1` in the environment. Files under `golden` are
//! written anew with `HAUL_BLESS=1`.
#![expect(
    clippy::single_range_in_vec_init,
    clippy::cast_possible_truncation,
    reason = "a list of one range is meant as such, and the numbers of tests are small"
)]

mod bob;
mod budgets;
mod channel;
mod clock;
mod codec;
mod compare;
mod completions;
mod copies;
mod cuts;
mod damage;
mod deadlines;
mod drivers;
mod due;
mod endless;
mod floor;
mod golden;
mod header;
mod hostile;
mod idle;
mod liveness;
mod losses;
mod name_conflicts;
mod pair;
mod phases;
mod random;
mod rogue;
mod scarce;
mod scenes;
mod session;
mod slow;
mod splits;
mod suspended;
mod table;
#[cfg(feature = "testing")]
mod transcripts;
mod trust;
mod window;

#[expect(clippy::disallowed_methods, reason = "a switch of the tests, not of the library")]
fn is_set(switch: &str) -> bool {
    std::env::var_os(switch).is_some()
}

/// Returns whether there is time for all of it.
fn long() -> bool {
    is_set("HAUL_LONG")
}
