//! The workspace's crates, as cargo describes them.

use anyhow::{Context, Result};
use serde_json::Value;

use crate::process;

/// A crate that is published.
#[derive(Debug)]
pub(crate) struct Crate {
    pub(crate) name: String,
    pub(crate) version: String,
    /// The entry of `cargo metadata`.
    pub(crate) metadata: Value,
}

impl Crate {
    /// Returns the file name of its archive, without the extension; its folder has the same name.
    pub(crate) fn archive(&self) -> String {
        format!("{}-{}", self.name, self.version)
    }

    pub(crate) fn is_library(&self) -> bool {
        let targets = self.metadata["targets"].as_array();
        targets.into_iter().flatten().any(|target| target["kind"][0] == "lib")
    }
}

/// Returns the crates that are published, in the order of their names.
pub(crate) fn published() -> Result<Vec<Crate>> {
    let metadata = process::metadata()?;
    let mut crates = Vec::new();
    for package in metadata["packages"].as_array().into_iter().flatten() {
        // An empty list stands for `publish = false`.
        if package["publish"].is_null() {
            let text = |key: &str| package[key].as_str().map(str::to_owned);
            let (name, version) = (text("name"), text("version"));
            crates.push(Crate {
                name: name.context("a package has no name")?,
                version: version.context("a package has no version")?,
                metadata: package.clone(),
            });
        }
    }
    crates.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(crates)
}
