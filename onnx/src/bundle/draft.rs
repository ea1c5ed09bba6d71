//! A bundle being written.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use autotag::datastore::DatastoreOptions;
use autotag::{Datastore, Fingerprint, Interpolation, LabelVocabulary, LearnedMix, Selection};
use tempfile::TempDir;

use super::config::{BundleConfig, FORMAT_VERSION};
use super::files::{CARD, CONFIG, DATASTORE, LABELS, MANIFEST, MODEL, write, write_json};
use super::manifest::{self, Manifest};
use super::model::{self, ModelFile};
use super::opened::{Contents, ModelBundle, core_error, encoder_fingerprint};
use super::stamp::Stamp;
use crate::{Lexicon, OnnxEncoder, OnnxError, OnnxOptions, Result};

/// The datastore's file in its folder.
const DATA: &str = "data.mdb";

/// Where the datastore's compacted copy is made.
const DATASTORE_COPY: &str = "datastore.copy";

/// A bundle that is being written, in a folder beside the one that it will have.
///
/// The folder's name begins with a dot and the bundle's name and contains `.draft-`; dropping the
/// draft removes it. One that a killed process left behind can be deleted.
#[derive(Debug)]
pub struct BundleDraft {
    folder: TempDir,
    target: PathBuf,
    contents: Contents,
    card: Option<String>,
}

impl BundleDraft {
    /// Checks that a bundle can be published at a target, for whoever has long work to do before.
    ///
    /// The target's parent folders are made where they are missing.
    ///
    /// # Errors
    ///
    /// [`OnnxError::TargetExists`] when something else than a bundle lies there, [`OnnxError::Io`] when no
    /// folder can be made beside it.
    pub fn check_target(target: &Path) -> Result<()> {
        if fs::symlink_metadata(target).is_ok() {
            check_replaceable(target)?;
        }
        sibling(target, "draft").map(drop)
    }

    /// Begins a bundle: writes labels, the tokenizer or n-grams, and the model after checking that
    /// they fit together.
    ///
    /// The target's parent folders are made where they are missing.
    ///
    /// # Errors
    ///
    /// [`OnnxError::LabelCount`], [`OnnxError::LexiconKind`], [`OnnxError::ModelSignature`],
    /// [`OnnxError::Operator`] and the like when the parts do not fit together or are not what a
    /// bundle may have; [`OnnxError::Io`] when they cannot be written.
    pub fn create(
        target: &Path,
        config: BundleConfig,
        labels: &LabelVocabulary,
        lexicon: impl Into<Lexicon>,
        model: Vec<u8>,
    ) -> Result<Self> {
        let config = BundleConfig { format_version: FORMAT_VERSION, ..config };
        if labels.len() != config.n_labels {
            let (path, expected) = (target.to_path_buf(), config.n_labels);
            return Err(OnnxError::LabelCount { path, expected, found: labels.len() });
        }
        config.check(target)?;
        let lexicon: Lexicon = lexicon.into();
        if lexicon.kind() != Some(config.input) {
            return Err(OnnxError::LexiconKind { path: target.to_path_buf(), input: config.input });
        }
        let folder = sibling(target, "draft")?;
        let path = folder.path();
        write_json(&path.join(LABELS), &labels.names().collect::<Vec<_>>())?;
        for (name, bytes) in lexicon.files(target)? {
            write(&path.join(name), &bytes)?;
        }
        write(&path.join(MODEL), &model)?;
        let contents = Contents {
            labels: labels.clone(),
            model: ModelFile { digest: manifest::digest(&model), state: None },
            encoder: encoder_fingerprint(path, &Manifest::of_folder(path)?, &config)?,
            config,
        };
        model::decode_checked(&path.join(MODEL), model.into(), &contents.config)?;
        Ok(BundleDraft { folder, target: target.to_path_buf(), contents, card: None })
    }

    /// Begins a bundle whose files are yet to be copied.
    pub(super) fn empty(target: &Path, contents: Contents) -> Result<Self> {
        let folder = sibling(target, "draft")?;
        Ok(BundleDraft { folder, target: target.to_path_buf(), contents, card: None })
    }

