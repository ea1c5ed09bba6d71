//! Debtags: the package descriptions and tags that every Debian machine can read through apt.

use std::collections::{HashMap, HashSet};
use std::io::BufRead;

use anyhow::{Context, Result};

use crate::dataset::Document;

/// Tags that fewer training packages carry are left out of the data set.
pub(crate) const MIN_PACKAGES: usize = 20;

/// The packages of the lists, before their descriptions are joined.
#[derive(Debug, Default)]
pub(crate) struct Packages {
    packages: Vec<Package>,
    names: HashSet<String>,
}

#[derive(Debug)]
struct Package {
    name: String,
    source: String,
    summary: String,
    description_md5: String,
    tags: Vec<String>,
}

impl Packages {
    /// Reads one `Packages` list; a name seen before, in this list or an earlier one, is skipped.
    pub(crate) fn read(&mut self, list: impl BufRead) -> Result<()> {
        for_each_stanza(list, |stanza| {
            let Some(name) = stanza.get("package") else { return };
            if self.names.insert(name.to_owned()) {
                self.packages.push(Package {
                    name: name.to_owned(),
                    source: source_name(stanza.get("source").unwrap_or(name)).to_owned(),
                    summary: stanza.get("description").unwrap_or_default().to_owned(),
                    description_md5: stanza.get("description-md5").unwrap_or_default().to_owned(),
                    tags: parse_tags(stanza.get("tag").unwrap_or_default()),
                });
            }
        })
    }

    /// Joins each package with its long description; without one its summary has to do.
    pub(crate) fn into_documents(self, descriptions: &Descriptions) -> Vec<Document> {
        let to_document = |package: Package| {
            let description = descriptions.0.get(&package.description_md5);
            let text = description_text(description.unwrap_or(&package.summary));
            Document {
                text: format!("{}: {text}", package.name),
                id: package.name,
                labels: package.tags,
                group: package.source,
            }
        };
        self.packages.into_iter().map(to_document).collect()
    }
}

/// English descriptions by the digest that package lists name them with.
#[derive(Debug, Default)]
pub(crate) struct Descriptions(HashMap<String, String>);

impl Descriptions {
    /// Reads one `Translation-en` list.
    pub(crate) fn read(&mut self, list: impl BufRead) -> Result<()> {
        for_each_stanza(list, |stanza| {
            if let (Some(digest), Some(description)) =
                (stanza.get("description-md5"), stanza.get("description-en"))
            {
                self.0.insert(digest.to_owned(), description.to_owned());
            }
        })
    }
}

/// Fields of one stanza, names in lower case, the lines of a value joined by `\n`.
#[derive(Debug, Default)]
struct Stanza(Vec<(String, String)>);

impl Stanza {
    fn get(&self, field: &str) -> Option<&str> {
        self.0.iter().find(|(name, _)| name == field).map(|(_, value)| value.as_str())
    }

    /// Adds a line: a field, or a line that continues the field before it.
    fn push_line(&mut self, line: &str) {
        if line.starts_with([' ', '\t']) {
            if let Some((_, value)) = self.0.last_mut() {
                value.push('\n');
                value.push_str(&line[1..]);
            }
        } else if let Some((name, value)) = line.split_once(':') {
            self.0.push((name.to_ascii_lowercase(), value.trim().to_owned()));
        }
    }
}

/// Calls `visit` for every stanza of a control file; stanzas are divided by blank lines.
fn for_each_stanza(mut list: impl BufRead, mut visit: impl FnMut(&Stanza)) -> Result<()> {
    let mut stanza = Stanza::default();
    let mut line = Vec::new();
    loop {
        line.clear();
        let at_end = list.read_until(b'\n', &mut line).context("cannot read a package list")? == 0;
        // The lists are UTF-8 by policy; a broken byte in one description must not stop the rest.
        let text = String::from_utf8_lossy(&line);
        let text = text.trim_end();
        if !text.is_empty() {
            stanza.push_line(text);
        } else if !stanza.0.is_empty() {
            visit(&stanza);
            stanza.0.clear();
        }
        if at_end {
            return Ok(());
        }
    }
}

