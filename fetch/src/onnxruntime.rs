//! ONNX Runtime, which models are run by: fetched into the folder where `autotag-onnx` looks for it.
//!
//! ```no_run
//! use autotag_fetch::onnxruntime::{self, Build};
//!
//! // At the start of a service, before it loads a model: the next time, nothing is fetched.
//! onnxruntime::install(Build::Cpu, &mut |event| eprintln!("{event:?}"))?;
//! # Ok::<(), autotag_fetch::FetchError>(())
//! ```

use std::env::consts::{ARCH, OS};
use std::path::PathBuf;

use crate::install::{Outcome, install as install_wheels};
use crate::{Event, FetchError, Result, Wheel, data_home};

/// The builds of ONNX Runtime.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Build {
    /// For the CPU alone.
    Cpu,
    /// For NVIDIA GPUs, with the CUDA 13 and cuDNN 9 libraries that it needs: 1.6 GB to download, 2.4 GB
    /// on disk. The machine itself needs an NVIDIA driver for CUDA 13.
    Gpu,
}

/// The CPython version of the wheels; the libraries inside do not depend on it.
const PYTHON: &str = "3.12";

const CPU_X86_64: &[Wheel] = &[Wheel {
    requirement: "onnxruntime==1.31.1",
    sha256: "1f3dea47f2f0e5117c2404cea7d21fd253ae7836a3bf167a501cdfbb2600d536",
    platforms: &["manylinux_2_28_x86_64"],
    python: PYTHON,
    folder: "onnxruntime/capi",
    prefix: "libonnxruntime",
}];

const CPU_AARCH64: &[Wheel] = &[Wheel {
    requirement: "onnxruntime==1.31.1",
    sha256: "0b9a492176886992e0e875f06bc0367e333f5fff11711a2d642e18b02f3009cc",
    platforms: &["manylinux_2_28_aarch64"],
    python: PYTHON,
    folder: "onnxruntime/capi",
    prefix: "libonnxruntime",
}];

/// ONNX Runtime and what `onnxruntime-gpu[cuda,cudnn]` asks for, with what those link to.
const GPU_X86_64: &[Wheel] = &[
    Wheel {
        requirement: "onnxruntime-gpu==1.31.1",
        sha256: "05d548956197b9d01f59b625de740e0d6be3593f874e241a12dc0362650ecdf7",
        platforms: &["manylinux_2_28_x86_64"],
        python: PYTHON,
        folder: "onnxruntime/capi",
        prefix: "libonnxruntime",
    },
    nvidia(
        "nvidia-cuda-runtime==13.5.37",
        "df2b79a8852f10d1fef8c848489c49eebb5754051bf870202a862831412b179d",
    ),
    nvidia(
        "nvidia-cublas==13.10.0.20",
        "dcc6d63884c53d07e267ce7e6feac17b2538cebaafec5db865736c3e28e4dc84",
    ),
    nvidia(
        "nvidia-cuda-nvrtc==13.5.37",
        "86b4d68058807988b7d9af5b44917a0601e9c337f35ccd657bfb3c759ff8d8bc",
    ),
    nvidia(
        "nvidia-nvjitlink==13.5.37",
        "280d7cb9649704145f074b8dbde500de04ce02d0872e066e20a83c17bcaa93eb",
    ),
    nvidia(
        "nvidia-cufft==12.5.0.14",
        "b8be26837a5abad2b5b74f3e92dd29f622a42934b355be0961a48712cbba23ad",
    ),
    nvidia(
        "nvidia-curand==10.4.5.25",
        "22bb226a857e5888fe6b54ae465fc4371296bcff13a35f79e19691bcf454f529",
    ),
    Wheel {
        folder: "nvidia/cudnn/lib",
        ..nvidia(
            "nvidia-cudnn-cu13==9.28.1.4",
            "a54f205b1db1f2895d99f398754db1369816f0569dd459731f925635cf7b65ec",
        )
    },
];

const fn nvidia(requirement: &'static str, sha256: &'static str) -> Wheel {
    let platforms = &[
        "manylinux_2_27_x86_64",
        "manylinux_2_17_x86_64",
        "manylinux_2_12_x86_64",
        "manylinux_2_5_x86_64",
    ];
    Wheel {
        requirement,
        sha256,
        platforms,
        python: PYTHON,
        folder: "nvidia/cu13/lib",
        prefix: "lib",
    }
}

/// Returns the folder of a build: in `autotag/onnxruntime` in the user's data folder.
///
/// # Errors
///
/// As [`data_home`].
pub fn folder(build: Build) -> Result<PathBuf> {
    let name = match build {
        Build::Cpu => "1.31.1-cpu",
        Build::Gpu => "1.31.1-gpu",
    };
    Ok(data_home()?.join("autotag/onnxruntime").join(name))
}

/// Fetches a build of ONNX Runtime into its [`folder`], unless it is there and intact.
///
/// # Errors
///
/// [`FetchError::NoBuild`] for a machine that no wheel is pinned for, else as [`crate::install`].
pub fn install(build: Build, progress: &mut dyn FnMut(Event<'_>)) -> Result<Outcome> {
    install_wheels(wheels(build, OS, ARCH)?, &folder(build)?, progress)
}

fn wheels(build: Build, os: &str, arch: &str) -> Result<&'static [Wheel]> {
    match (build, os, arch) {
        (Build::Cpu, "linux", "x86_64") => Ok(CPU_X86_64),
        (Build::Cpu, "linux", "aarch64") => Ok(CPU_AARCH64),
        (Build::Gpu, "linux", "x86_64") => Ok(GPU_X86_64),
        _ => {
            let (build, package) = match build {
                Build::Cpu => ("CPU", "onnxruntime"),
                Build::Gpu => ("GPU", "onnxruntime-gpu"),
            };
            let (os, arch) = (os.to_owned(), arch.to_owned());
            Err(FetchError::NoBuild { build, package, os, arch })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_machine_gets_its_own_build() {
        let platform = |build, arch| wheels(build, "linux", arch).unwrap()[0].platforms[0];
        assert_eq!(platform(Build::Cpu, "x86_64"), "manylinux_2_28_x86_64");
        assert_eq!(platform(Build::Cpu, "aarch64"), "manylinux_2_28_aarch64");
        assert_eq!(platform(Build::Gpu, "x86_64"), "manylinux_2_28_x86_64");
    }

    #[test]
    fn other_machines_are_told_of_the_variable() {
        for (build, os, arch) in
            [(Build::Cpu, "macos", "aarch64"), (Build::Gpu, "linux", "aarch64")]
        {
            let message = wheels(build, os, arch).unwrap_err().to_string();
            assert!(message.contains("ORT_DYLIB_PATH") && message.contains(os), "{message}");
        }
    }
}
