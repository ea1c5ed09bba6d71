//! Deletes many documents at once, with their neighbors and records.

use std::sync::PoisonError;

use autotag::Encoder;
use tantivy::query::Query;

use crate::operation::{Action, Snapshot};
use crate::stores::Stores;
use crate::{Result, TaggingWriter, source};

impl<E: Encoder + 'static> TaggingWriter<E> {
    /// Deletes the documents of the last commit that a query finds, with their neighbors; returns
    /// their number.
    ///
    /// Uncommitted documents are not looked at: a document whose key was changed since the last
    /// commit stays as it is now, whether it matches or not. Commit first where they are meant too.
    /// Nothing is committed by this call. An operation that follows it, on whatever key, comes after
    /// the deletion.
    ///
    /// # Errors
    ///
    /// [`Error::Tantivy`](crate::Error::Tantivy) when the query does not fit the schema; nothing is
    /// deleted then. As [`add`](TaggingWriter::add) for earlier documents; what was found before the
    /// failure may be deleted by the next commit, and the call can be made again.
    pub fn delete_query(&self, query: &dyn Query) -> Result<u64> {
        let (queue, fields) = (&self.pipeline.queue, &self.pipeline.worker.fields);
        let mut n_deleted = 0;
        'newer_commit: loop {
            let Snapshot { generation, searcher, .. } = queue.snapshot()?;
            let keys = source::keys(&searcher, fields, query)?;
            // Tantivy cannot remove the files of a commit that somebody reads.
            drop(searcher);
            for key in keys {
                let submitted = self.submit_made_from(generation, key.clone(), Action::Delete)?;
                if submitted.is_some() {
                    n_deleted += 1;
                } else if !queue.is_uncommitted(&key)? {
                    // There was a commit: other documents may match now.
                    continue 'newer_commit;
                }
            }
            return Ok(n_deleted);
        }
    }

    /// Deletes all documents with their neighbors, uncommitted ones included; the neighbors of the
    /// training set, and the labels, stay.
    ///
    /// Nothing is committed by this call: documents that are added after it and committed with it
    /// take the place of the old ones in one instant. What people said of the old ones is forgotten.
    /// Tickets of earlier operations stay: they are committed together with their deletion.
    ///
    /// # Errors
    ///
    /// [`Error::Stopped`](crate::Error::Stopped) when a store failed.
    pub fn delete_all(&self) -> Result<()> {
        // Against commits: their payload would be that of a state without the deletion.
        let _committed = self.committed.lock().unwrap_or_else(PoisonError::into_inner);
        let queue = &self.pipeline.queue;
        let deleted = queue.pause_deleting().and_then(|()| {
            let deleted = self.pipeline.with_stores(Stores::delete_all);
            deleted.map_err(|cause| self.pipeline.stop(cause))
        });
        queue.resume();
        deleted
    }
}