/// Drops the version of `name (version)`.
fn source_name(source: &str) -> &str {
    source.split_whitespace().next().unwrap_or(source)
}

/// Reads `a::b, c::{d,e}` as `a::b`, `c::d`, `c::e`; each tag once, in the order given.
fn parse_tags(value: &str) -> Vec<String> {
    let mut tags: Vec<String> = Vec::new();
    for entry in split_outside_braces(value) {
        for tag in expand_braces(entry.trim()) {
            if !tag.is_empty() && !tags.contains(&tag) {
                tags.push(tag);
            }
        }
    }
    tags
}

/// Splits at the commas that stand outside of braces.
fn split_outside_braces(value: &str) -> Vec<&str> {
    let mut depth = 0_usize;
    let is_separator = |c: char| {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    };
    value.split(is_separator).collect()
}

fn expand_braces(entry: &str) -> Vec<String> {
    match entry.strip_suffix('}').and_then(|open| open.split_once('{')) {
        Some((facet, values)) => {
            values.split(',').map(|value| format!("{facet}{}", value.trim())).collect()
        }
        None => vec![entry.to_owned()],
    }
}

/// Turns a description field into plain text: a line of a lone dot is a blank line.
fn description_text(description: &str) -> String {
    let plain =
        |line: &str| if line.trim() == "." { String::new() } else { line.trim_end().to_owned() };
    let lines: Vec<String> = description.lines().map(plain).collect();
    lines.join("\n").trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PACKAGES: &str = "\
Package: alpha
Source: alpha-src (1.2-3)
Version: 1.2-3+b1
Description: first letter
Description-md5: aa11
Tag: implemented-in::{c,c++}, role::program,
 use::searching
Size: 1

Package: beta
Description: second letter
Description-md5: bb22


Package: alpha
Description: an older copy
Tag: role::documentation
";

    const TRANSLATION: &str = "\
Package: alpha
Description-md5: aa11
Description-en: first letter
 Alpha opens the alphabet.
 .
   * and a list
";

    fn documents() -> Vec<Document> {
        let mut packages = Packages::default();
        packages.read(PACKAGES.as_bytes()).unwrap();
        let mut descriptions = Descriptions::default();
        descriptions.read(TRANSLATION.as_bytes()).unwrap();
        packages.into_documents(&descriptions)
    }

    #[test]
    fn a_package_becomes_a_document_with_its_long_description_tags_and_source() {
        let alpha = &documents()[0];
        assert_eq!(alpha.id, "alpha");
        assert_eq!(alpha.group, "alpha-src");
        assert_eq!(alpha.text, "alpha: first letter\nAlpha opens the alphabet.\n\n  * and a list");
        let tags = ["implemented-in::c", "implemented-in::c++", "role::program", "use::searching"];
        assert_eq!(alpha.labels, tags);
    }

    #[test]
    fn without_source_tags_or_translation_the_package_itself_has_to_do() {
        let beta = &documents()[1];
        assert_eq!((beta.group.as_str(), beta.text.as_str()), ("beta", "beta: second letter"));
        assert!(beta.labels.is_empty());
    }

    #[test]
    fn a_name_seen_before_is_skipped() {
        let ids: Vec<String> = documents().into_iter().map(|d| d.id).collect();
        assert_eq!(ids, ["alpha", "beta"]);
    }

    #[test]
    fn broken_bytes_and_stray_lines_stop_nothing() {
        let mut packages = Packages::default();
        packages.read(&b" stray\nno field\nPackage: x\nDescription: \xff y\n"[..]).unwrap();
        let documents = packages.into_documents(&Descriptions::default());
        assert_eq!(documents[0].text, "x: \u{fffd} y");
    }

    #[test]
    fn tags_in_braces_are_spelled_out_and_doubled_ones_kept_once() {
        assert_eq!(parse_tags("a::{b, c},a::b , d"), ["a::b", "a::c", "d"]);
        assert_eq!(parse_tags(""), Vec::<String>::new());
        assert_eq!(parse_tags("a::{b"), ["a::{b"]);
    }
}
