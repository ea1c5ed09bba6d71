//! Operations in flight are counted by their memory.

use std::fs;
use std::process::{Command, Stdio};
use std::sync::Arc;

use autotag::datastore::DatastoreOptions;
use autotag::{
    Datastore, Embedding, EncodeError, Encoded, EncodedBatch, Encoder, Fingerprint,
    LabelVocabulary, Scores, Tagger,
};
use tantivy::Index;
use tantivy_autotag::{TaggingWriter, WriterOptions};
use tempfile::TempDir;

use crate::support::{document, schema};

/// So many labels have scores of 800 kB for each document.
const N_LABELS: usize = 200_000;

/// All their scores together would take 480 MB, twice.
const N_DOCUMENTS: usize = 600;

const TASK: &str = "AUTOTAG_TEST_MEMORY";

/// Scores every label of a large vocabulary.
struct Many(LabelVocabulary);

impl Encoder for Many {
    type Tokens = ();

    fn labels(&self) -> &LabelVocabulary {
        &self.0
    }

    fn dimensions(&self) -> usize {
        4
    }

    fn fingerprint(&self) -> Fingerprint {
        Fingerprint([7; 32])
    }

    fn tokenize(&self, _text: &str) -> Result<(), EncodeError> {
        Ok(())
    }

    fn token_count(_tokens: &()) -> usize {
        1
    }

    fn encode(&self, batch: &[()]) -> EncodedBatch {
        let one = || Encoded {
            embedding: Embedding::new(vec![1.0; 4]).unwrap(),
            // Too low to be kept, but held until the document is indexed.
            scores: Some(Scores::new(vec![1e-5; N_LABELS]).unwrap()),
        };
        EncodedBatch::from_outcomes(4, batch.iter().map(|()| Ok(one())))
    }
}

fn peak_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

#[test]
#[ignore = "the other test starts it as a process of its own"]
// The other test reads it.
#[allow(clippy::print_stdout)]
fn process() {
    if std::env::var_os(TASK).is_none() {
        return;
    }
    let folder = TempDir::new().unwrap();
    let labels = LabelVocabulary::new((0..N_LABELS).map(|n| format!("label {n}"))).unwrap();
    let options =
        DatastoreOptions::new(4.try_into().unwrap(), Fingerprint([7; 32]), labels.clone());
    let datastore = Datastore::create(folder.path(), &options).unwrap();
    let (schema, fields, _) = schema();
    let index = Index::create_in_ram(schema);
    let tagger = Tagger::new(Arc::new(Many(labels)));
    let options = WriterOptions::new().threads(2.try_into().ok());
    let writer = TaggingWriter::open(index, datastore, tagger, fields.clone(), options).unwrap();
    let before = peak_bytes();
    for number in 0..N_DOCUMENTS {
        writer.add(document(&fields, &number.to_string(), "a")).unwrap();
    }
    writer.commit().unwrap();
    println!("peak {}", peak_bytes() - before);
}

#[test]
fn the_scores_of_large_vocabularies_do_not_pile_up() {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "memory::process", "--ignored", "--nocapture"]);
    let output = command.env(TASK, "").stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let peak = said.lines().find_map(|line| line.split_once("peak ")).unwrap().1;
    let peak: u64 = peak.trim().parse().unwrap();
    assert!(peak < 250 << 20, "{} MB more than before", peak >> 20);
}
