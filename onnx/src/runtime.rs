//! Finds and loads ONNX Runtime, once per process.
//!
//! The library is no part of this crate: it is loaded when the first model is opened, from a path
//! given, else from the one in the environment variable `ORT_DYLIB_PATH`, else from
//! [`setup_folder`].
//!
//! # Telemetry
//!
//! ONNX Runtime 1.31 reports to its vendor unless the environment variable `ORT_DISABLE_TELEMETRY`
//! is 1 before its library is loaded; its programming interface does not turn that off. It makes a
//! device id and a database in the user's cache folder, a file in the temporary folder, and
//! connections. Nothing of that happens here: [`load`] sets the variable, or refuses to load the
//! library where the variable is not set and cannot be set soundly.
//!
//! A process's environment may be changed only while no other thread runs, since C code reads it
//! without a lock. So a program that has several threads when the first model is opened does one of
//! these:
//!
//! - it is started with `ORT_DISABLE_TELEMETRY=1` in its environment (for programs that Cargo starts,
//!   a line below `[env]` in `.cargo/config.toml`),
//! - it calls [`load`] at the beginning of `main`, before it starts a thread (on Linux and Windows,
//!   where [`load`] can tell),
//! - it calls [`disable_telemetry`] at the beginning of `main`.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use ort::LoadDynamicError;
use ort::environment::Environment;
use ort::logging::LogLevel;

use crate::{OnnxError, Result};

pub(crate) mod requirements;

pub use requirements::{TELEMETRY_VARIABLE, VERSION};

/// The environment variable that names the library.
pub const PATH_VARIABLE: &str = "ORT_DYLIB_PATH";

/// The folder inside [`setup_folder`] that holds the build for CUDA; it is preferred.
pub const GPU_FOLDER: &str = "1.31.1-gpu";

/// The folder inside [`setup_folder`] that holds the build for the CPU alone.
pub const CPU_FOLDER: &str = "1.31.1-cpu";

/// The library's file name, as the Python wheel of [`VERSION`] has it.
pub const LIBRARY: &str = if cfg!(target_os = "macos") {
    "libonnxruntime.1.31.1.dylib"
} else if cfg!(windows) {
    "onnxruntime.dll"
} else {
    "libonnxruntime.so.1.31.1"
};

/// The CUDA library by which the others are known to lie in the same folder.
const CUDA_RUNTIME: &str = "libcudart.so.13";

/// ONNX Runtime, loaded.
#[derive(Debug)]
pub struct Runtime {
    path: PathBuf,
    environment: Environment,
}

impl Runtime {
    /// Returns the library that is in use.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Loads the CUDA libraries that set-up put beside ONNX Runtime.
    ///
    /// Its CUDA provider looks for them on the system's path only, unless they are loaded already.
    pub(crate) fn preload_cuda(&self) {
        let Some(folder) = self.path.parent().filter(|folder| folder.join(CUDA_RUNTIME).is_file())
        else {
            return;
        };
        if let Err(error) = ort::ep::cuda::preload_dylibs(Some(folder), Some(folder)) {
            tracing::warn!(%error, "a CUDA library beside ONNX Runtime cannot be loaded");
        }
    }

    pub(crate) fn environment(&self) -> &Environment {
        &self.environment
    }
}

/// Why a static? ONNX Runtime makes no second environment in a process whose first one was dropped.
static RUNTIME: OnceLock<Runtime> = OnceLock::new();

/// Sets the environment variable that keeps ONNX Runtime from reporting to its vendor.
///
/// It is for the beginning of `main`, in programs that start threads before a model is opened.
///
/// # Safety
///
/// No other thread may be running, as for [`std::env::set_var`].
#[allow(unsafe_code)]
pub unsafe fn disable_telemetry() {
    // SAFETY: the caller says that no other thread is running.
    unsafe { std::env::set_var(TELEMETRY_VARIABLE, "1") }
}

