//! The folder of a training under way: its checkpoint and figures, so that an interruption costs nothing.

#[cfg(test)]
mod damage;
mod sealed;
#[cfg(test)]
mod tests;

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::files::read_regular;
use crate::report::EpochReport;
use crate::state::State;
use crate::{Result, Skipped, TrainError};
use sealed::SealedFile;

/// The version of the checkpoints that this program writes, the only one that it reads.
const VERSION: u32 = 5;

const CHECKPOINT: &str = "checkpoint.safetensors";
const METRICS: &str = "metrics.jsonl";
const LOCK: &str = "lock";

/// Stands beside the checkpoint of a training that would fail again, and says why.
const FAILED: &str = "failed";
/// The checkpoint of such a training once another one has begun.
const SET_ASIDE: &str = "checkpoint.failed.safetensors";

/// The use of a checkpoint that an earlier training left in the folder.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// Begins anew, and refuses to where there is a checkpoint, which would be lost; that of a training
    /// whose numbers went beyond all bounds is set aside until the new training is done.
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
/// The checkpoint is written at the end of an epoch, and when training ends or is stopped; writing a large one
/// takes one part in twenty of the time. It is written under another name and renamed, so that there is always a
/// whole one. Once the bundle is published it is removed; `metrics.jsonl` stays.
#[derive(Debug)]
pub(crate) struct RunFolder {
    claim: Claim,
    /// The training that the checkpoint must belong to.
    identity: Identity,
    /// The texts that are left out, which the figures tell.
    skipped: Skipped,
}

/// A training's folder before it is known what the training depends on: no other training can have it.
#[derive(Debug)]
pub(crate) struct Claim {
    path: PathBuf,
    start: Start,
    /// The folder's presence before the training.
    found: Found,
    _lock: File,
}

/// The presence of a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    There,
    Missing,
}

/// The identity of a training: resumed with any other, it would give another result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct Identity {
    /// The settings that the result depends on.
    pub(crate) settings: Value,
    /// The digest of the data.
    pub(crate) data: String,
}

/// The progress of a training.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Account {
    /// The epochs that are done.
    pub(crate) epochs: Vec<EpochReport>,
    /// The part of the next epoch that is done.
    pub(crate) partial: Partial,
}

impl Account {
    /// Tells whether a training on so many texts can be that far.
    pub(crate) fn is_possible(&self, n_texts: usize) -> bool {
        let is_next = |(position, epoch): (usize, &EpochReport)| epoch.epoch == position + 1;
        self.partial.n_texts <= n_texts && self.epochs.iter().enumerate().all(is_next)
    }
}

/// The part of an epoch that is done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Partial {
    /// The texts, in the epoch's order.
    pub(crate) n_texts: usize,
    /// The sum of their binary cross-entropy.
    pub(crate) bce: f64,
    /// The sum of their contrastive loss, before gamma.
    pub(crate) contrastive: f64,
    /// The sum of the norms of their representations.
    pub(crate) norm: f64,
    /// The sum of the standard deviations of their batches' pair distances, once for each text.
    pub(crate) spread: f64,
    /// The seconds that it took.
    pub(crate) seconds: f64,
}

/// The metadata of a checkpoint.
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

impl Claim {
    /// Takes a folder for a training, making it where it is missing.
    ///
    /// # Errors
    ///
    /// [`TrainError::RunInUse`] while another training has the folder,
    /// [`TrainError::CheckpointExists`] and [`TrainError::NoCheckpoint`] when `start` does not suit
    /// what lies there, [`TrainError::Io`] when it cannot be written.
    pub(crate) fn take(path: &Path, start: Start) -> Result<Self> {
        let found = if path.exists() { Found::There } else { Found::Missing };
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
        let claim = Claim { path: path.to_path_buf(), start, found, _lock: lock };
        if start == Start::Anew {
            claim.set_failed_aside()?;
        }
        let path = claim.path.join(CHECKPOINT);
        match (start, path.exists()) {
            (Start::Anew, true) => Err(TrainError::CheckpointExists { path }),
            (Start::Finish, false) => Err(TrainError::NoCheckpoint { path }),
            _ => Ok(claim),
        }
    }

    /// Makes room where the last training failed and would fail again.
    fn set_failed_aside(&self) -> Result<()> {
        let (mark, checkpoint) = (self.path.join(FAILED), self.path.join(CHECKPOINT));
        if !mark.exists() {
            return Ok(());
        }
        if checkpoint.exists() {
            let aside = self.path.join(SET_ASIDE);
            fs::rename(&checkpoint, &aside).map_err(TrainError::io(&checkpoint, "move"))?;
            tracing::warn!(aside = %aside.display(), "the checkpoint of a failed training is set aside");
        }
        remove(&mark)
    }

    /// Tells what was to be done with a checkpoint.
    pub(crate) fn start(&self) -> Start {
        self.start
    }

    /// Adds the training's identity, and the texts that are left out of it.
    pub(crate) fn of(self, identity: Identity, skipped: Skipped) -> RunFolder {
        RunFolder { claim: self, identity, skipped }
    }
}

