//! Both machines against each other, in virtual time, without a driver.

mod liveness;
mod pair;
mod rogue;
mod session;
