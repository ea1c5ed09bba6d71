use std::io;
use std::path::{Path, PathBuf};

use autotag::EncodeError;
use autotag_onnx::OnnxError;
use autotag_train::TrainError;

/// The result of the laboratory's fallible functions.
pub type Result<T, E = LabError> = std::result::Result<T, E>;

/// An error of making runs or of their report.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LabError {
    /// A file or folder could not be read or written.
    #[error("could not {action} {}", path.display())]
    Io {
        /// The action, as "write".
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },

    /// Another process works in the folder of runs.
    #[error(
        "another ablation works in {}: wait until it is done, or give another folder",
        path.display()
    )]
    Busy {
        /// The folder.
        path: PathBuf,
    },

    /// A file in the folder of runs does not hold what was written there.
    #[error("{} is damaged: {reason}; remove its folder and run `autotag ablate` again", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The cause.
        reason: String,
    },

    /// A file is not what `autotag plot` draws.
    #[error(
        "{} is neither the output of `autotag compare --format json` nor a file that peers.py wrote: {reason}",
        path.display()
    )]
    NotMeasured {
        /// The file.
        path: PathBuf,
        /// The cause.
        reason: String,
    },

    /// The folder has no run that can be reported.
    #[error("{} has no finished run to report{}: run `autotag ablate --runs` with it first",
        path.display(), of_others(*n_others))]
    NoRuns {
        /// The folder.
        path: PathBuf,
        /// The runs in it that another version of the program has made.
        n_others: usize,
    },

    /// All training texts have the same single label.
    #[error(
        "every training text has the one label {label:?} and nothing else, so there is nothing to tell apart: give a data set with two labels or more"
    )]
    OneLabel {
        /// The label.
        label: String,
    },

    /// There are too few training texts to split a dev part off.
    #[error(
        "there is no dev part, and {n_texts} training texts are too few to split one off: give dev, or at least {least} texts"
    )]
    TooFewTexts {
        /// The number of training texts.
        n_texts: usize,
        /// The number that is needed.
        least: usize,
    },

    /// A text could not be run through the model.
    #[error("document {key:?} of the {part} part cannot be tagged: correct it, or leave it out")]
    Text {
        /// The part of the data set.
        part: &'static str,
        /// The document's key.
        key: String,
        /// The cause.
        #[source]
        source: EncodeError,
    },

    /// The work was asked to end before it was done.
    #[error("interrupted after {done} of {of} runs: the same command goes on from here")]
    Interrupted {
        /// The runs that are done.
        done: usize,
        /// The runs that there are.
        of: usize,
    },

    /// A figure could not be drawn.
    #[error("the figure {name:?} could not be drawn: {reason}")]
    Figure {
        /// The figure.
        name: &'static str,
        /// The plotting library's words.
        reason: String,
    },

    /// Training failed.
    #[error(transparent)]
    Train(#[from] TrainError),

    /// The core failed.
    #[error(transparent)]
    Core(#[from] autotag::Error),

    /// The bundle or ONNX Runtime failed.
    #[error(transparent)]
    Onnx(#[from] OnnxError),
}

/// Says that a folder's runs are another version's, where it has some.
fn of_others(n_others: usize) -> String {
    match n_others {
        0 => String::new(),
        _ => format!(", only {n_others} of another version of autotag"),
    }
}

impl LabError {
    /// Returns what makes an error of a failed operation on a file.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> LabError {
        move |source| LabError::Io { action, path: path.to_path_buf(), source }
    }

    pub(crate) fn damaged(path: &Path, reason: impl ToString) -> LabError {
        LabError::Damaged { path: path.to_path_buf(), reason: reason.to_string() }
    }
}