impl Drop for Claim {
    /// Leaves nothing of a training that failed before it had anything to keep.
    fn drop(&mut self) {
        let has = |name: &str| self.path.join(name).exists();
        if self.found == Found::Missing && !has(CHECKPOINT) && !has(METRICS) {
            // Who cannot remove an empty folder loses nothing by it.
            let _ = fs::remove_file(self.path.join(LOCK));
            let _ = fs::remove_dir(&self.path);
        }
    }
}

impl RunFolder {
    /// Returns what was to be done with a checkpoint.
    pub(crate) fn start(&self) -> Start {
        self.claim.start
    }

    /// Returns where the checkpoint is, once there is one.
    pub(crate) fn checkpoint_path(&self) -> PathBuf {
        self.claim.path.join(CHECKPOINT)
    }

    /// Reads the checkpoint, or returns `None` where there is none.
    ///
    /// # Errors
    ///
    /// [`TrainError::CheckpointDamaged`] when a byte is not as it was written, [`TrainError::Checkpoint`]
    /// when it is of another version, [`TrainError::OtherSettings`] and [`TrainError::OtherData`] when it
    /// belongs to another training.
    pub(crate) fn read(&self) -> Result<Option<Checkpoint>> {
        let path = self.checkpoint_path();
        let bytes = match read_regular(&path, u64::MAX - 1) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(TrainError::io(&path, "read")(error)),
        };
        let Some(content) = sealed::content(&bytes) else { return Err(unsealed(path, &bytes)) };
        let refuse = |reason: String| TrainError::Checkpoint { path: path.clone(), reason };
        let (mut state, about) = State::read(content).map_err(refuse)?;
        drop(bytes);
        let about: Value =
            serde_json::from_str(&about).map_err(|error| refuse(error.to_string()))?;
        if about["version"] != VERSION {
            return Err(refuse(other_version(&about["version"])));
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
    /// [`TrainError::Io`]; the older checkpoint is whole then.
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
        write_whole(&state, about, &partial).map_err(|error| {
            // Half a checkpoint is of no use, and what failed is told already.
            let _ = fs::remove_file(&partial);
            TrainError::io(&partial, "write")(error)
        })?;
        fs::rename(&partial, &path).map_err(TrainError::io(&path, "replace"))?;
        // A training that goes on after it failed has a checkpoint worth keeping.
        remove(&self.claim.path.join(FAILED))
    }

    fn write_metrics(&self, epochs: &[EpochReport]) -> Result<()> {
        let path = self.claim.path.join(METRICS);
        let partial = path.with_added_extension("partial");
        let mut lines = Vec::new();
        for epoch in epochs {
            let line = MetricsLine { epoch, skipped: &self.skipped };
            serde_json::to_writer(&mut lines, &line).expect("figures are plain data");
            lines.push(b'\n');
        }
        let written = File::create(&partial).and_then(|mut file| file.write_all(&lines));
        written.map_err(TrainError::io(&partial, "write"))?;
        fs::rename(&partial, &path).map_err(TrainError::io(&path, "replace"))
    }

    /// Notes that the training would fail again, so that the next one need not resume it.
    pub(crate) fn mark_failed(&self, error: &TrainError) {
        // Without the mark the next training asks for the checkpoint to be finished or deleted.
        if self.checkpoint_path().exists() {
            let _ = fs::write(self.claim.path.join(FAILED), format!("{error}\n"));
        }
    }

    /// Removes the checkpoint of a training that is done.
    pub(crate) fn clear(self) -> Result<()> {
        [CHECKPOINT, SET_ASIDE, FAILED, LOCK]
            .iter()
            .try_for_each(|name| remove(&self.claim.path.join(name)))
    }
}

/// Removes a file, where there is one.
fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(TrainError::io(path, "remove")(error))
        }
        _ => Ok(()),
    }
}

/// A line of `metrics.jsonl`.
#[derive(Serialize)]
struct MetricsLine<'a> {
    #[serde(flatten)]
    epoch: &'a EpochReport,
    skipped: &'a Skipped,
}

/// Returns the error of a file without a sound trailer: older versions had none.
fn unsealed(path: PathBuf, bytes: &[u8]) -> TrainError {
    let about = State::about(bytes).ok().and_then(|about| serde_json::from_str(&about).ok());
    match about.as_ref().map(|about: &Value| &about["version"]) {
        Some(version) if version.is_u64() && *version != VERSION => {
            TrainError::Checkpoint { path, reason: other_version(version) }
        }
        _ => TrainError::CheckpointDamaged { path },
    }
}

fn other_version(version: &Value) -> String {
    format!(
        "it has the version {version}, and this program reads {VERSION}: finish the training with the \
         program that began it, or delete the file to begin anew"
    )
}

/// Writes a state to a file and waits until the disk has it.
fn write_whole(state: &State<'_>, about: String, path: &Path) -> io::Result<()> {
    let mut file = SealedFile::create(path)?;
    state.write(&mut file, about)?;
    file.finish()
}

/// Names the settings in which two JSON values differ, as "adam.learning_rate (0.001, now 0.01)".
fn differences(name: &str, then: &Value, now: &Value) -> Vec<String> {
    if let (Value::Array(a), Value::Array(b)) = (then, now)
        && a.len() == b.len()
    {
        let number = |(number, (a, b)): (usize, (&Value, &Value))| {
            differences(&format!("{name}.{number}"), a, b)
        };
        return a.iter().zip(b).enumerate().flat_map(number).collect();
    }
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
