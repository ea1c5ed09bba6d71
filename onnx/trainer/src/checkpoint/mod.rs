//! What a training leaves on disk while it goes on, so that an interruption costs nothing.

mod state;

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::fit::EpochReport;
use crate::{Result, TrainError};

pub use state::{State, StateError};

/// The version of the checkpoints that this program writes, the only one that it reads.
const VERSION: u32 = 2;

const CHECKPOINT: &str = "checkpoint.safetensors";
const METRICS: &str = "metrics.jsonl";
const LOCK: &str = "lock";

/// What a training does with the checkpoint that an earlier one left in its folder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// Begins anew, and refuses to where there is a checkpoint, which would be lost.
    #[default]
    Anew,
    /// Goes on where the checkpoint is, to the result that the training would have had without the
    /// interruption; begins anew where there is none.
    Resume,
    /// Takes the best epoch so far and trains no more.
    Finish,
}

/// A training's folder: its checkpoint, and the figures of its epochs as JSON lines.
///
/// The checkpoint is written at the end of each epoch and when training is stopped, under another
/// name and renamed, so that there is always a whole one. Once the bundle is published it is removed;
/// `metrics.jsonl` stays.
#[derive(Debug)]
pub(crate) struct RunFolder {
    path: PathBuf,
    start: Start,
    /// What the checkpoint must belong to.
    identity: Identity,
    _lock: File,
}

/// What a training is: resuming it with anything else gives another result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Identity {
    /// The settings that the result depends on.
    pub(crate) settings: Value,
    /// The digest of the data.
    pub(crate) data: String,
}

/// How far a training got.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Account {
    /// The epochs that are done.
    pub(crate) epochs: Vec<EpochReport>,
    /// What is done of the epoch behind them.
    pub(crate) partial: Partial,
}

impl Account {
    /// Tells whether a training on so many texts can be that far.
    pub(crate) fn is_possible(&self, n_texts: usize) -> bool {
        let is_next = |(position, epoch): (usize, &EpochReport)| epoch.epoch == position + 1;
        self.partial.n_texts <= n_texts && self.epochs.iter().enumerate().all(is_next)
    }
}

/// What is done of an epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Partial {
    /// The texts, in the epoch's order.
    pub(crate) n_texts: usize,
    /// The sum of their binary cross-entropy.
    pub(crate) bce: f64,
    /// The sum of their contrastive loss, before gamma.
    pub(crate) contrastive: f64,
    /// The seconds that it took.
    pub(crate) seconds: f64,
}

/// What a checkpoint says about itself.
#[derive(Debug, Serialize, Deserialize)]
struct About {
    version: u32,
    #[serde(flatten)]
    identity: Identity,
    #[serde(flatten)]
    account: Account,
}

/// The prefixes of a checkpoint's two states.
const MODEL: &str = "model/";
const BEST: &str = "best/";

/// A checkpoint that was read.
#[derive(Debug)]
pub(crate) struct Checkpoint {
    pub(crate) account: Account,
    /// The model's and its optimizer's state.
    pub(crate) model: State<'static>,
    /// The best epoch's parameters; none before the first epoch's end.
    pub(crate) best: State<'static>,
}

