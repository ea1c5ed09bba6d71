//! Package lists through apt, in a folder of their own and without being root.

use std::fs;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};

use crate::wheel;

/// Reads compressed lists whatever their compression; apt installs it outside of `PATH`.
const APT_HELPER: &str = "/usr/lib/apt/apt-helper";

const NO_APT_HINT: &str = "the demo reads Debtags through apt on a Debian machine; \
     elsewhere give it labeled documents of your own: cargo xtask demo --data FILE.jsonl";

/// A folder with apt's lists, kept apart from the system's.
pub(crate) struct Apt {
    config: PathBuf,
    sources: PathBuf,
}

/// A downloaded list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum List {
    /// `Packages`: one stanza per binary package.
    Packages(PathBuf),
    /// `Translation-en`: one stanza per long description.
    Translations(PathBuf),
}

impl Apt {
    /// Prepares `folder`, which may be left from an earlier run.
    pub(crate) fn new(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder.join("lists/partial"))
            .and_then(|()| fs::create_dir_all(folder.join("cache/archives/partial")))
            .and_then(|()| fs::write(folder.join("status"), ""))
            .with_context(|| format!("cannot prepare {}", folder.display()))?;
        let folder = folder.canonicalize()?;
        let config = folder.join("apt.conf");
        fs::write(&config, config_text(&folder)?)
            .with_context(|| format!("cannot write {}", config.display()))?;
        let apt = Self { config, sources: folder.join("sources.list.d") };
        apt.copy_sources()?;
        Ok(apt)
    }

    /// Downloads the lists, apt's own messages going to standard error.
    pub(crate) fn update(&self) -> Result<()> {
        let status = self
            .command("apt-get")
            .args(["update", "--error-on=any"])
            .stdin(Stdio::null())
            .stdout(std::io::stderr())
            .status()
            .context("cannot run apt-get")?;
        ensure!(
            status.success(),
            "apt-get update failed ({status}): its messages above say why; {NO_APT_HINT}"
        );
        Ok(())
    }

    /// Returns the downloaded lists of Debian's main component, package lists first.
    pub(crate) fn lists(&self) -> Result<Vec<List>> {
        let format = "$(CREATED_BY)\t$(ORIGIN)\t$(COMPONENT)\t$(FILENAME)";
        let targets = self.targets(format)?;
        let mut lists: Vec<List> = targets.lines().filter_map(parse_target).collect();
        lists.sort_by_key(|list| matches!(list, List::Translations(_)));
        ensure!(
            matches!(lists.first(), Some(List::Packages(_))),
            "apt's sources name no Debian archive with the component main; {NO_APT_HINT}"
        );
        Ok(lists)
    }

    /// Copies the system's source files that have a component main.
    ///
    /// Why not use the system's folder? Sources of other archives would be downloaded too, and
    /// one that is down would stop the demo.
    fn copy_sources(&self) -> Result<()> {
        wheel::remove(&self.sources)?;
        fs::create_dir_all(&self.sources)?;
        let output = Command::new("apt-get")
            .args(["indextargets", "--format", "$(CREATED_BY)\t$(COMPONENT)\t$(SOURCESENTRY)"])
            .output();
        let output = match output {
            Err(error) => bail!("cannot run apt-get ({error}): {NO_APT_HINT}"),
            Ok(output) => String::from_utf8_lossy(&output.stdout).into_owned(),
        };
        for file in output.lines().filter_map(main_source_file) {
            let name = file.file_name().context("apt named a source without a file name")?;
            fs::copy(&file, self.sources.join(name))
                .with_context(|| format!("cannot copy {}", file.display()))?;
        }
        Ok(())
    }

    fn targets(&self, format: &str) -> Result<String> {
        let output = self
            .command("apt-get")
            .args(["indextargets", "--format", format])
            .stderr(Stdio::inherit())
            .output()
            .context("cannot run apt-get")?;
        ensure!(output.status.success(), "apt-get indextargets failed: {}", output.status);
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.arg("-c").arg(&self.config);
        command
    }
}

