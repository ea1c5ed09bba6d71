//! Where a model runs.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The device asked for: `auto`, `cpu` or `cuda:N`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Device {
    /// The first CUDA device where one can be used, else the CPU.
    #[default]
    Auto,
    /// The CPU.
    Cpu,
    /// The CUDA device of that number, or an error.
    Cuda(u32),
}

impl fmt::Display for Device {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Device::Auto => formatter.write_str("auto"),
            Device::Cpu => formatter.write_str("cpu"),
            Device::Cuda(number) => write!(formatter, "cuda:{number}"),
        }
    }
}

impl FromStr for Device {
    type Err = ParseDeviceError;

    fn from_str(text: &str) -> Result<Self, ParseDeviceError> {
        match text {
            "auto" => Ok(Device::Auto),
            "cpu" => Ok(Device::Cpu),
            _ => parse_cuda(text).ok_or_else(|| ParseDeviceError { text: text.to_owned() }),
        }
    }
}

/// Parses `cuda:N`; ONNX Runtime takes device numbers as signed 32-bit integers.
fn parse_cuda(text: &str) -> Option<Device> {
    let digits = text.strip_prefix("cuda:")?;
    let number: u32 = digits.parse().ok()?;
    let is_plain = digits.bytes().all(|byte| byte.is_ascii_digit());
    (is_plain && i32::try_from(number).is_ok()).then_some(Device::Cuda(number))
}

impl TryFrom<String> for Device {
    type Error = ParseDeviceError;

    fn try_from(text: String) -> Result<Self, ParseDeviceError> {
        text.parse()
    }
}

impl From<Device> for String {
    fn from(device: Device) -> String {
        device.to_string()
    }
}

/// A text names no device.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is no device: give auto, cpu or cuda:N with the number of a CUDA device, as cuda:0"
)]
pub struct ParseDeviceError {
    text: String,
}

/// The device that a model runs on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeviceInUse {
    /// The CPU, as was asked.
    Cpu,
    /// The CUDA device of that number.
    Cuda(u32),
    /// The CPU, since [`Device::Auto`] found that CUDA cannot be used.
    CpuInsteadOfCuda {
        /// Why not.
        reason: String,
    },
}

impl fmt::Display for DeviceInUse {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DeviceInUse::Cpu => formatter.write_str("cpu"),
            DeviceInUse::Cuda(number) => write!(formatter, "cuda:{number}"),
            DeviceInUse::CpuInsteadOfCuda { .. } => {
                formatter.write_str("cpu (CUDA cannot be used)")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_round_trip_as_text() {
        for device in [Device::Auto, Device::Cpu, Device::Cuda(0), Device::Cuda(12)] {
            assert_eq!(device.to_string().parse(), Ok(device));
            let json = serde_json::to_string(&device).unwrap();
            assert_eq!(serde_json::from_str::<Device>(&json).unwrap(), device);
        }
    }

    #[test]
    fn other_texts_are_no_devices() {
        for text in ["", "gpu", "CPU", "cuda", "cuda:", "cuda:-1", "cuda:+1", "cuda:4294967295"] {
            let message = text.parse::<Device>().unwrap_err().to_string();
            assert!(message.contains("cuda:N"), "{message}");
        }
    }
}