    /// Returns the folder that the draft is written in.
    pub(super) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Loads the draft's model, to compare its answers and to encode the training set.
    ///
    /// # Errors
    ///
    /// As [`OnnxEncoder::open`].
    pub fn encoder(&self, options: &OnnxOptions) -> Result<OnnxEncoder> {
        OnnxEncoder::load(self.folder.path(), &self.contents, options)
    }

    /// Returns where the training set's datastore is to be made; the folder does not exist yet.
    pub fn datastore_folder(&self) -> PathBuf {
        self.folder.path().join(DATASTORE)
    }

    /// Returns the fingerprint that the datastore is to be bound to.
    pub fn encoder_fingerprint(&self) -> Fingerprint {
        self.contents.encoder
    }

    /// Returns the configuration as it will be written.
    pub fn config(&self) -> &BundleConfig {
        &self.contents.config
    }

    /// Sets how neighbors vote and how much they weigh.
    pub fn set_interpolation(&mut self, interpolation: Interpolation) {
        self.contents.config.interpolation = interpolation;
    }

    /// Sets the mix in the place of the interpolation.
    pub fn set_mix(&mut self, mix: Option<LearnedMix>) {
        self.contents.config.mix = mix;
    }

    /// Sets which scores become tags.
    pub fn set_selection(&mut self, selection: Selection) {
        self.contents.config.selection = selection;
    }

    /// Sets what is told of the training.
    pub fn set_training(&mut self, training: serde_json::Value) {
        self.contents.config.training = training;
    }

    /// Sets the model card, Markdown for people.
    pub fn set_card(&mut self, card: String) {
        self.card = Some(card);
    }

    /// Finishes the bundle and gives it its name, where nothing may lie yet.
    ///
    /// Every handle to the draft's datastore must be dropped before. A draft without a datastore is
    /// given an empty one.
    ///
    /// # Errors
    ///
    /// [`OnnxError::TargetExists`], [`OnnxError::Core`] when the datastore is in use, damaged or made
    /// for another encoder, or [`OnnxError::Io`] when a file cannot be written for good.
    pub fn publish(self) -> Result<ModelBundle> {
        if fs::symlink_metadata(&self.target).is_ok() {
            return Err(OnnxError::TargetExists { path: self.target });
        }
        self.finish()?;
        self.rename()
    }

    /// Finishes the bundle and puts it in the place of an older one, or where nothing lies.
    ///
    /// Whoever has the older bundle's files open can go on reading them, except on Windows.
    ///
    /// # Errors
    ///
    /// [`OnnxError::TargetExists`] when something else than a bundle lies there, and those of
    /// [`BundleDraft::publish`].
    pub fn publish_replacing(self) -> Result<ModelBundle> {
        if fs::symlink_metadata(&self.target).is_err() {
            return self.publish();
        }
        check_replaceable(&self.target)?;
        self.finish()?;
        self.replace()
    }

    /// Publishes, as [`BundleDraft::publish_replacing`], a draft whose datastore is a copy of a
    /// bundle's and so compact already.
    pub(super) fn publish_copy_replacing(self) -> Result<ModelBundle> {
        if fs::symlink_metadata(&self.target).is_err() {
            self.seal()?;
            return self.rename();
        }
        check_replaceable(&self.target)?;
        self.seal()?;
        self.replace()
    }

    /// Puts the finished draft in the place of the bundle at the target.
    fn replace(self) -> Result<ModelBundle> {
        let attic = sibling(&self.target, "old")?;
        let old = attic.path().join("bundle");
        fs::rename(&self.target, &old).map_err(OnnxError::io(&self.target, "move"))?;
        let target = self.target.clone();
        self.rename().inspect_err(|_| {
            // The older bundle goes back where it was; if even that fails it must not be deleted.
            if fs::rename(&old, &target).is_err() {
                let _kept = attic.keep();
            }
        })
    }

    fn finish(&self) -> Result<()> {
        self.compact_datastore().map_err(|source| core_error(&self.target, source))?;
        self.seal()
    }

    /// Writes configuration and manifest, and waits until the disk has everything.
    fn seal(&self) -> Result<()> {
        let folder = self.folder.path();
        write_json(&folder.join(CONFIG), &self.contents.config)?;
        if let Some(card) = &self.card {
            write(&folder.join(CARD), card.as_bytes())?;
        }
        self.open_datastore_to_readers()?;
        write_manifest(folder)?;
        sync_below(folder)
    }

