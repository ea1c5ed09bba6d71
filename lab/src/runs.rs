//! The folder of runs: what was trained stays there, and is found again by what it depends on.
//!
//! ```text
//! data-<digest>/      data.json, and train, dev, test .jsonl.gz: keys, labels, beginnings of texts
//! run-<id>/           run.json (written last), bundle/, dev and test .jsonl.gz: scores and neighbors
//! ablation-<id>.json  which runs the tables and figures of an ablation need
//! ```

mod lines;
mod record;

use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use autotag::tune::Prediction;
use autotag_train::Dataset;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

use crate::parts::{Part, Parts};
use crate::{LabError, Result};

use record::PredictionRecord;
pub use record::{
    Ablation, Cost, DataRecord, FORMAT_VERSION, LinearRun, NeighborPoint, Neighborhood, PlannedRun,
    RunRecord, Setting, TextRecord,
};

/// A folder of runs.
#[derive(Clone, Debug)]
pub struct RunsFolder(PathBuf);

/// Keeps other processes from working in a folder of runs, as long as it lives.
#[derive(Debug)]
pub struct RunsLock {
    _file: File,
}

/// A data set as it is kept.
#[derive(Clone, Debug)]
pub(crate) struct KeptData {
    pub(crate) record: DataRecord,
    pub(crate) train: Vec<TextRecord>,
    pub(crate) dev: Vec<TextRecord>,
    /// The part that the figures are of.
    pub(crate) measured: Vec<TextRecord>,
}

/// The content found under a record's name.
#[derive(Debug)]
enum Found<T> {
    Nothing,
    OtherVersion,
    Record(T),
}

/// The characters of a digest that name a folder.
const ID_LENGTH: usize = 16;

/// The characters of a text that are kept.
const KEPT_CHARACTERS: usize = 240;

impl RunsFolder {
    /// Makes the folder where it is not there, and takes it for oneself.
    ///
    /// # Errors
    ///
    /// [`LabError::Io`] when it cannot be written to, [`LabError::Busy`] when another process works
    /// in it.
    pub fn lock(path: &Path) -> Result<(Self, RunsLock)> {
        fs::create_dir_all(path).map_err(LabError::io("make the folder of runs", path))?;
        let lock = path.join("lock");
        let file =
            File::create(&lock).map_err(LabError::io("write to the folder of runs", path))?;
        match file.try_lock() {
            Ok(()) => Ok((RunsFolder(path.to_path_buf()), RunsLock { _file: file })),
            Err(TryLockError::WouldBlock) => Err(LabError::Busy { path: path.to_path_buf() }),
            Err(TryLockError::Error(source)) => Err(LabError::io("lock", &lock)(source)),
        }
    }

    /// Takes a folder to read from.
    pub fn open(path: &Path) -> Self {
        RunsFolder(path.to_path_buf())
    }

    /// Returns the folder's path.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Returns where a run's bundle lies.
    pub(crate) fn bundle(&self, id: &str) -> PathBuf {
        self.run(id).join("bundle")
    }

    /// Returns where a run keeps what it needs to go on after an interruption.
    pub(crate) fn checkpoints(&self, id: &str) -> PathBuf {
        self.run(id).join("checkpoints")
    }

    fn run(&self, id: &str) -> PathBuf {
        self.0.join(format!("run-{id}"))
    }

    fn data(&self, digest: &str) -> PathBuf {
        self.0.join(format!("data-{}", &digest[..digest.len().min(ID_LENGTH)]))
    }

    /// Makes a run's folder.
    pub(crate) fn begin_run(&self, id: &str) -> Result<()> {
        let folder = self.run(id);
        fs::create_dir_all(&folder).map_err(LabError::io("make", &folder))
    }

    /// Keeps what the report needs of a data set, where that has not been done.
    pub(crate) fn keep_data(&self, parts: &Parts) -> Result<()> {
        let folder = self.data(parts.digest());
        fs::create_dir_all(&folder).map_err(LabError::io("make", &folder))?;
        let path = folder.join("data.json");
        let record = DataRecord::new(parts);
        if matches!(find(&path), Found::Record(kept) if record == kept) {
            return Ok(());
        }
        for (part, texts) in [
            (Part::Train, Some(&parts.train)),
            (Part::Dev, Some(&parts.dev)),
            (Part::Test, parts.test.as_ref()),
        ] {
            if let Some(texts) = texts {
                lines::write(&folder.join(file_of(part)), kept_texts(texts))?;
            }
        }
        write_json(&path, &record)
    }

