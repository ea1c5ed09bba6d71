//! Who may import what: the arrows between the rooms, as ARCHITECTURE.md draws them.

mod imports;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use imports::Imports;

/// The crates that a room must not depend on, in its `[dependencies]`.
const FORBIDDEN: [(&str, &[&str]); 8] = [
    (".", &["ort", "tokenizers", "prost", "burn", "tantivy", "autotag-onnx", "autotag-train"]),
    ("onnx", &["burn", "tantivy", "heed", "arroy", "autotag-train", "tantivy-autotag"]),
    ("onnx/trainer", &["ort", "tantivy", "heed", "arroy", "tantivy-autotag"]),
    ("plugin", &["ort", "tokenizers", "prost", "heed", "arroy", "autotag-onnx", "autotag-train"]),
    ("lab", &["ort", "tokenizers", "prost", "burn", "tantivy", "heed", "arroy", "tantivy-autotag"]),
    ("engine", &["ort", "burn", "clap", "autotag-train", "autotag-lab", "autotag-cli"]),
    ("documents", &["ort", "clap", "autotag", "autotag-onnx", "autotag-train", "tantivy-autotag"]),
    // Set-up builds it before anything else is there.
    ("fetch", &["ort", "tantivy", "heed", "arroy", "autotag", "autotag-onnx", "autotag-train"]),
];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Returns the crates named in the `[dependencies]` section of a room's manifest.
fn dependencies(room: &str) -> Vec<String> {
    let manifest = fs::read_to_string(root().join(room).join("Cargo.toml")).unwrap();
    let section = manifest.lines().skip_while(|line| line.trim() != "[dependencies]").skip(1);
    let entries = section.take_while(|line| !line.starts_with('['));
    let name = |line: &str| line.split(['.', '=', ' ']).next().unwrap_or_default().to_owned();
    entries.map(name).filter(|name| !name.is_empty()).collect()
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

#[test]
fn no_room_depends_on_what_it_may_not_touch() {
    for (room, forbidden) in FORBIDDEN {
        let dependencies = dependencies(room);
        assert!(!dependencies.is_empty(), "{room}: found no dependencies, so checked nothing");
        for name in forbidden {
            assert!(!dependencies.iter().any(|d| d == name), "{room} depends on {name}");
        }
    }
}

#[test]
fn only_the_datastore_touches_lmdb_and_arroy() {
    let source = root().join("src");
    let files = rust_files(&source);
    let is_allowed =
        |path: &Path| path.starts_with(source.join("datastore")) || path == source.join("error.rs");
    let mut n_uses = 0;
    for path in files {
        let text = fs::read_to_string(&path).unwrap();
        let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        let touches = code.clone().any(|line| line.contains("heed::") || line.contains("arroy::"));
        n_uses += usize::from(touches);
        assert!(!touches || is_allowed(&path), "{} touches LMDB or Arroy", path.display());
    }
    assert!(n_uses > 1, "found no use at all, so checked nothing");
}

#[test]
fn only_the_models_trained_by_automatic_differentiation_touch_burn() {
    let source = root().join("onnx/trainer/src");
    let folders = ["autodiff", "models/ldgn", "models/finetune"].map(|folder| source.join(folder));
    // The hand-written gradients are checked against Burn's.
    let check = source.join("models/cnn/backward/by_autodiff.rs");
    let mut n_uses = 0;
    for path in rust_files(&source) {
        let touches = fs::read_to_string(&path).unwrap().contains("use burn::");
        n_uses += usize::from(touches);
        let is_allowed = path == check || folders.iter().any(|folder| path.starts_with(folder));
        assert!(!touches || is_allowed, "{} touches Burn", path.display());
    }
    assert!(n_uses > 1, "found no use at all, so checked nothing");
}

#[test]
fn nothing_but_the_program_and_the_laboratory_depends_on_the_trainer() {
    for room in [".", "onnx", "plugin", "engine", "documents"] {
        assert!(!dependencies(room).iter().any(|d| d == "autotag-train" || d == "autotag-cli"));
    }
    for room in ["cli", "lab"] {
        assert!(dependencies(room).iter().any(|d| d == "autotag-train"));
    }
}

#[test]
fn what_draws_is_in_the_laboratory_which_only_the_program_depends_on() {
    for room in [".", "onnx", "onnx/trainer", "plugin", "cli", "xtask"] {
        let drawing = ["plotters", "bhtsne"];
        let depends = dependencies(room);
        assert!(!depends.iter().any(|d| drawing.contains(&d.as_str())), "{room}");
        assert_eq!(depends.iter().any(|d| d == "autotag-lab"), room == "cli", "{room}");
    }
}

/// The circles that remain: a module and the children that continue its `impl` on private fields.
const PARENT_AND_CHILDREN: [&str; 4] = [
    "onnx/trainer/src/lib.rs: models::adapter, models::adapter::step",
    "onnx/trainer/src/lib.rs: models::cnn, models::cnn::backward, models::cnn::forward",
    "onnx/trainer/src/lib.rs: models::wide, models::wide::step",
    "onnx/trainer/src/lib.rs: train, train::compare",
];

#[test]
fn no_files_import_each_other_in_a_circle() {
    let mut n_uses = 0;
    let mut circles = Vec::new();
    for (name, path) in imports::roots(&root()) {
        let imports = Imports::read(&path);
        n_uses += imports.uses.values().map(|uses| uses.len()).sum::<usize>();
        for circle in imports.circles() {
            let modules: Vec<String> = circle.iter().map(|module| module.join("::")).collect();
            circles.push(format!("{name}: {}", modules.join(", ")));
        }
    }
    assert!(n_uses > 500, "found {n_uses} uses, so checked nothing");
    assert_eq!(circles, PARENT_AND_CHILDREN);
}

#[test]
fn a_circle_through_re_exports_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    write("lib.rs", "mod a;\nmod b;\nmod c;\npub use a::A;\npub use c::C;\n");
    write("a.rs", "use crate::b::B;\npub struct A(B);\n");
    write("b.rs", "pub struct B;\nfn f() -> Option<Box<crate::A>> { None }\n");
    write("c.rs", "pub struct C;\n#[cfg(test)]\nmod tests { use crate::A; }\n");
    let imports = Imports::read(&folder.path().join("lib.rs"));
    let circles = imports.circles();
    let names: Vec<String> = circles.iter().flatten().map(|module| module.join("::")).collect();
    assert_eq!(names, ["a", "b"]);
}

