//! Loading ONNX Runtime, in a process that has not loaded it: it is loaded once only.

#![allow(clippy::unwrap_used)]

use autotag_onnx::{OnnxError, runtime};

#[test]
fn what_is_missing_or_no_library_is_reported_and_does_not_hinder_the_next_try() {
    let root = tempfile::tempdir().unwrap();
    let gone = root.path().join("gone.so");
    let error = runtime::load(Some(&gone)).unwrap_err();
    assert!(matches!(&error, OnnxError::RuntimeMissing { looked_at } if *looked_at == [gone]));
    assert!(error.to_string().contains("autotag setup"), "{error}");

    let text = root.path().join("text.so");
    std::fs::write(&text, "no library").unwrap();
    let error = runtime::load(Some(&text)).unwrap_err();
    assert!(matches!(&error, OnnxError::RuntimeUnusable { path, .. } if *path == text));
    // The linker's own words, which differ from system to system, name the file.
    assert!(error.to_string().matches("text.so").count() > 1, "{error}");

    runtime::load(None).unwrap();
}