    /// Reads what is kept of a data set.
    pub(crate) fn read_data(&self, digest: &str) -> Result<KeptData> {
        let folder = self.data(digest);
        let record: DataRecord = read_json(&folder.join("data.json"))?;
        let read = |part| lines::read(&folder.join(file_of(part)));
        let (train, dev) = (read(Part::Train)?, read(Part::Dev)?);
        let measured = read(record.measured)?;
        Ok(KeptData { record, train, dev, measured })
    }

    /// Keeps what a run says of a part.
    pub(crate) fn keep_predictions(
        &self,
        id: &str,
        part: Part,
        predictions: &[Prediction],
    ) -> Result<()> {
        let path = self.run(id).join(file_of(part));
        lines::write(&path, predictions.iter().map(PredictionRecord::new))
    }

    /// Reads what a run says of the part that the figures are of.
    pub(crate) fn read_predictions(&self, id: &str, data: &KeptData) -> Result<Vec<Prediction>> {
        let path = self.run(id).join(file_of(data.record.measured));
        read_predictions(&path, data, &data.measured)
    }

    /// Reads what a run says of dev.
    pub(crate) fn read_dev_predictions(
        &self,
        id: &str,
        data: &KeptData,
    ) -> Result<Vec<Prediction>> {
        read_predictions(&self.run(id).join(file_of(Part::Dev)), data, &data.dev)
    }

    /// Keeps the neighborhoods that are drawn.
    pub(crate) fn keep_neighborhoods(&self, id: &str, kept: &[Neighborhood]) -> Result<()> {
        lines::write(&self.run(id).join("neighborhoods.jsonl.gz"), kept.iter())
    }

    /// Reads the neighborhoods that are drawn.
    pub(crate) fn read_neighborhoods(&self, id: &str) -> Result<Vec<Neighborhood>> {
        lines::read(&self.run(id).join("neighborhoods.jsonl.gz"))
    }

    /// Says that a run is done, and removes what it needed to get there.
    pub(crate) fn finish_run(&self, record: &RunRecord) -> Result<()> {
        write_json(&self.run(&record.id).join("run.json"), record)?;
        let checkpoints = self.checkpoints(&record.id);
        match fs::remove_dir_all(&checkpoints) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(LabError::io("remove", &checkpoints)(error))
            }
            _ => Ok(()),
        }
    }

    /// Returns a run that is done.
    pub(crate) fn finished(&self, id: &str) -> Option<RunRecord> {
        match find(&self.run(id).join("run.json")) {
            Found::Record(record) => Some(record),
            _ => None,
        }
    }

    /// Keeps what an ablation consists of, together with what was asked for before of the same model
    /// with the same settings: more seeds, or other gammas.
    pub(crate) fn keep_ablation(&self, ablation: &Ablation) -> Result<()> {
        let Ablation { data, spec, start, config, .. } = ablation;
        let id = id_of(&("ablation", data, spec, start, config));
        let path = self.0.join(format!("ablation-{id}.json"));
        let kept = match find(&path) {
            Found::Record(older) => ablation.clone().with(older),
            _ => ablation.clone(),
        };
        write_json(&path, &kept)
    }

    /// Returns the ablations of this version, in the order of their names, and how many files are of
    /// another version.
    pub(crate) fn ablations(&self) -> Result<(Vec<Ablation>, usize)> {
        let mut ablations = Vec::new();
        let mut n_others = 0;
        for name in self.names()? {
            if name.starts_with("ablation-") && name.ends_with(".json") {
                match find(&self.0.join(&name)) {
                    Found::Record(ablation) => ablations.push(ablation),
                    Found::OtherVersion => n_others += 1,
                    Found::Nothing => {}
                }
            }
        }
        Ok((ablations, n_others))
    }

    /// Returns the number of runs that another version of the program has made.
    pub fn runs_of_other_versions(&self) -> Result<usize> {
        let names = self.names()?;
        let runs = names.iter().filter(|name| name.starts_with("run-"));
        let is_other = |name: &&String| {
            let found: Found<RunRecord> = find(&self.0.join(name).join("run.json"));
            matches!(found, Found::OtherVersion)
        };
        Ok(runs.filter(is_other).count())
    }

    fn names(&self) -> Result<Vec<String>> {
        let fail = || LabError::io("read the folder of runs", &self.0);
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.0).map_err(fail())? {
            names.push(entry.map_err(fail())?.file_name().to_string_lossy().into_owned());
        }
        names.sort_unstable();
        Ok(names)
    }
}

