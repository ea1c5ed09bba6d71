//! The archives that are published, and a program built from them alone.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::crates::{self, Crate};
use crate::{process, wheel};

/// The examples that the consumer builds as programs of its own.
const WITHOUT_A_MODEL: &str = include_str!("../../examples/without_a_model.rs");
const FASTEMBED: &str = include_str!("../../examples/fastembed/src/main.rs");

/// Packages every crate that is published, then builds and runs programs of a crate outside the
/// workspace from the archives.
pub(crate) fn run() -> Result<()> {
    let crates = crates::published()?;
    archive(&crates)?;
    let target = process::target_folder()?;
    let folder = target.join("consumer");
    wheel::remove(&folder.join("crates"))?;
    for published in &crates {
        unpack(published, &target.join("package"), &folder.join("crates"))?;
    }
    write_consumer(&crates, &folder)?;
    let mut build = process::cargo();
    build.arg("build").current_dir(&folder);
    process::run(build.env("CARGO_TARGET_DIR", folder.join("target")))?;
    process::run(&mut Command::new(folder.join("target/debug/without_a_model")))
}

/// Makes the archives of all crates; each takes the others from the archives, as from a registry.
fn archive(crates: &[Crate]) -> Result<()> {
    let mut command = process::cargo();
    command.args(["package", "--no-verify", "--offline", "--allow-dirty"]);
    for published in crates {
        command.args(["--package", &published.name]);
    }
    process::run(&mut command)
}

fn unpack(published: &Crate, archives: &Path, folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let archive = archives.join(format!("{}.crate", published.archive()));
    process::run(Command::new("tar").arg("-xzf").arg(archive).arg("-C").arg(folder))
}

/// Writes a crate that depends on the unpacked archives and on nothing of this checkout.
fn write_consumer(crates: &[Crate], folder: &Path) -> Result<()> {
    let write = |name: &str, text: &str| {
        let path = folder.join(name);
        let parent = path.parent().expect("it is in the folder");
        fs::create_dir_all(parent)
            .with_context(|| format!("cannot create {}", parent.display()))?;
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    };
    write("Cargo.toml", &manifest(crates))?;
    // The same versions of everything else, which are downloaded already.
    let locked = fs::read_to_string("Cargo.lock").context("cannot read Cargo.lock")?;
    write("Cargo.lock", &locked)?;
    write("src/bin/without_a_model.rs", WITHOUT_A_MODEL)?;
    write("src/bin/fastembed.rs", FASTEMBED)
}

