//! These hold on a machine without a GPU as on one with it.

use autotag_onnx::{Device, DeviceInUse, ModelBundle, OnnxEncoder, OnnxError, OnnxOptions};

use crate::fixture::{self, parts};

fn open_on(device: Device) -> autotag_onnx::Result<OnnxEncoder> {
    let (_root, path) = fixture::bundle(parts());
    let mut options: OnnxOptions = fixture::on_cpu();
    options.device = device;
    OnnxEncoder::open(&ModelBundle::open(&path)?, &options)
}

#[test]
fn the_cpu_is_used_when_asked_for() {
    assert_eq!(*open_on(Device::Cpu).unwrap().device(), DeviceInUse::Cpu);
}

#[test]
fn a_cuda_device_is_used_or_refused_with_what_is_missing() {
    match open_on(Device::Cuda(0)) {
        Ok(encoder) => assert_eq!(*encoder.device(), DeviceInUse::Cuda(0)),
        Err(error) => {
            let OnnxError::DeviceUnavailable { device, .. } = &error else { panic!("{error}") };
            assert_eq!(*device, Device::Cuda(0));
            let message = error.to_string();
            for part in ["cuda:0", "driver", "cuDNN", "setup --gpu", "--device cpu"] {
                assert!(message.contains(part), "{message}");
            }
        }
    }
}

#[test]
fn a_cuda_device_that_no_machine_has_is_refused() {
    let error = open_on(Device::Cuda(9999)).unwrap_err();
    assert!(matches!(error, OnnxError::DeviceUnavailable { .. }), "{error}");
}

#[test]
fn a_device_is_checked_without_a_model_as_with_one() {
    let mut options = fixture::on_cpu();
    for device in [Device::Auto, Device::Cpu, Device::Cuda(0)] {
        options.device = device;
        assert_eq!(options.check_device().is_ok(), open_on(device).is_ok(), "{device}");
    }
}

#[test]
fn auto_tells_which_device_it_got() {
    let has_cuda = open_on(Device::Cuda(0)).is_ok();
    let encoder = open_on(Device::Auto).unwrap();
    match encoder.device() {
        DeviceInUse::Cuda(0) => assert!(has_cuda),
        DeviceInUse::CpuInsteadOfCuda { reason } => assert!(!has_cuda && !reason.is_empty()),
        other => panic!("{other}"),
    }
}
