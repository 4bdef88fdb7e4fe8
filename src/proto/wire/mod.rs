pub(crate) mod codec;
mod codes;
pub(crate) mod frame;
pub(crate) mod limits;
pub(crate) mod message;
