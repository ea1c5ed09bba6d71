//! A process is killed while it adopts an index; the next one resumes.

use std::process::{Child, Command, Stdio};

use super::child;
use crate::adopting::{N_ALIVE, Plain, check_adopted};
use tantivy_autotag::{Error, IndexFolder};

/// Names the folder with the index that is adopted.
const ADOPTED: &str = "AUTOTAG_TEST_ADOPTED";

fn start(plain: &Plain, failpoint: &str) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "crash::adopting::adopting", "--ignored", "--nocapture"]);
    command.env(ADOPTED, plain.path()).env("AUTOTAG_FAILPOINT", failpoint);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

#[test]
#[ignore = "the other test starts it as a process of its own"]
fn adopting() {
    if let Some(path) = std::env::var_os(ADOPTED) {
        Plain::at(path.into()).adopt().unwrap();
    }
}

#[test]
fn an_adoption_goes_on_after_a_death_at_every_step() {
    let making = ["create::marked", "create::seeded", "create::indexed", "create::described"];
    let adding = ["commit::journaled:2", "commit::published:2", "adopt::committed:1"];
    let ending = ["adopt::committed:3", "adopt::committed:4"];
    for step in making.into_iter().chain(adding).chain(ending) {
        let plain = Plain::new();
        let mut child = start(&plain, step);
        if let Err(said) = child::kill_at_failpoint(&mut child) {
            panic!("{step} was not reached: {said}");
        }
        let opened = IndexFolder::open(&plain.target());
        let is_unfinished =
            matches!(opened, Err(Error::AdoptionUnfinished { .. } | Error::IndexUnfinished { .. }));
        assert!(is_unfinished, "{step}");
        let (folder, report) = plain.adopt().unwrap();
        assert_eq!(report.resumed + report.tagged, N_ALIVE as u64, "{step}");
        assert_eq!(report.resumed > 0, !step.starts_with("create"), "{step}");
        check_adopted(&folder);
    }
}
