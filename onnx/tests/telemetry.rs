//! Beside other threads ONNX Runtime is not loaded, unless its telemetry was turned off before.

#![allow(clippy::unwrap_used)]

use std::process::Command;
use std::sync::mpsc;
use std::thread;

use autotag_onnx::{OnnxError, runtime};

#[cfg(unix)]
#[test]
fn beside_other_threads_nothing_is_loaded_unless_the_variable_is_set() {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "child_beside_another_thread", "--ignored"]);
    let output = child.env_remove(runtime::TELEMETRY_VARIABLE).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

#[test]
#[ignore = "a child of the other test"]
fn child_beside_another_thread() {
    let (end, ended) = mpsc::channel::<()>();
    let other = thread::spawn(move || ended.recv());
    for _ in 0..2 {
        let error = runtime::load(None).unwrap_err();
        assert!(matches!(error, OnnxError::TelemetryOn), "{error}");
        assert!(error.to_string().contains("ORT_DISABLE_TELEMETRY=1"), "{error}");
    }
    assert_eq!(std::env::var_os(runtime::TELEMETRY_VARIABLE), None);
    drop(end);
    assert!(other.join().unwrap().is_err());
}