/// Loads ONNX Runtime, or returns the one that is loaded.
///
/// # Errors
///
/// [`OnnxError::RuntimeMissing`] when it is nowhere, [`OnnxError::RuntimeUnusable`] when the file is
/// another library or too old a version, [`OnnxError::RuntimeLoaded`] when `path` is given and
/// another library is in use, [`OnnxError::TelemetryOn`] when the library would report to its vendor
/// and other threads are running.
pub fn load(path: Option<&Path>) -> Result<&'static Runtime> {
    static LOADING: Mutex<()> = Mutex::new(());
    let _one_at_a_time = LOADING.lock().unwrap_or_else(PoisonError::into_inner);
    let runtime = match RUNTIME.get() {
        Some(runtime) => runtime,
        None => {
            let library = locate(&Places::of_this_process(path))?;
            ensure_no_telemetry()?;
            let runtime = open(library)?;
            RUNTIME.get_or_init(|| runtime)
        }
    };
    match path.map(absolute) {
        Some(asked) if asked != runtime.path => {
            Err(OnnxError::RuntimeLoaded { loaded: runtime.path.clone(), asked })
        }
        _ => Ok(runtime),
    }
}

/// Sets the variable against telemetry where it is not set, provided that this is sound.
#[allow(unsafe_code)]
fn ensure_no_telemetry() -> Result<()> {
    // Other values, as 0 and false, leave it on.
    if matches!(std::env::var(TELEMETRY_VARIABLE).as_deref(), Ok("1" | "true" | "yes")) {
        return Ok(());
    }
    if !may_change_environment() {
        return Err(OnnxError::TelemetryOn);
    }
    // SAFETY: this is the only thread, and none but itself could start another; on Windows the
    // environment has a lock of its own.
    unsafe { disable_telemetry() };
    Ok(())
}

/// Tells whether the environment can be changed soundly: on Windows always, else on the only thread.
fn may_change_environment() -> bool {
    if cfg!(windows) {
        return true;
    }
    // A thread that was joined is listed for a moment yet.
    for _ in 0..20 {
        match std::fs::read_dir("/proc/self/task").map(Iterator::count) {
            Ok(1) => return true,
            Ok(_) => std::thread::sleep(std::time::Duration::from_millis(5)),
            // Other systems do not tell how many threads there are.
            Err(_) => return false,
        }
    }
    false
}

/// Returns the folder that set-up fills, `autotag/onnxruntime` in the user's data folder.
///
/// The data folder is `$XDG_DATA_HOME`, else `$HOME/.local/share`; `None` where neither is set.
pub fn setup_folder() -> Option<PathBuf> {
    Places::of_this_process(None).setup_folder()
}

/// Where the library may be.
#[derive(Clone, Debug, Default)]
struct Places {
    given: Option<PathBuf>,
    path_variable: Option<PathBuf>,
    data_home: Option<PathBuf>,
    home: Option<PathBuf>,
}

impl Places {
    fn of_this_process(given: Option<&Path>) -> Self {
        let variable = |name| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        Places {
            given: given.map(Path::to_path_buf),
            path_variable: variable(PATH_VARIABLE),
            data_home: variable("XDG_DATA_HOME"),
            home: variable("HOME"),
        }
    }

    fn setup_folder(&self) -> Option<PathBuf> {
        let in_home = || self.home.as_ref().map(|home| home.join(".local/share"));
        let data_home = self.data_home.clone().or_else(in_home)?;
        Some(data_home.join("autotag").join("onnxruntime"))
    }

    /// Lists the files to try: a path that the user named stands alone.
    fn candidates(&self) -> Vec<PathBuf> {
        if let Some(named) = self.given.as_ref().or(self.path_variable.as_ref()) {
            return vec![absolute(named)];
        }
        let in_setup =
            |folder: PathBuf| [GPU_FOLDER, CPU_FOLDER].map(|f| folder.join(f).join(LIBRARY));
        self.setup_folder().map(|folder| in_setup(folder).to_vec()).unwrap_or_default()
    }
}

fn locate(places: &Places) -> Result<PathBuf> {
    let looked_at = places.candidates();
    match looked_at.iter().find(|candidate| candidate.is_file()) {
        Some(library) => Ok(library.clone()),
        None => Err(OnnxError::RuntimeMissing { looked_at }),
    }
}

/// Makes a path absolute: ort reads a relative one from the program's folder, users from their own.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf())
}

fn open(path: PathBuf) -> Result<Runtime> {
    let builder = match ort::init_from(&path) {
        Ok(builder) => builder,
        Err(error) => return Err(unusable(path, load_failure(&error))),
    };
    let builder = builder.with_name("autotag").with_telemetry(false);
    match builder.with_logger(Arc::new(log)).build() {
        Ok(environment) => {
            environment.set_log_level(LogLevel::Warning);
            tracing::debug!(path = %path.display(), "loaded ONNX Runtime");
            Ok(Runtime { path, environment })
        }
        Err(error) => Err(unusable(path, error.to_string())),
    }
}

