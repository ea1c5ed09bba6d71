//! On the only thread, ONNX Runtime's telemetry is turned off before it is loaded.
//!
//! Without the usual harness, which runs tests on threads of their own; it answers as that does.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::env;
use std::process::Command;

use autotag_onnx::runtime;

const TEST: &str = "the_only_thread_turns_telemetry_off";

/// Given to a process that was started without the variable.
const CHILD: &str = "--child";

fn main() {
    let asked = |argument: &str| env::args().any(|given| given == argument);
    if asked(CHILD) {
        assert_eq!(env::var_os(runtime::TELEMETRY_VARIABLE), None);
        runtime::load(None).unwrap();
        assert_eq!(env::var(runtime::TELEMETRY_VARIABLE).unwrap(), "1");
    } else if asked("--list") {
        if !asked("--ignored") {
            println!("{TEST}: test");
        }
    } else if cfg!(any(target_os = "linux", windows)) {
        // Other systems do not tell whether there are other threads.
        let mut child = Command::new(env::current_exe().unwrap());
        let status = child.arg(CHILD).env_remove(runtime::TELEMETRY_VARIABLE).status().unwrap();
        assert!(status.success());
        println!("test {TEST} ... ok");
    }
}
