//! Shared parts of transports in which a thread waits: queues, deadlines, and closing with
//! patience.

#[cfg(any(feature = "tcp", unix))]
pub(super) mod accept_timeout;
pub(super) mod byte_queue;
#[cfg(any(feature = "tcp", unix))]
pub(super) mod deadline;
#[cfg(any(feature = "tcp", unix))]
pub(super) mod linger;
pub(super) mod monitor;
