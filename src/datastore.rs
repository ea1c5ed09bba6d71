//! The datastore {(h_i, y_i)}: labelled texts' representations in LMDB, searched exactly or by
//! Arroy's trees.
//!
//! A datastore is a folder with one LMDB environment. Changes are staged by the one
//! [`DatastoreWriter`] and become visible at its commit, all at once; every [`DatastoreReader`]
//! sees the state of one commit for as long as it lives.
//!
//! A reader's state lies in memory, so that it stays what it is while a writer commits and LMDB's
//! map grows: for each item 4 bytes per dimension and about 100 more for its key and labels. All
//! readers of one commit share it. Arroy's trees stay in LMDB and are those of the newest commit;
//! a reader of an older one is searched exactly.
//!
//! LMDB does not work on network file systems.

mod apply;
mod environment;
mod exact;
mod format;
#[cfg(feature = "fuzzing")]
mod fuzz;
mod locks;
mod pages;
mod reader;
mod seal;
mod search;
mod store;
mod trees;
mod verify;
mod writer;

#[cfg(test)]
mod tests;

use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;

use crate::{Embedding, Encoded, Fingerprint, LabelSet, LabelVocabulary, Result};

pub use exact::{ExactIndex, Found};
#[cfg(feature = "fuzzing")]
pub use fuzz::decode_any;
pub use locks::sync_folder;
pub use reader::DatastoreReader;
pub use seal::{SealState, check_seal};
pub use verify::{DatastoreProblem, DatastoreReport, PreparedChange, PreparedChanges};
pub use writer::{DatastoreWriter, MAX_KEY_BYTES};

use environment::Access;
use store::Store;

/// An item's number inside one datastore; a key keeps its number when it is replaced.
///
/// The number of a deleted item may be given to a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ItemId(pub u32);

/// Who labelled an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The model's training set.
    Training,
    /// A person, after training.
    Human,
}

/// A labelled text near the one asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Neighbor {
    /// The item.
    pub item: ItemId,
    /// d(h_i, f(x)): the Euclidean distance, not squared.
    pub distance: f32,
    /// y_i.
    pub labels: LabelSet,
}

/// An item as it is stored.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredItem {
    /// Its number.
    pub item: ItemId,
    /// h_i.
    pub embedding: Embedding,
    /// y_i.
    pub labels: LabelSet,
    /// Who labelled it.
    pub source: Source,
}

/// What is kept of a document, whoever labelled it, so that it can be tagged again without being
/// encoded again.
#[derive(Clone, Debug, PartialEq)]
pub struct DocumentRecord {
    /// What tells the document's text from others: a digest that the caller makes.
    pub content: [u8; 16],
    /// Whether a person corrected its labels.
    pub is_corrected: bool,
    /// The labels that people said it does not have.
    pub rejected: LabelSet,
    /// What the encoder said of the text; scores of 0 take no room.
    pub encoded: Option<Encoded>,
}

impl DocumentRecord {
    fn embedding(&self) -> Option<&Embedding> {
        self.encoded.as_ref().map(|encoded| &encoded.embedding)
    }
}

/// How neighbors are searched.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SearchMode {
    /// Whichever of the two costs less, as measured on this datastore and machine.
    #[default]
    Auto,
    /// Every item is compared, a batch of queries at once through matrix products.
    Exact,
    /// Arroy's trees, approximate.
    Arroy,
}

/// What a new datastore is made for.
#[derive(Clone, Debug)]
pub struct DatastoreOptions {
    /// The length of every embedding.
    pub dimensions: NonZeroUsize,
    /// The encoder whose embeddings it holds.
    pub encoder: Fingerprint,
    /// The labels known at the start: the model's, so that ids agree.
    pub labels: LabelVocabulary,
    /// The number of Arroy's trees.
    pub n_trees: NonZeroUsize,
}

impl DatastoreOptions {
    /// The default number of trees.
    pub const DEFAULT_TREES: NonZeroUsize = NonZeroUsize::new(10).expect("10 is not 0");

    /// Makes options with the default number of trees.
    pub fn new(dimensions: NonZeroUsize, encoder: Fingerprint, labels: LabelVocabulary) -> Self {
        DatastoreOptions { dimensions, encoder, labels, n_trees: Self::DEFAULT_TREES }
    }
}

/// How much a datastore takes at once; every default suits every size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StorageOptions {
    /// The size of LMDB's map when the environment is opened, in bytes, rounded up to whole pages.
    ///
    /// The map is address space and no memory; it doubles by itself when it is full.
    pub initial_map_bytes: usize,
    /// How many bytes of staged changes a writer keeps in memory before it moves them into the
    /// file.
    pub staged_bytes: usize,
}

impl Default for StorageOptions {
    fn default() -> Self {
        StorageOptions { initial_map_bytes: 256 << 20, staged_bytes: 32 << 20 }
    }
}

/// An LMDB environment with the labelled items; a handle to clone and share.
///
/// The environment is closed when the last handle, reader and writer of it is dropped.
#[derive(Clone, Debug)]
pub struct Datastore {
    store: Arc<Store>,
}