/// Passes ONNX Runtime's messages on, which it would write to standard error.
///
/// A failure is returned as an error too; these lines are for whoever looks for its cause.
fn log(_: LogLevel, category: &str, _: &str, code_location: &str, message: &str) {
    tracing::debug!(category, code_location, message, "ONNX Runtime");
}

fn load_failure(error: &LoadDynamicError) -> String {
    match error {
        LoadDynamicError::Dlopen { error, .. } => {
            // The linker's own words, which name a missing library, are the error's source.
            let cause = error.source().map_or_else(|| error.to_string(), ToString::to_string);
            format!("it does not load ({cause})")
        }
        LoadDynamicError::MissingApi { .. } => "it is another library".to_owned(),
        LoadDynamicError::BadVersion { version_str, .. } => {
            format!("its version {version_str} is too old, 1.24 is the oldest that works")
        }
        LoadDynamicError::InvalidVersionString => "it tells no version".to_owned(),
    }
}

fn unusable(path: PathBuf, reason: String) -> OnnxError {
    OnnxError::RuntimeUnusable { path, reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A user's machine with the given files, and the home of that user.
    fn machine(files: &[&str]) -> (tempfile::TempDir, Places) {
        let root = tempfile::tempdir().unwrap();
        for file in files {
            let path = root.path().join(file);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "no library").unwrap();
        }
        let places = Places { home: Some(root.path().to_path_buf()), ..Places::default() };
        (root, places)
    }

    fn in_home(folder: &str) -> String {
        format!(".local/share/autotag/onnxruntime/{folder}/{LIBRARY}")
    }

    #[test]
    fn the_build_for_cuda_is_preferred() {
        let (root, places) = machine(&[&in_home(GPU_FOLDER), &in_home(CPU_FOLDER)]);
        assert_eq!(locate(&places).unwrap(), root.path().join(in_home(GPU_FOLDER)));
        let (root, places) = machine(&[&in_home(CPU_FOLDER)]);
        assert_eq!(locate(&places).unwrap(), root.path().join(in_home(CPU_FOLDER)));
    }

    #[test]
    fn a_path_given_stands_before_the_variable_and_the_folder() {
        let (root, mut places) = machine(&[&in_home(CPU_FOLDER), "variable.so", "given.so"]);
        places.path_variable = Some(root.path().join("variable.so"));
        assert_eq!(locate(&places).unwrap(), root.path().join("variable.so"));
        places.given = Some(root.path().join("given.so"));
        assert_eq!(locate(&places).unwrap(), root.path().join("given.so"));
    }

    #[test]
    fn a_named_library_that_is_missing_is_not_replaced_by_another() {
        let (root, mut places) = machine(&[&in_home(CPU_FOLDER)]);
        places.path_variable = Some(root.path().join("gone.so"));
        let message = locate(&places).unwrap_err().to_string();
        assert!(message.contains("gone.so"), "{message}");
        assert!(!message.contains(CPU_FOLDER), "{message}");
    }

    #[test]
    fn a_missing_runtime_is_reported_with_places_and_remedies() {
        let (_root, places) = machine(&[]);
        let message = locate(&places).unwrap_err().to_string();
        for part in [GPU_FOLDER, CPU_FOLDER, "autotag setup --gpu", PATH_VARIABLE] {
            assert!(message.contains(part), "{message}");
        }
        let message = locate(&Places::default()).unwrap_err().to_string();
        assert!(message.contains("HOME"), "{message}");
    }

    #[test]
    fn libraries_that_do_not_fit_are_reported_with_the_reason() {
        let path = PathBuf::from("libonnxruntime.so");
        let version_str = "1.16.3".to_owned();
        let old = LoadDynamicError::BadVersion { version_str, path: path.clone() };
        assert!(load_failure(&old).contains("1.16.3"));
        let other = LoadDynamicError::MissingApi { path };
        assert!(load_failure(&other).contains("another library"));
    }

    #[test]
    fn one_runtime_serves_the_whole_process() {
        let first = load(None).unwrap();
        assert!(std::ptr::eq(load(None).unwrap(), first));
        assert!(std::ptr::eq(load(Some(first.path())).unwrap(), first));
        let error = load(Some(Path::new("other.so"))).unwrap_err();
        assert!(matches!(error, OnnxError::RuntimeLoaded { .. }), "{error}");
    }
}