fn manifest(crates: &[Crate]) -> String {
    let mut manifest = String::from(
        "[package]\nname = \"consumer\"\nversion = \"0.0.0\"\nedition = \"2024\"\n\n\
         [workspace]\n\n[dependencies]\nanyhow = \"1\"\nautotag = \"*\"\n\
         fastembed = { version = \"7\", default-features = false, features = [\"ort-load-dynamic\"] }\n\
         tantivy = \"0.27\"\ntantivy-autotag = \"*\"\ntempfile = \"3\"\n\n[patch.crates-io]\n",
    );
    for published in crates {
        let (name, archive) = (&published.name, published.archive());
        manifest += &format!("{name} = {{ path = \"crates/{archive}\" }}\n");
    }
    manifest
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    /// The registry's categories that the crates use.
    const CATEGORIES: [&str; 7] = [
        "command-line-utilities",
        "database-implementations",
        "development-tools",
        "parser-implementations",
        "science",
        "text-processing",
        "visualization",
    ];

    /// Returns the crates that are published; cargo looks for the workspace from here upward.
    fn published() -> Vec<Crate> {
        let crates = crates::published().unwrap();
        let names: Vec<&str> = crates.iter().map(|published| published.name.as_str()).collect();
        assert!(names.contains(&"autotag") && names.contains(&"tantivy-autotag"), "{names:?}");
        assert!(!names.contains(&"xtask") && !names.contains(&"autotag-fuzz"), "{names:?}");
        crates
    }

    fn texts(value: &Value) -> Vec<&str> {
        value.as_array().into_iter().flatten().filter_map(Value::as_str).collect()
    }

    #[test]
    fn a_published_crate_says_what_it_is() {
        for Crate { name, metadata, .. } in published() {
            for key in ["description", "license", "readme", "rust_version"] {
                let text = metadata[key].as_str().unwrap_or_default();
                assert!(!text.is_empty(), "{name} has no {key}");
            }
            let keywords = texts(&metadata["keywords"]);
            assert!((1..=5).contains(&keywords.len()), "{name}: {keywords:?}");
            for keyword in keywords {
                let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_+".contains(c);
                assert!(keyword.len() <= 20 && keyword.chars().all(is_plain), "{name}: {keyword}");
            }
            let categories = texts(&metadata["categories"]);
            assert!((1..=5).contains(&categories.len()), "{name}: {categories:?}");
            for category in categories {
                assert!(CATEGORIES.contains(&category), "{name}: {category}");
            }
        }
    }

    #[test]
    fn a_published_crate_needs_no_crate_that_needs_it() {
        let crates = published();
        let is_ours = |name: &str| crates.iter().any(|published| published.name == name);
        let mut n_dependencies = 0;
        for Crate { name, metadata, .. } in &crates {
            for dependency in metadata["dependencies"].as_array().unwrap() {
                let needed = dependency["name"].as_str().unwrap();
                let has_version = dependency["req"] != "*";
                n_dependencies += 1;
                match dependency["kind"].as_str() {
                    // Packaging leaves a dependency by path alone out of the tests, and fails for others.
                    Some("dev") if is_ours(needed) => {
                        assert!(!has_version, "{name}: {needed} has a version beside its path");
                    }
                    _ => assert!(has_version, "{name}: {needed} has no version"),
                }
            }
        }
        assert!(n_dependencies > 50, "found {n_dependencies} dependencies, so checked nothing");
    }

    #[test]
    fn an_archive_has_source_readme_and_licenses_and_no_tests() {
        for published in published() {
            let name = &published.name;
            let mut command = process::cargo();
            command.args(["package", "--list", "--offline", "--allow-dirty", "--package", name]);
            let listed = String::from_utf8(process::quiet_output(&mut command).unwrap()).unwrap();
            let files: Vec<&str> = listed.lines().collect();
            let root = if published.is_library() { "src/lib.rs" } else { "src/main.rs" };
            for file in ["Cargo.toml", "README.md", "LICENSE-APACHE", "LICENSE-MIT", root] {
                assert!(files.contains(&file), "{name} lacks {file}: {files:?}");
            }
            let stray: Vec<&&str> = files
                .iter()
                .filter(|file| {
                    ["tests/", "benches/", "target/"].iter().any(|f| file.starts_with(f))
                })
                .collect();
            assert!(stray.is_empty(), "{name}: {stray:?}");
        }
    }

    #[test]
    fn features_for_tests_are_marked_as_no_public_ones() {
        for Crate { name, metadata, .. } in published() {
            for feature in metadata["features"].as_object().unwrap().keys() {
                let is_known = ["burn", "cuda", "default"].contains(&feature.as_str());
                assert!(is_known || feature.starts_with('_'), "{name}: {feature}");
            }
        }
    }

    #[test]
    fn no_dependency_needs_a_newer_rust_than_the_crates_say() {
        let version = process::quiet_output(Command::new("rustc").arg("-vV")).unwrap();
        let version = String::from_utf8(version).unwrap();
        let host = version.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
        let mut command = process::cargo();
        // Those of other systems need not be downloaded.
        command.args(["metadata", "--format-version", "1", "--offline", "--filter-platform", host]);
        let output = process::quiet_output(&mut command).unwrap();
        let metadata: Value = serde_json::from_slice(&output).unwrap();
        let number = |version: &str| -> (u32, u32) {
            let mut parts = version.split('.').map(|part| part.parse().unwrap_or(0));
            (parts.next().unwrap_or(0), parts.next().unwrap_or(0))
        };
        let ours = published()[0].metadata["rust_version"].as_str().map(number).unwrap();
        let packages = metadata["packages"].as_array().unwrap();
        assert!(packages.len() > 100, "found {} packages, so checked nothing", packages.len());
        for package in packages {
            let needed = package["rust_version"].as_str().map(number).unwrap_or_default();
            assert!(needed <= ours, "{} needs Rust {needed:?}", package["name"]);
        }
    }
}
