//! A process is killed while it migrates an index to another encoder; the next one resumes.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use autotag::Datastore;
use tantivy_autotag::{IndexFolder, WriterOptions};

use super::child;
use crate::mending::{OTHER, other_encoder, other_seed};
use crate::support::{bundle, tagger};
use crate::verify::Sample;

/// Names the index that is moved.
const MOVED: &str = "AUTOTAG_TEST_MOVED";

/// The documents of the sample that people labeled and that can be encoded.
const N_LABELED: u64 = 17;

fn start(sample: &Sample, failpoint: &str) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "crash::moving::moving", "--ignored", "--nocapture"]);
    command.env(MOVED, sample.path()).env("AUTOTAG_FAILPOINT", failpoint);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

/// Does what `autotag migrate` does.
fn migrate(path: &Path) {
    let mut index = IndexFolder::open(path).unwrap();
    let seed = path.parent().unwrap().join("other seed");
    let seed = Datastore::open_read_only(&seed, &OTHER).unwrap();
    let options = WriterOptions::new().job_documents(5.try_into().unwrap());
    let bundle = bundle("other bundle", &seed);
    let moved = index.migrate(tagger(other_encoder()), &bundle, options, |_| {});
    let (writer, _) = moved.unwrap();
    match writer.unfinished_job() {
        Some(job) if job.is_moving_to(bundle.fingerprint) => writer.resume(|_| {}).unwrap(),
        _ => writer.retag_moved(bundle.fingerprint, |_| {}).unwrap(),
    };
    writer.close().unwrap();
}

#[test]
#[ignore = "the other test starts it as a process of its own"]
fn moving() {
    if let Some(path) = std::env::var_os(MOVED) {
        migrate(Path::new(&path));
    }
}

#[test]
fn moving_goes_on_after_a_death_at_every_step() {
    let steps = ["datastore::committed:1", "datastore::committed:2", "migrate::rebuilt"];
    let later = ["migrate::published", "open::settled", "job::committed:1", "job::committed:2"];
    for step in steps.into_iter().chain(later) {
        let sample = Sample::new();
        drop(other_seed(sample.path().parent().unwrap()));
        let mut child = start(&sample, step);
        if let Err(said) = child::kill_at_failpoint(&mut child) {
            panic!("{step} was not reached: {said}");
        }
        let report = sample.verify();
        assert!(report.is_sound(), "{step}: {report:#?}");
        migrate(&sample.path());
        let report = sample.verify();
        assert!(report.is_sound(), "{step}: {report:#?}");
        assert_eq!(report.neighbors, Some(N_LABELED + 1), "{step}: with the new training set");
        assert_eq!((report.documents, report.job), (Some(39), None), "{step}");
    }
}
