//! The version of ONNX Runtime, and the setting that it needs.

/// The version of ONNX Runtime that set-up installs and the tests run with.
///
/// Any version from 1.24 on is accepted.
pub const VERSION: &str = "1.31.1";

/// The environment variable that keeps ONNX Runtime from reporting to its vendor.
pub const TELEMETRY_VARIABLE: &str = "ORT_DISABLE_TELEMETRY";