impl Datastore {
    /// Makes an empty datastore in a folder that has none; the folder is created where it is
    /// missing.
    ///
    /// # Errors
    ///
    /// [`DatastoreExists`](crate::Error::DatastoreExists) where there is one,
    /// [`DatastoreInUse`](crate::Error::DatastoreInUse) while another process makes one.
    pub fn create(folder: &Path, options: &DatastoreOptions) -> Result<Self> {
        Datastore::create_with(folder, options, StorageOptions::default())
    }

    /// Makes an empty datastore with storage options of one's own.
    ///
    /// # Errors
    ///
    /// As [`Datastore::create`].
    pub fn create_with(
        folder: &Path,
        options: &DatastoreOptions,
        storage: StorageOptions,
    ) -> Result<Self> {
        Ok(Datastore { store: Store::create(folder, options, storage)? })
    }

    /// Opens a datastore for reading and writing; where this process may not write, for reading.
    ///
    /// On a read-only mount, and in a folder or with files that this process may not change, nothing is
    /// written, and [`Datastore::writer`] says why there is none. While it reads there, writers of other
    /// processes wait; while one of them is at work, reading is
    /// [`DatastoreInUse`](crate::Error::DatastoreInUse).
    ///
    /// All pages are read before LMDB maps them, so that no damage can kill the process.
    ///
    /// # Errors
    ///
    /// [`NoDatastore`](crate::Error::NoDatastore) where there is none,
    /// [`EncoderMismatch`](crate::Error::EncoderMismatch) when another encoder filled it,
    /// [`DatastoreInUse`](crate::Error::DatastoreInUse) when this process has it open, under
    /// whatever path, [`DatastoreVersion`](crate::Error::DatastoreVersion) when a newer program
    /// wrote it, and [`DatastoreDamaged`](crate::Error::DatastoreDamaged).
    pub fn open(folder: &Path, encoder: &Fingerprint) -> Result<Self> {
        Datastore::open_with(folder, encoder, StorageOptions::default())
    }

    /// Opens a datastore for reading and writing with storage options of one's own.
    ///
    /// # Errors
    ///
    /// As [`Datastore::open`].
    pub fn open_with(
        folder: &Path,
        encoder: &Fingerprint,
        storage: StorageOptions,
    ) -> Result<Self> {
        Ok(Datastore { store: Store::open(folder, encoder, Access::ReadWrite, storage)? })
    }

    /// Opens a datastore that nobody changes, such as a bundle's; writes nothing into its folder.
    ///
    /// It may be opened so any number of times. It takes no lock: were somebody to change it
    /// meanwhile, reading could fail.
    ///
    /// # Errors
    ///
    /// As [`Datastore::open`].
    pub fn open_read_only(folder: &Path, encoder: &Fingerprint) -> Result<Self> {
        let storage = StorageOptions::default();
        Ok(Datastore { store: Store::open(folder, encoder, Access::Immutable, storage)? })
    }

    /// Copies the committed state, compacted, into a folder that has no datastore.
    ///
    /// The copy outlives a power cut from the return on; where the folder's parents are new too, make
    /// their names durable with [`sync_folder`].
    ///
    /// # Errors
    ///
    /// [`DatastoreExists`](crate::Error::DatastoreExists) where there is one; an error of the file
    /// system's, such as a full disk, leaves none.
    pub fn copy_to(&self, folder: &Path) -> Result<()> {
        self.store.copy_to(folder)
    }

    /// Takes a snapshot of the newest commit.
    ///
    /// The first one after a commit reads all items, further ones cost next to nothing.
    ///
    /// # Errors
    ///
    /// [`DatastoreDamaged`](crate::Error::DatastoreDamaged) when something does not decode.
    pub fn reader(&self) -> Result<DatastoreReader> {
        DatastoreReader::newest(&self.store)
    }

    /// Begins changes; one writer at a time, over all processes.
    ///
    /// # Errors
    ///
    /// [`DatastoreInUse`](crate::Error::DatastoreInUse) while there is another,
    /// [`DatastoreReadOnly`](crate::Error::DatastoreReadOnly) after
    /// [`Datastore::open_read_only`],
    /// [`DatastoreNotWritable`](crate::Error::DatastoreNotWritable) where this process may not write,
    /// and [`DatastoreDamaged`](crate::Error::DatastoreDamaged) where the file was changed since it was
    /// sealed.
    pub fn writer(&self) -> Result<DatastoreWriter> {
        DatastoreWriter::begin(&self.store)
    }

    /// Returns the fingerprint of the encoder that filled it.
    pub fn encoder(&self) -> Fingerprint {
        self.store.encoder()
    }

    /// Returns the changes that a writer prepared and nobody has applied or discarded yet; `None`
    /// where there are none.
    ///
    /// # Errors
    ///
    /// [`DatastoreDamaged`](crate::Error::DatastoreDamaged) when they do not decode.
    pub fn prepared(&self) -> Result<Option<PreparedChanges>> {
        self.store.read(|txn| verify::read_prepared(&self.store, txn))
    }

    /// Reads everything: items, keys, labels, trees and journal, and whether they fit together.
    ///
    /// Every value is compared with its checksum; the pages were checked when it was opened.
    ///
    /// # Errors
    ///
    /// When nothing can be read at all; whatever else is wrong stands in the report.
    pub fn verify(&self) -> Result<DatastoreReport> {
        verify::verify(&self.store)
    }
}
