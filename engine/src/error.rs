//! The errors of opening bundles and indexes.

use std::io;
use std::path::PathBuf;

use autotag_onnx::OnnxError;

/// The result of opening a bundle or an index.
pub type Result<T, E = EngineError> = std::result::Result<T, E>;

/// A bundle, an index or an output place that cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[allow(missing_docs)]
pub enum EngineError {
    #[error(transparent)]
    Bundle(#[from] OnnxError),
    #[error(transparent)]
    Index(#[from] tantivy_autotag::Error),
    #[error(
        "the bundle of the index {} cannot be opened: say with --bundle where it is", index.display()
    )]
    BundleOfIndex { index: PathBuf, source: Box<OnnxError> },
    #[error(
        "the index {} was made without a bundle, with an encoder of a program's own: tag and correct with that program, or migrate the index to a bundle", index.display()
    )]
    WithoutBundle { index: PathBuf },
    #[error("{} is a folder: name a file to write to", path.display())]
    IsFolder { path: PathBuf },
    #[error("{} is a file: nothing can be written below it", path.display())]
    IsFile { path: PathBuf },
    #[error("{} cannot be written: there is no folder {}, make it first", path.display(), folder.display())]
    NoFolder { path: PathBuf, folder: PathBuf },
    #[error("{} cannot be written", path.display())]
    WriteFile { path: PathBuf, source: io::Error },
    #[error("nothing can be written to {}", path.display())]
    WriteFolder { path: PathBuf, source: io::Error },
    #[error("the folder {} cannot be read", path.display())]
    ReadFolder { path: PathBuf, source: io::Error },
    #[error("{} cannot be inspected", path.display())]
    Inspect { path: PathBuf, source: io::Error },
}