impl RunFolder {
    /// Takes a folder for a training, making it where it is missing.
    ///
    /// # Errors
    ///
    /// [`TrainError::RunInUse`] while another training has the folder,
    /// [`TrainError::CheckpointExists`] and [`TrainError::NoCheckpoint`] when `start` does not suit
    /// what lies there, [`TrainError::Io`] when it cannot be written.
    pub(crate) fn take(path: &Path, start: Start, identity: Identity) -> Result<Self> {
        fs::create_dir_all(path).map_err(TrainError::io(path, "create"))?;
        let lock_path = path.join(LOCK);
        let lock = OpenOptions::new().create(true).truncate(false).write(true).open(&lock_path);
        let lock = lock.map_err(TrainError::io(&lock_path, "create"))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(TrainError::RunInUse { path: path.to_path_buf() });
            }
            Err(TryLockError::Error(error)) => {
                return Err(TrainError::io(&lock_path, "lock")(error));
            }
        }
        let folder = RunFolder { path: path.to_path_buf(), start, identity, _lock: lock };
        let path = folder.checkpoint_path();
        match (start, path.exists()) {
            (Start::Anew, true) => Err(TrainError::CheckpointExists { path }),
            (Start::Finish, false) => Err(TrainError::NoCheckpoint { path }),
            _ => Ok(folder),
        }
    }

    /// Returns what was to be done with a checkpoint.
    pub(crate) fn start(&self) -> Start {
        self.start
    }

    /// Returns where the checkpoint is, once there is one.
    pub(crate) fn checkpoint_path(&self) -> PathBuf {
        self.path.join(CHECKPOINT)
    }

    /// Reads the checkpoint, or returns `None` where there is none.
    ///
    /// # Errors
    ///
    /// [`TrainError::Checkpoint`] when it is damaged or of another version,
    /// [`TrainError::OtherSettings`] and [`TrainError::OtherData`] when it belongs to another training.
    pub(crate) fn read(&self) -> Result<Option<Checkpoint>> {
        let path = self.checkpoint_path();
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(TrainError::io(&path, "read")(error)),
        };
        let refuse = |reason: String| TrainError::Checkpoint { path: path.clone(), reason };
        let (mut state, about) = State::read(&bytes).map_err(refuse)?;
        drop(bytes);
        let about: Value =
            serde_json::from_str(&about).map_err(|error| refuse(error.to_string()))?;
        if about["version"] != VERSION {
            let reason = format!(
                "it has the version {}, and this program reads {VERSION}",
                about["version"]
            );
            return Err(refuse(reason));
        }
        let About { identity, account, .. } =
            serde_json::from_value(about).map_err(|error| refuse(error.to_string()))?;
        self.check(&identity)?;
        let (model, best) = (state.take_all(MODEL), state.take_all(BEST));
        Ok(Some(Checkpoint { account, model, best }))
    }

    fn check(&self, found: &Identity) -> Result<()> {
        let differences = differences("", &found.settings, &self.identity.settings);
        if !differences.is_empty() {
            let differences = differences.join(", ");
            return Err(TrainError::OtherSettings { path: self.checkpoint_path(), differences });
        }
        if found.data != self.identity.data {
            return Err(TrainError::OtherData { path: self.checkpoint_path() });
        }
        Ok(())
    }

    /// Writes the checkpoint, and the figures of the epochs that are done.
    ///
    /// # Errors
    ///
    /// [`TrainError::Io`] or [`TrainError::Checkpoint`]; the older checkpoint is whole then.
    pub(crate) fn write(&self, account: &Account, model: State<'_>, best: State<'_>) -> Result<()> {
        self.write_metrics(&account.epochs)?;
        let mut state = State::default();
        state.put_all(MODEL, model);
        state.put_all(BEST, best);
        let (identity, account) = (self.identity.clone(), account.clone());
        let about = About { version: VERSION, identity, account };
        let about = serde_json::to_string(&about).expect("settings and figures are plain data");
        let path = self.checkpoint_path();
        let partial = path.with_added_extension("partial");
        write_whole(&state, about, &partial).inspect_err(|_| {
            // Half a checkpoint is of no use, and what failed is told already.
            let _ = fs::remove_file(&partial);
        })?;
        fs::rename(&partial, &path).map_err(TrainError::io(&path, "replace"))
    }

    fn write_metrics(&self, epochs: &[EpochReport]) -> Result<()> {
        let path = self.path.join(METRICS);
        let partial = path.with_added_extension("partial");
        let mut lines = Vec::new();
        for epoch in epochs {
            serde_json::to_writer(&mut lines, epoch).expect("figures are plain data");
            lines.push(b'\n');
        }
        let written = File::create(&partial).and_then(|mut file| file.write_all(&lines));
        written.map_err(TrainError::io(&partial, "write"))?;
        fs::rename(&partial, &path).map_err(TrainError::io(&path, "replace"))
    }

    /// Removes the checkpoint of a training that is done.
    pub(crate) fn clear(self) -> Result<()> {
        for name in [CHECKPOINT, LOCK] {
            let path = self.path.join(name);
            match fs::remove_file(&path) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(TrainError::io(&path, "remove")(error));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// Writes a state to a file and waits until the disk has it.
fn write_whole(state: &State<'_>, about: String, path: &Path) -> Result<()> {
    state.write(path, about).map_err(|error| {
        let (path, reason) = (path.to_path_buf(), error.to_string());
        TrainError::Checkpoint { path, reason }
    })?;
    let synced = File::open(path).and_then(|file| file.sync_all());
    synced.map_err(TrainError::io(path, "sync"))
}

/// Names the settings in which two JSON values differ, as "adam.learning_rate (0.001, now 0.01)".
fn differences(name: &str, then: &Value, now: &Value) -> Vec<String> {
    let (Value::Object(a), Value::Object(b)) = (then, now) else {
        return if then == now { Vec::new() } else { vec![format!("{name} ({then}, now {now})")] };
    };
    let mut keys: Vec<&String> = a.keys().chain(b.keys()).collect();
    keys.sort_unstable();
    keys.dedup();
    let full = |key: &str| if name.is_empty() { key.to_owned() } else { format!("{name}.{key}") };
    keys.into_iter()
        .flat_map(|key| {
            let of =
                |map: &serde_json::Map<String, Value>| map.get(key).cloned().unwrap_or_default();
            differences(&full(key), &of(a), &of(b))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::matrix::Matrix;

    fn identity() -> Identity {
        Identity { settings: json!({"seed": 1, "adam": {"rate": 0.5}}), data: "aa".to_owned() }
    }

    fn written(folder: &Path) {
        let folder = RunFolder::take(folder, Start::Anew, identity()).unwrap();
        let matrix = Matrix::zeros(1, 2);
        let mut state = State::default();
        state.put("matrix", &matrix);
        folder.write(&Account::default(), state, State::default()).unwrap();
    }

    #[test]
    fn a_checkpoint_belongs_to_one_training() {
        let folder = tempfile::tempdir().unwrap();
        written(folder.path());
        let read = |identity| RunFolder::take(folder.path(), Start::Resume, identity)?.read();
        assert!(read(identity()).unwrap().unwrap().model.values("matrix", &[1, 2]).is_ok());
        let mut other = identity();
        other.settings = json!({"seed": 2, "adam": {"rate": 0.5}, "new": true});
        let error = read(other).unwrap_err().to_string();
        assert!(error.contains("new (null, now true), seed (1, now 2)"), "{error}");
        let other = Identity { data: "bb".to_owned(), ..identity() };
        assert!(matches!(read(other).unwrap_err(), TrainError::OtherData { .. }));
    }

    #[test]
    fn a_checkpoint_is_not_overwritten_unasked() {
        let folder = tempfile::tempdir().unwrap();
        let take = |start| RunFolder::take(folder.path(), start, identity());
        assert!(matches!(take(Start::Finish).unwrap_err(), TrainError::NoCheckpoint { .. }));
        written(folder.path());
        assert!(matches!(take(Start::Anew).unwrap_err(), TrainError::CheckpointExists { .. }));
        let first = take(Start::Resume).unwrap();
        assert!(matches!(take(Start::Resume).unwrap_err(), TrainError::RunInUse { .. }));
        first.clear().unwrap();
        assert!(take(Start::Anew).is_ok());
    }

    #[test]
    fn a_damaged_checkpoint_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        written(folder.path());
        let path = folder.path().join(CHECKPOINT);
        let bytes = fs::read(&path).unwrap();
        for damaged in [&bytes[..bytes.len() / 2], b"".as_slice()] {
            fs::write(&path, damaged).unwrap();
            let folder = RunFolder::take(folder.path(), Start::Resume, identity()).unwrap();
            assert!(matches!(folder.read().unwrap_err(), TrainError::Checkpoint { .. }));
        }
    }
}
