//! The blocking face: sessions that run in the thread of their caller.

mod connect;
mod receive;
mod run;
mod send;

pub(super) use self::receive::Host;
pub(super) use self::run::{NOTES, run};
