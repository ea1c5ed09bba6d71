//! Which file of a crate uses which: read from the sources. Paths inside macros' arguments are not seen.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use syn::visit::Visit;
use syn::{Attribute, Item, ItemMod, ItemUse, Meta, UseTree, Visibility};

/// The path of a module below its crate's root; the root's own is empty.
pub(super) type Module = Vec<String>;

/// The modules of a crate that are files, and which of them each uses.
///
/// A use of a re-exported item counts as a use of the module that defines it; re-exports themselves,
/// and what only tests use, do not count.
pub(super) struct Imports {
    pub(super) uses: BTreeMap<Module, BTreeSet<Module>>,
}

/// A file, as far as it matters here.
#[derive(Default)]
struct File {
    /// The paths that its code names, from the crate's root on.
    paths: Vec<Module>,
    /// Re-exported names and where they come from; a glob has the name `*`.
    exports: Vec<(String, Module)>,
}

impl Imports {
    /// Reads the crate with this root file.
    pub(super) fn read(root: &Path) -> Self {
        let mut files = BTreeMap::new();
        read_file(root, &root.with_file_name(""), Vec::new(), &mut files);
        let defining = |path: &Module| definition(&files, path, 0);
        let uses = files.iter().map(|(module, file)| {
            let used = file.paths.iter().filter_map(defining);
            (module.clone(), used.filter(|used| used != module).collect())
        });
        Imports { uses: uses.collect() }
    }

    /// Returns the groups of two or more files that use each other in a circle.
    pub(super) fn circles(&self) -> Vec<BTreeSet<Module>> {
        let reached: BTreeMap<&Module, BTreeSet<&Module>> =
            self.uses.keys().map(|module| (module, self.reached(module))).collect();
        let circle = |module| -> BTreeSet<Module> {
            let others = reached[module].iter().filter(|other| reached[**other].contains(module));
            others.map(|other| (*other).clone()).collect()
        };
        let circles: BTreeSet<_> = self.uses.keys().map(circle).collect();
        circles.into_iter().filter(|circle| circle.len() > 1).collect()
    }

    /// Returns every module that one reaches by one use or more.
    fn reached<'a>(&'a self, module: &'a Module) -> BTreeSet<&'a Module> {
        let mut reached = BTreeSet::new();
        let mut next = vec![module];
        while let Some(module) = next.pop() {
            next.extend(self.uses[module].iter().filter(|used| reached.insert(*used)));
        }
        reached
    }
}

fn read_file(path: &Path, children: &Path, module: Module, files: &mut BTreeMap<Module, File>) {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    let parsed = syn::parse_file(&text).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    let mut reader =
        Reader { module: module.clone(), inline: 0, declared: Vec::new(), file: File::default() };
    reader.visit_file(&parsed);
    let Reader { declared, file, .. } = reader;
    files.insert(module.clone(), file);
    for name in declared {
        let mut child = module.clone();
        child.push(name.clone());
        read_file(&children.join(&name).with_extension("rs"), &children.join(&name), child, files);
    }
}

/// Finds the module that defines what a path names: past modules and re-exports.
fn definition(files: &BTreeMap<Module, File>, path: &Module, depth: usize) -> Option<Module> {
    assert!(depth < 20, "re-exports of {path:?} in a circle");
    let length = (0..=path.len()).rev().find(|&length| files.contains_key(&path[..length]))?;
    let (module, rest) = path.split_at(length);
    let Some(name) = rest.first() else { return Some(module.to_vec()) };
    let exports = &files[module].exports;
    let has_glob = exports.iter().any(|(exported, _)| exported == "*");
    assert!(!has_glob, "{module:?} re-exports a glob, which is not followed");
    let named = exports.iter().find(|(exported, _)| exported == name);
    if let Some((_, origin)) = named {
        let origin: Module = origin.iter().chain(&rest[1..]).cloned().collect();
        return definition(files, &origin, depth + 1);
    }
    Some(module.to_vec())
}

/// Collects what a file names.
struct Reader {
    module: Module,
    /// The modules inside the file that the code stands in.
    inline: usize,
    /// The child modules with files of their own.
    declared: Vec<String>,
    file: File,
}

