use std::path::PathBuf;

/// The result of this crate's fallible functions.
pub type Result<T, E = OnnxError> = std::result::Result<T, E>;

/// What can go wrong with ONNX Runtime, a device or a model bundle.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OnnxError {
    /// ONNX Runtime's library is nowhere.
    #[error(
        "ONNX Runtime was not found (looked at {}): run `cargo xtask setup` in the project's checkout (`cargo xtask setup --gpu` for CUDA), or set ORT_DYLIB_PATH to the libonnxruntime.so of the `onnxruntime` Python wheel",
        crate::runtime::list(looked_at)
    )]
    RuntimeMissing {
        /// The places looked at, in their order.
        looked_at: Vec<PathBuf>,
    },

    /// A library is there but is no ONNX Runtime that this program can use.
    #[error(
        "{} cannot be used as ONNX Runtime: {reason}; run `cargo xtask setup` in the project's checkout, or set ORT_DYLIB_PATH to the libonnxruntime.so of the `onnxruntime` Python wheel, version {}",
        path.display(),
        crate::runtime::VERSION
    )]
    RuntimeUnusable {
        /// The library.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },

    /// Another library than the one asked for is in use already.
    #[error(
        "ONNX Runtime was loaded from {} already and cannot be loaded from {} too: choose one per process",
        loaded.display(), asked.display()
    )]
    RuntimeLoaded {
        /// The library in use.
        loaded: PathBuf,
        /// The library asked for.
        asked: PathBuf,
    },
}