/// Returns the layers that ARCHITECTURE.md draws for the crate with this root file: the names of the
/// modules on each line, from the ground up; `...` stands for all others.
fn layers(of: &str) -> Vec<Vec<String>> {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let fence = format!("```layers {of}\n");
    let (_, block) = text.split_once(&fence).unwrap_or_else(|| panic!("no layers of {of}"));
    let (block, _) = block.split_once("```").unwrap();
    block.lines().map(|line| line.split_whitespace().map(str::to_owned).collect()).collect()
}

#[test]
fn a_module_imports_only_those_below_it() {
    for of in ["src/lib.rs", "onnx/trainer/src/lib.rs", "plugin/src/lib.rs"] {
        let layers = layers(of);
        let on = |name: &str| layers.iter().position(|names| names.iter().any(|n| n == name));
        let others = on("...");
        let layer = |name: &str| {
            on(name).or(others).unwrap_or_else(|| panic!("{of}: ARCHITECTURE.md lacks {name}"))
        };
        let imports = Imports::read(&root().join(of));
        let tops: BTreeSet<&str> =
            imports.uses.keys().filter_map(|module| module.first()).map(String::as_str).collect();
        for (module, uses) in &imports.uses {
            let Some(module) = module.first() else { continue };
            for used in uses.iter().filter_map(|used| used.first()) {
                let is_below = layer(used) < layer(module);
                let is_other = Some(layer(used)) == others && Some(layer(module)) == others;
                assert!(
                    module == used || is_below || is_other,
                    "{of}: {module} imports {used}, which is not below it"
                );
            }
        }
        for name in layers.iter().flatten().filter(|name| *name != "...") {
            assert!(
                tops.contains(name.as_str()),
                "{of}: ARCHITECTURE.md draws {name}, which is gone"
            );
        }
    }
}