impl Reader {
    /// Returns a path from the crate's root on; `None` where it leads to another crate.
    fn absolute(&self, segments: &[String]) -> Option<Module> {
        let mut module = match segments.first()?.as_str() {
            "crate" => Vec::new(),
            "self" => self.module.clone(),
            // Within the file itself.
            "super" if self.inline > 0 => return None,
            "super" => self.module[..self.module.len().checked_sub(1)?].to_vec(),
            child if self.declared.iter().any(|declared| declared == child) => {
                let mut module = self.module.clone();
                module.push(child.to_owned());
                module
            }
            _ => return None,
        };
        for segment in &segments[1..] {
            match segment.as_str() {
                "super" => drop(module.pop()?),
                _ => module.push(segment.clone()),
            }
        }
        Some(module)
    }

    /// Calls `add` for each path of a tree, with the name that it gives it here.
    fn flatten(tree: &UseTree, before: &[String], add: &mut dyn FnMut(String, Vec<String>)) {
        let with = |name: &dyn ToString| [before, &[name.to_string()]].concat();
        match tree {
            UseTree::Path(path) => Self::flatten(&path.tree, &with(&path.ident), add),
            UseTree::Group(group) => {
                group.items.iter().for_each(|tree| Self::flatten(tree, before, add));
            }
            UseTree::Name(name) if name.ident == "self" => {
                add(before.last().cloned().unwrap_or_default(), before.to_vec());
            }
            UseTree::Name(name) => add(name.ident.to_string(), with(&name.ident)),
            UseTree::Rename(rename) => add(rename.rename.to_string(), with(&rename.ident)),
            UseTree::Glob(_) => add("*".to_owned(), before.to_vec()),
        }
    }
}

impl<'ast> Visit<'ast> for Reader {
    fn visit_file(&mut self, file: &'ast syn::File) {
        // Children may be declared behind the code that uses them.
        for item in &file.items {
            if let Item::Mod(ItemMod { attrs, ident, content: None, .. }) = item
                && !is_for_tests(attrs)
            {
                self.declared.push(ident.to_string());
            }
        }
        syn::visit::visit_file(self, file);
    }

    fn visit_item(&mut self, item: &'ast Item) {
        let attributes = match item {
            Item::Fn(item) => &item.attrs,
            Item::Impl(item) => &item.attrs,
            Item::Mod(item) => &item.attrs,
            Item::Use(item) => &item.attrs,
            _ => &Vec::new(),
        };
        if !is_for_tests(attributes) {
            syn::visit::visit_item(self, item);
        }
    }

    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        self.inline += 1;
        syn::visit::visit_item_mod(self, item);
        self.inline -= 1;
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        let mut paths = Vec::new();
        Self::flatten(&item.tree, &[], &mut |name, path| paths.push((name, path)));
        for (name, path) in paths {
            let Some(path) = self.absolute(&path) else { continue };
            if matches!(item.vis, Visibility::Inherited) {
                self.file.paths.push(path);
            } else {
                self.file.exports.push((name, path));
            }
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments: Vec<String> =
            path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        if segments.len() > 1
            && let Some(path) = self.absolute(&segments)
        {
            self.file.paths.push(path);
        }
        syn::visit::visit_path(self, path);
    }
}

/// Tells whether something is compiled for tests alone.
fn is_for_tests(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        Meta::List(list) if list.path.is_ident("cfg") => list.tokens.to_string() == "test",
        _ => false,
    })
}

/// Returns the root files of the workspace's crates, each with its name in messages.
pub(super) fn roots(root: &Path) -> Vec<(String, PathBuf)> {
    let manifest = fs::read_to_string(root.join("Cargo.toml")).unwrap();
    let (_, members) = manifest.split_once("members = [").unwrap();
    let (members, _) = members.split_once(']').unwrap();
    let members = members.split(',').map(|member| member.trim().trim_matches('"').to_owned());
    let mut roots = Vec::new();
    for member in members.filter(|member| !member.is_empty()) {
        for file in ["src/lib.rs", "src/main.rs"] {
            let path = root.join(&member).join(file);
            if path.exists() {
                roots.push((format!("{member}/{file}"), path));
            }
        }
    }
    roots
}