    /// Gives the datastore's file the mode of the others, which the umask decided: LMDB makes files that
    /// only their owner can read.
    fn open_datastore_to_readers(&self) -> Result<()> {
        let (like, path) = (self.folder.path().join(CONFIG), self.datastore_folder().join(DATA));
        let mode = fs::metadata(&like).map_err(OnnxError::io(&like, "read"))?.permissions();
        fs::set_permissions(&path, mode).map_err(OnnxError::io(&path, "set the mode of"))
    }

    /// Puts a compacted copy in the place of the datastore, without lock files and free pages.
    ///
    /// A draft that was given no datastore gets an empty one: then the model alone answers.
    fn compact_datastore(&self) -> autotag::Result<()> {
        let (folder, copy) = (self.datastore_folder(), self.folder.path().join(DATASTORE_COPY));
        let Contents { config, labels, encoder, .. } = &self.contents;
        if !folder.exists() {
            let options = DatastoreOptions::new(config.dimensions, *encoder, labels.clone());
            Datastore::create(&folder, &options)?;
        }
        Datastore::open_read_only(&folder, encoder)?.copy_to(&copy)?;
        let moved = fs::remove_dir_all(&folder).and_then(|()| fs::rename(&copy, &folder));
        moved.map_err(|source| autotag::Error::Io { path: folder, action: "replace", source })
    }

    fn rename(self) -> Result<ModelBundle> {
        let draft = self.folder.path();
        fs::rename(draft, &self.target)
            .map_err(OnnxError::io(&self.target, "rename the draft to"))?;
        sync(parent(&self.target))?;
        // The folder has gone to its place; there is nothing left to remove.
        let _moved = self.folder.keep();
        ModelBundle::open(&self.target)
    }
}

/// Writes the manifest of a folder's files, and their stamp.
fn write_manifest(folder: &Path) -> Result<()> {
    let names = manifest::list(folder)?;
    let stamp = Stamp::of_files(folder, names.iter().map(String::as_str));
    Manifest::of_folder(folder)?.write(folder)?;
    let (_, fingerprint) = Manifest::read(folder)?;
    stamp.write(folder, &fingerprint)
}

/// Checks that what lies at a target is a bundle.
fn check_replaceable(target: &Path) -> Result<()> {
    if target.join(MANIFEST).is_file() && target.join(CONFIG).is_file() {
        return Ok(());
    }
    Err(OnnxError::TargetExists { path: target.to_path_buf() })
}

/// Makes a hidden folder beside the target, on the same file system.
fn sibling(target: &Path, purpose: &str) -> Result<TempDir> {
    let parent = parent(target);
    fs::create_dir_all(parent).map_err(OnnxError::io(parent, "create"))?;
    let mut prefix = OsString::from(".");
    prefix.push(target.file_name().unwrap_or_default());
    prefix.push(format!(".{purpose}-"));
    let mut builder = tempfile::Builder::new();
    builder.prefix(&prefix);
    // As any folder that the user makes, whose umask decides: it becomes the bundle's.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o777));
    builder.tempdir_in(parent).map_err(OnnxError::io(parent, "create a folder in"))
}

fn parent(target: &Path) -> &Path {
    match target.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Waits until the disk has every file and folder below a folder, and the folder itself.
fn sync_below(folder: &Path) -> Result<()> {
    for entry in fs::read_dir(folder).map_err(OnnxError::io(folder, "list"))? {
        let path = entry.map_err(OnnxError::io(folder, "list"))?.path();
        if path.is_dir() {
            sync_below(&path)?;
        } else {
            sync(&path)?;
        }
    }
    sync(folder)
}

#[cfg(unix)]
fn sync(path: &Path) -> Result<()> {
    let file = File::open(path).map_err(OnnxError::io(path, "open"))?;
    file.sync_all().map_err(OnnxError::io(path, "sync"))
}

/// Elsewhere than on Unix neither a folder nor a file open for reading can be synced.
#[cfg(not(unix))]
fn sync(_path: &Path) -> Result<()> {
    Ok(())
}
