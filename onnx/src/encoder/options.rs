//! Options for running a model.

use std::num::NonZeroUsize;

use crate::Device;

/// Options for running a model.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct OnnxOptions {
    /// Where it is run.
    pub device: Device,
    /// The number of batches that are encoded at the same time; on the CPU the sessions share the weights.
    pub sessions: NonZeroUsize,
    /// The threads of each session.
    pub intra_threads: NonZeroUsize,
}

impl Default for OnnxOptions {
    /// Returns one session of one thread per core, on the best device.
    ///
    /// Several batches at once use the cores better than several threads in one small batch.
    fn default() -> Self {
        let sessions = std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
        OnnxOptions { device: Device::Auto, sessions, intra_threads: NonZeroUsize::MIN }
    }
}
