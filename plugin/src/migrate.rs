//! Moving an index to another bundle.

use std::path::Path;

use autotag::datastore::{SealState, check_seal};
use autotag::{Datastore, Encoder, Fingerprint, Tagger, failpoint};
use tantivy::Index;

use crate::commit::{self, Payload};
use crate::error::in_use;
use crate::folder::Locked;
use crate::guard::open_reader;
use crate::layout::own_folder;
use crate::rebuild::{self, RebuildReport, Sources};
use crate::{
    BundleSource, Error, IndexFolder, JobProgress, Result, TaggingWriter, WriterOptions,
    datastores, source,
};

impl IndexFolder {
    /// Makes the index one of another bundle's: its neighbors become the bundle's training set and
    /// the documents that people labelled, encoded anew from their stored texts where the bundle has
    /// another encoder. What people rejected, renamed, merged and retired stays so.
    ///
    /// Returns the writer, with which nobody else comes in between: give the documents the new
    /// model's tags by [`TaggingWriter::retag`]. Searches go on meanwhile, with the tags that
    /// documents have. The process may die meanwhile: the next call with the same bundle goes on
    /// where it was, unless the index was opened for writing in between. Documents that the new
    /// encoder cannot encode keep their labels but vote no more. Where the index is the bundle's
    /// already, only its path is noted.
    ///
    /// # Errors
    ///
    /// [`Error::InUse`] when a writer has the index open, [`Error::NotStored`] when the schema does
    /// not store all of a document, [`Error::EncoderMismatch`] for a tagger that is not the bundle's,
    /// [`Error::Datastore`] when the index's neighbors are damaged, and when a store fails; the index
    /// stays as it is then.
    pub fn migrate<E: Encoder + 'static>(
        &mut self,
        tagger: Tagger<E>,
        bundle: &BundleSource<'_>,
        options: WriterOptions,
        progress: impl FnMut(JobProgress),
    ) -> Result<(TaggingWriter<E>, RebuildReport)> {
        check_encoder(&tagger, bundle.training_set.encoder())?;
        let (locked, current) = self.lock()?;
        *self = current;
        let rebuilt = if self.description.is_of(bundle) {
            self.description = self.description.with_bundle(bundle);
            self.publish()?;
            RebuildReport::default()
        } else {
            let (index, _) = self.index_in(&locked.directory)?;
            let old = self.settled_datastore(&index)?.ok_or_else(|| self.damaged())?;
            let name = self.name_for(bundle);
            self.description = self.description.with_replaced();
            self.replace_datastore(&locked, &name, &tagger, bundle, Some(&old), progress)?
        };
        Ok((self.locked_writer(locked, tagger, options)?, rebuilt))
    }

    fn name_for(&self, bundle: &BundleSource<'_>) -> String {
        let name = format!("datastore-{:.12}", bundle.fingerprint.to_string());
        if name == self.description.datastore { name + "-again" } else { name }
    }

    fn damaged(&self) -> Error {
        let (path, what) = (self.datastore_path(), "something in it");
        Error::Datastore(autotag::Error::DatastoreDamaged { path, what })
    }

    /// Makes the datastore anew under another name, and points the index to it.
    ///
    /// `old`, the one that is replaced, is known to be whole where it is given.
    pub(crate) fn replace_datastore<E: Encoder>(
        &mut self,
        locked: &Locked,
        name: &str,
        tagger: &Tagger<E>,
        bundle: &BundleSource<'_>,
        old: Option<&Datastore>,
        progress: impl FnMut(JobProgress),
    ) -> Result<RebuildReport> {
        let (index, fields) = self.index_in(&locked.directory)?;
        source::check_stored(&index.schema())?;
        let reader = open_reader(&index)?;
        // Where that was changed, only repairing goes on, and nobody commits.
        let generation = Payload::of(&index, self.encoder()).map_or(0, |last| last.generation);
        let begun = format!("{generation} {}", bundle.fingerprint);
        let own = own_folder(&self.path);
        let new = own.join(name);
        let encoder = tagger.encoder().fingerprint();
        let goes_on = datastores::is_begun_as(&new, &begun) && !is_damaged(&new, &encoder);
        if new.exists() && !goes_on {
            datastores::remove_or_set_aside(&own, &new, &self.description)?;
        }
        datastores::begin(&new, &begun)?;
        let (searcher, fields) = (&reader.searcher(), &fields);
        let seed = bundle.training_set;
        let rebuilt =
            rebuild::rebuild(&Sources { searcher, fields, tagger, seed, old }, &new, progress)?;
        datastores::sync(&new)?;
        failpoint::reach("migrate::rebuilt");
        self.description = self.description.with_datastore(name).with_bundle(bundle);
        self.publish()?;
        failpoint::reach("migrate::published");
        datastores::finish(&new)?;
        Ok(rebuilt)
    }

    /// Opens the datastore with the last commit completed; `None` where it is damaged.
    ///
    /// The index must be locked for writing.
    pub(crate) fn settled_datastore(&self, index: &Index) -> Result<Option<Datastore>> {
        if !matches!(check_seal(&self.datastore_path()), Ok(SealState::Whole | SealState::Unsealed))
        {
            return Ok(None);
        }
        let settle = || -> Result<Option<Datastore>> {
            let datastore =
                Datastore::open(&self.datastore_path(), &self.encoder()).map_err(in_use)?;
            let last = Payload::of(index, self.encoder())?;
            commit::settle(&mut datastore.writer().map_err(in_use)?, &last)?;
            let is_whole = datastore.verify()?.problems.is_empty();
            Ok(is_whole.then_some(datastore))
        };
        match settle() {
            Err(
                Error::Datastore(
                    autotag::Error::DatastoreDamaged { .. } | autotag::Error::NoDatastore { .. },
                )
                | Error::CommitChanged,
            ) => Ok(None),
            settled => settled,
        }
    }
}

fn is_damaged(datastore: &Path, encoder: &Fingerprint) -> bool {
    let opened = Datastore::open(datastore, encoder);
    matches!(opened, Err(autotag::Error::DatastoreDamaged { .. }))
}

/// Checks that a tagger is one of a bundle's.
pub(crate) fn check_encoder<E: Encoder>(tagger: &Tagger<E>, expected: Fingerprint) -> Result<()> {
    match tagger.encoder().fingerprint() {
        found if found == expected => Ok(()),
        found => Err(Error::EncoderMismatch { index: expected, tagger: found }),
    }
}
