//! Both machines against each other, in virtual time, without a driver.

mod pair;
mod session;
