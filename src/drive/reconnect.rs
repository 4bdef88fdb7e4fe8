//! Progress of a transfer over lost connections.

use super::parked::Parked;
use crate::store::Store;
use crate::types::Summary;

/// Measure of whether a connection was of any use.
pub(super) trait HasProgress {
    /// Grows with each step that no later connection takes again.
    fn progress(&self) -> u64;

    /// Returns the sum, if all receipts are in: then nothing but the goodbye was lost.
    fn settled(&self) -> Option<Summary>;
}

/// Content that a receiver got over all connections.
pub(super) struct Arrived<S: Store> {
    /// Remains of the last connection, with the store in which its files are open.
    pub(super) left: Option<(S, Parked<S>)>,
    pub(super) steps: u64,
}

impl<S: Store> HasProgress for Arrived<S> {
    fn progress(&self) -> u64 {
        self.steps
    }

    fn settled(&self) -> Option<Summary> {
        None
    }
}
