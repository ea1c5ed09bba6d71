//! `autotag setup`: ONNX Runtime, fetched into the user's data folder.

use std::path::PathBuf;

use autotag_fetch::Outcome;
use autotag_fetch::onnxruntime::{self, Build};
use serde::Serialize;

use super::fetch::log;
use crate::args::Common;
use crate::output::{self, Report};

/// Download ONNX Runtime, which models run on, with Python's pip, checked by its digest
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  autotag setup
  autotag setup --gpu

It goes into autotag/onnxruntime in the user's data folder, where every program with this library looks
for it. With a library from elsewhere, set ORT_DYLIB_PATH to its path instead.")]
pub(crate) struct SetupArgs {
    /// The build for NVIDIA GPUs, with the CUDA and cuDNN libraries (1.6 GB to download, 2.4 GB on disk);
    /// the machine needs an NVIDIA driver for CUDA 13
    #[arg(long)]
    gpu: bool,
}

pub(crate) fn run(args: &SetupArgs, common: &Common) -> anyhow::Result<()> {
    let build = if args.gpu { Build::Gpu } else { Build::Cpu };
    let folder = onnxruntime::folder(build)?;
    let was_there = onnxruntime::install(build, &mut log)? == Outcome::AlreadyThere;
    output::print(common.format, &Installed { folder, was_there })?;
    Ok(())
}

/// The fetched library.
#[derive(Debug, Serialize)]
struct Installed {
    folder: PathBuf,
    /// Nothing had to be fetched.
    was_there: bool,
}

impl Report for Installed {
    fn to_text(&self) -> String {
        let how = if self.was_there { "is there and whole" } else { "was fetched" };
        format!("ONNX Runtime {how}: {}\n", output::path(&self.folder))
    }
}

#[cfg(test)]
mod tests {
    use autotag_onnx::runtime;

    use super::*;

    #[test]
    fn onnx_runtime_is_put_where_it_is_looked_for() {
        let searched = runtime::setup_folder().unwrap();
        for (build, name) in [(Build::Cpu, runtime::CPU_FOLDER), (Build::Gpu, runtime::GPU_FOLDER)]
        {
            assert_eq!(onnxruntime::folder(build).unwrap(), searched.join(name));
        }
    }
}