fn read_predictions(path: &Path, data: &KeptData, texts: &[TextRecord]) -> Result<Vec<Prediction>> {
    let records: Vec<PredictionRecord> = lines::read(path)?;
    if records.len() != texts.len() {
        let (found, expected) = (records.len(), texts.len());
        return Err(LabError::damaged(path, format!("it has {found} of {expected} texts")));
    }
    let open = |(record, text): (&PredictionRecord, &TextRecord)| {
        let prediction = record.open(&text.labels, &data.train, data.record.n_known);
        prediction.ok_or_else(|| LabError::damaged(path, "it does not fit the data set"))
    };
    records.iter().zip(texts).map(open).collect()
}

fn file_of(part: Part) -> String {
    format!("{}.jsonl.gz", part.name())
}

fn kept_texts(texts: &Dataset) -> impl Iterator<Item = TextRecord> {
    let texts = texts.keys().iter().zip(texts.texts()).zip(texts.labels());
    texts.map(|((key, text), labels)| TextRecord {
        key: key.clone(),
        labels: labels.clone(),
        text: beginning(text),
    })
}

/// Returns a text's beginning on one line.
fn beginning(text: &str) -> String {
    let start: String = text.trim_start().chars().take(2 * KEPT_CHARACTERS).collect();
    let line = start.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(KEPT_CHARACTERS) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None if start.len() < text.trim_start().len() => format!("{line}…"),
        None => line,
    }
}

/// Returns an id that is the same for the same value, in every process.
pub(crate) fn id_of(value: &impl Serialize) -> String {
    let json = serde_json::to_vec(&(FORMAT_VERSION, value)).expect("our own types are plain data");
    let mut id = hex::encode(Sha256::digest(json));
    id.truncate(ID_LENGTH);
    id
}

/// Returns a digest of what a model starts from, a pretrained encoder's folder or a file of word vectors,
/// by which its runs are told from those of another.
///
/// # Errors
///
/// [`LabError::Io`] when a file cannot be read.
pub fn start_digest(start: &Path) -> Result<String> {
    let mut hash = Sha256::new();
    if start.is_file() {
        hash_file(&mut hash, start)?;
    }
    for name in ["config.json", "tokenizer.json", "model.safetensors"] {
        let path = start.join(name);
        if path.is_file() {
            hash.update(name.as_bytes());
            hash_file(&mut hash, &path)?;
        }
    }
    let mut digest = hex::encode(hash.finalize());
    digest.truncate(ID_LENGTH);
    Ok(digest)
}

fn hash_file(hash: &mut Sha256, path: &Path) -> Result<()> {
    let mut file = File::open(path).map_err(LabError::io("open", path))?;
    let mut buffer = vec![0; 1 << 20];
    loop {
        let n_bytes = file.read(&mut buffer).map_err(LabError::io("read", path))?;
        if n_bytes == 0 {
            return Ok(());
        }
        hash.update(&buffer[..n_bytes]);
    }
}

/// Writes a record so that it is there as a whole or not at all.
fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let fail = || LabError::io("write", path);
    let mut json = serde_json::to_vec_pretty(value).expect("our own types are plain data");
    json.push(b'\n');
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(fail())?;
    file.write_all(&json).and_then(|()| file.as_file().sync_all()).map_err(fail())?;
    file.persist(path).map_err(|error| fail()(error.error))?;
    Ok(())
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let json = fs::read(path).map_err(LabError::io("read", path))?;
    serde_json::from_slice(&json).map_err(|error| LabError::damaged(path, error))
}

/// Reads a record of this version. One that does not decode is as good as none, since the run that it
/// stands for can be made again; where it says something else than it should, another version wrote it.
fn find<T: DeserializeOwned>(path: &Path) -> Found<T> {
    #[derive(serde::Deserialize)]
    struct Version {
        format: u32,
    }
    let Ok(Version { format }) = read_json(path) else { return Found::Nothing };
    if format != FORMAT_VERSION {
        return Found::OtherVersion;
    }
    read_json(path).map_or(Found::OtherVersion, Found::Record)
}
