//! The datastore {(h_i, y_i)}: labeled texts' representations in LMDB, searched exactly or by
//! Arroy's trees.
//!
//! A datastore is a folder with one LMDB environment. Changes are staged by the one
//! [`DatastoreWriter`] and become visible at its commit, all at once; every [`DatastoreReader`]
//! sees the state of one commit for as long as it lives.
//!
//! A reader's state lies in memory, so that it stays what it is while a writer commits and LMDB's
//! map grows: for each item 4 bytes per dimension, and about 100 more for its key and labels. All readers of one commit share it, and readers of
//! different commits share what did not change.
//!
//! Arroy's trees stay in LMDB. They are built from a number of items on
//! ([`StorageOptions::indexed_from`]), and lag behind: the items that were changed since are searched exactly
//! beside them, until they are a tenth of all. A reader of a commit before the trees is searched exactly.
//!
//! LMDB does not work on network file systems.

mod item;
mod options;

mod bytes;
mod compact;
mod document;
mod files;
mod format;
mod locks;
mod pages;
mod seal;

mod environment;
mod store;

mod report;

mod index;
mod trees;

mod block;
mod chunks;
mod exact;
mod snapshot;

mod search;
mod shared;

mod reader;

mod apply;
mod writer;

mod verify;

#[cfg(feature = "_fuzzing")]
mod fuzz;

#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;

use crate::{Fingerprint, Result};

pub use compact::rounded;
pub use exact::{ExactIndex, Found};
#[cfg(feature = "_fuzzing")]
pub use fuzz::decode_any;
pub use item::{DocumentRecord, ItemId, Neighbor, Review, Source, StoredItem};
pub use locks::sync_folder;
pub use options::{DatastoreOptions, SearchMode, StorageOptions};
pub use reader::DatastoreReader;
pub use report::{DatastoreProblem, DatastoreReport, PreparedChange, PreparedChanges};
pub use seal::{SealState, check_seal};
pub use writer::{DatastoreWriter, MAX_KEY_BYTES};

use environment::Access;
use shared::Shared;

/// An LMDB environment with the labeled items; a handle to clone and share.
///
/// The environment is closed when the last handle, reader and writer of it is dropped.
#[derive(Clone, Debug)]
pub struct Datastore {
    shared: Arc<Shared>,
}

impl Datastore {
    /// Makes an empty datastore in a folder that has none; the folder is created where it is
    /// missing.
    ///
    /// The datastore outlives a power cut from the return on.
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
        Ok(Datastore { shared: Shared::create(folder, options, storage)? })
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
        Ok(Datastore { shared: Shared::open(folder, encoder, Access::ReadWrite, storage)? })
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
        Ok(Datastore { shared: Shared::open(folder, encoder, Access::Immutable, storage)? })
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
        self.shared.store.copy_to(folder)
    }

    /// Takes a snapshot of the newest commit.
    ///
    /// The first one after a commit reads all items, further ones cost next to nothing.
    ///
    /// # Errors
    ///
    /// [`DatastoreDamaged`](crate::Error::DatastoreDamaged) when something does not decode.
    pub fn reader(&self) -> Result<DatastoreReader> {
        DatastoreReader::newest(&self.shared)
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
        DatastoreWriter::begin(&self.shared)
    }

    /// Returns the fingerprint of the encoder that filled it.
    pub fn encoder(&self) -> Fingerprint {
        self.shared.store.encoder()
    }

    /// Returns the changes that a writer prepared and nobody has applied or discarded yet; `None`
    /// where there are none.
    ///
    /// # Errors
    ///
    /// [`DatastoreDamaged`](crate::Error::DatastoreDamaged) when they do not decode.
    pub fn prepared(&self) -> Result<Option<PreparedChanges>> {
        let store = &self.shared.store;
        store.read(|txn| verify::read_prepared(store, txn))
    }

    /// Reads everything: items, keys, labels, trees and journal, and whether they fit together.
    ///
    /// Every value is compared with its checksum; the pages were checked when it was opened.
    ///
    /// # Errors
    ///
    /// When nothing can be read at all; whatever else is wrong stands in the report.
    pub fn verify(&self) -> Result<DatastoreReport> {
        verify::verify(&self.shared.store, &*self.shared.search.index)
    }
}
