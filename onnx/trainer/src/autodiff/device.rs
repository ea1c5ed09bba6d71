pub(crate) use burn::tensor::Device;

use crate::{Result, TrainError};

/// Returns the device to train on.
///
/// # Errors
///
/// [`TrainError::TrainingDevice`] for a CUDA device that this build, or this machine, does not have.
pub(crate) fn training_device(asked: autotag_onnx::Device) -> Result<Device> {
    let device = match asked {
        autotag_onnx::Device::Cpu => Device::flex(),
        autotag_onnx::Device::Auto => cuda::first().unwrap_or_else(Device::flex),
        autotag_onnx::Device::Cuda(number) => cuda::at(number)
            .map_err(|reason| TrainError::TrainingDevice { device: asked, reason })?,
    };
    tracing::info!(?device, "training");
    Ok(device)
}

#[cfg(feature = "cuda")]
mod cuda {
    use std::path::Path;

    use burn::tensor::{Device, DeviceType};

    /// Returns the machine's first CUDA device.
    pub(super) fn first() -> Option<Device> {
        devices().ok()?.into_iter().next()
    }

    pub(super) fn at(number: u32) -> Result<Device, String> {
        let devices = devices()?;
        let n = devices.len();
        devices
            .into_iter()
            .nth(number as usize)
            .ok_or_else(|| format!("this machine has {n} CUDA devices, numbered from 0"))
    }

    /// The device files of NVIDIA's driver, and of the Windows Subsystem for Linux in its place.
    const DRIVER: [&str; 2] = ["/dev/nvidiactl", "/dev/dxg"];

    /// Lists the CUDA devices.
    ///
    /// Why catch a panic? Burn panics where the driver's library is missing, and has no other way of
    /// asking whether it is there.
    fn devices() -> Result<Vec<Device>, String> {
        let no_driver = || "the CUDA driver cannot be loaded: install NVIDIA's".to_owned();
        if cfg!(target_os = "linux") && !DRIVER.iter().any(|path| Path::new(path).exists()) {
            return Err(no_driver());
        }
        let listed = std::panic::catch_unwind(|| Device::enumerate(DeviceType::Cuda).into_vec());
        listed.map_err(|_| no_driver())
    }
}

#[cfg(not(feature = "cuda"))]
mod cuda {
    use burn::tensor::Device;

    pub(super) fn first() -> Option<Device> {
        None
    }

    pub(super) fn at(_: u32) -> Result<Device, String> {
        Err("this program was built without the feature `cuda`: build it with \
             `--features cuda`, or train on the CPU with `--device cpu`"
            .to_owned())
    }
}
