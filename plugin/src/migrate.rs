//! Migrates an index to another bundle.

use autotag::{Encoder, Tagger};

use crate::rebuild::RebuildReport;
use crate::writer::opening::check_encoder;
use crate::{BundleSource, Error, IndexFolder, JobProgress, Result, TaggingWriter, WriterOptions};

impl IndexFolder {
    /// Migrates the index to another bundle: its neighbors become the bundle's training set and the
    /// documents that people labeled, encoded again from their stored texts where the bundle has
    /// another encoder. Rejections and changes of labels stay.
    ///
    /// Returns the writer, so that no other process writes in between: give the documents the new
    /// model's tags by [`TaggingWriter::retag`]. Searches go on meanwhile, with the earlier tags.
    /// After a crash the next call with the same bundle resumes, unless the index was opened for
    /// writing in between. Documents that the new encoder cannot encode keep their labels but no
    /// longer vote. Where the index is the bundle's already, only its path is recorded.
    ///
    /// # Errors
    ///
    /// [`Error::InUse`] when a writer has the index open, [`Error::NotStored`] when the schema does
    /// not store the texts, or not all that the options' [`corrections`](WriterOptions::corrections)
    /// need, [`Error::EncoderMismatch`] for a tagger that is not the bundle's, [`Error::EncoderFailed`]
    /// when the encoder fails on everything,
    /// [`Error::Datastore`] when the index's neighbors are damaged, and when a store fails; the index
    /// stays as it is then.
    pub fn migrate<E: Encoder + 'static>(
        &mut self,
        tagger: Tagger<E>,
        bundle: &BundleSource<'_>,
        options: WriterOptions,
        progress: impl FnMut(JobProgress),
    ) -> Result<(TaggingWriter<E>, RebuildReport)> {
        check_encoder(&tagger, bundle.neighbors.encoder())?;
        let (locked, current) = self.lock()?;
        *self = current;
        let rebuilt = if self.description.is_of(bundle) {
            self.description = self.description.with_bundle(bundle);
            self.publish()?;
            RebuildReport::default()
        } else {
            let (index, _) = self.index_in(&locked.directory)?;
            let old = self.recovered_datastore(&index)?.ok_or_else(|| self.damaged())?;
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
}