impl List {
    /// Returns where the list lies, compressed.
    pub(crate) fn path(&self) -> &Path {
        let (Self::Packages(path) | Self::Translations(path)) = self;
        path
    }

    /// Hands the list, decompressed, to `read`.
    pub(crate) fn read(
        &self,
        read: impl FnOnce(BufReader<&mut dyn Read>) -> Result<()>,
    ) -> Result<()> {
        let path = self.path();
        let mut child = Command::new(APT_HELPER)
            .arg("cat-file")
            .arg(path)
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot run {APT_HELPER}: {NO_APT_HINT}"))?;
        let mut stdout = child.stdout.take().expect("standard output is piped");
        read(BufReader::new(&mut stdout))?;
        let status = child.wait()?;
        ensure!(status.success(), "{APT_HELPER} cannot read {}: {status}", path.display());
        Ok(())
    }
}

/// The settings that keep apt inside of `folder`.
///
/// It is read after the system's configuration, so that proxies stay and hooks, which expect to
/// run as root, go. Only package lists and English descriptions are fetched.
fn config_text(folder: &Path) -> Result<String> {
    let folder = folder.to_str().filter(|path| !path.contains('"')).with_context(|| {
        format!("apt cannot work in {}: choose another --out folder", folder.display())
    })?;
    Ok(format!(
        r#"#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear Acquire::Languages;
Acquire::Languages {{ "en"; }};
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
APT::Sandbox::User "root";
Dir::Etc::sourcelist "/dev/null";
Dir::Etc::sourceparts "{folder}/sources.list.d";
Dir::State "{folder}";
Dir::State::lists "{folder}/lists";
Dir::State::status "{folder}/status";
Dir::Cache "{folder}/cache";
"#
    ))
}

/// Returns the file of a source line whose component is main.
fn main_source_file(target: &str) -> Option<PathBuf> {
    let mut fields = target.split('\t');
    if (fields.next()?, fields.next()?) != ("Packages", "main") {
        return None;
    }
    let (file, _line) = fields.next()?.rsplit_once(':')?;
    Some(PathBuf::from(file))
}

/// Reads one line of [`Apt::lists`]; `None` for other archives, components and kinds.
fn parse_target(target: &str) -> Option<List> {
    let mut fields = target.split('\t');
    let kind = fields.next()?;
    if (fields.next()?, fields.next()?) != ("Debian", "main") {
        return None;
    }
    let path = PathBuf::from(fields.next()?);
    match kind {
        "Packages" => Some(List::Packages(path)),
        "Translations" => Some(List::Translations(path)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_source_files_with_a_component_main_are_copied() {
        let file = main_source_file("Packages\tmain\t/etc/apt/sources.list.d/debian.sources:1");
        assert_eq!(file, Some(PathBuf::from("/etc/apt/sources.list.d/debian.sources")));
        assert_eq!(main_source_file("Packages\tstable\t/etc/apt/sources.list:2"), None);
        assert_eq!(main_source_file("Translations\tmain\t/etc/apt/sources.list:2"), None);
        assert_eq!(main_source_file(""), None);
    }

    #[test]
    fn only_lists_of_debian_main_are_read() {
        let list = parse_target("Packages\tDebian\tmain\t/x/Packages.lz4");
        assert_eq!(list, Some(List::Packages(PathBuf::from("/x/Packages.lz4"))));
        let list = parse_target("Translations\tDebian\tmain\t/x/Translation-en.lz4");
        assert_eq!(list, Some(List::Translations(PathBuf::from("/x/Translation-en.lz4"))));
        assert_eq!(parse_target("Packages\tGoogle\tmain\t/x/Packages"), None);
        assert_eq!(parse_target("Packages\tDebian\tnon-free\t/x/Packages"), None);
        assert_eq!(parse_target("Packages"), None);
    }

    #[test]
    fn a_folder_that_apt_cannot_be_told_of_is_refused() {
        assert!(config_text(Path::new("/a\"b")).is_err());
        assert!(config_text(Path::new("/a")).unwrap().contains("Dir::State::lists \"/a/lists\";"));
    }
}
