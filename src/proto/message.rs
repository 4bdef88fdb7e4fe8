//! The messages: what they say, and their control parts as bytes.

/// The kind of a message, by its name in the wire document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Name {
    /// Placeholder until the codec stands.
    Hello,
}
