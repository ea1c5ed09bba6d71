//! The state that the tagging threads share.

use std::sync::{PoisonError, RwLock};

use autotag::{Encoder, Tagger};

use crate::segments::SegmentChecks;
use crate::{OnFailure, TagFields};

/// The taggers and settings of the tagging threads.
pub(crate) struct Worker<E> {
    tagger: RwLock<Tagger<E>>,
    /// The tagger of the last job, where that was begun with settings of its own.
    job_tagger: RwLock<Option<Tagger<E>>>,
    pub(crate) fields: TagFields,
    pub(crate) checks: SegmentChecks,
    pub(crate) on_failure: OnFailure,
}

impl<E: Encoder> Worker<E> {
    pub(crate) fn new(
        tagger: Tagger<E>,
        fields: TagFields,
        checks: SegmentChecks,
        on_failure: OnFailure,
    ) -> Self {
        let (tagger, job_tagger) = (RwLock::new(tagger), RwLock::default());
        Worker { tagger, job_tagger, fields, checks, on_failure }
    }

    /// Returns the current tagger.
    pub(crate) fn tagger(&self) -> Tagger<E> {
        self.tagger.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Replaces the tagger from the next chunk on.
    pub(crate) fn set_tagger(&self, tagger: Tagger<E>) {
        *self.tagger.write().unwrap_or_else(PoisonError::into_inner) = tagger;
    }

    /// Sets the tagger of a job's documents; the usual one where there is none.
    pub(crate) fn set_job_tagger(&self, tagger: Option<Tagger<E>>) {
        *self.job_tagger.write().unwrap_or_else(PoisonError::into_inner) = tagger;
    }

    /// Returns the tagger of the last job, where that has settings of its own.
    pub(crate) fn job_tagger(&self) -> Option<Tagger<E>> {
        self.job_tagger.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Estimates the memory that one text takes until it is applied: its representation and its
    /// scores.
    pub(crate) fn bytes_of_text(&self) -> usize {
        let tagger = self.tagger.read().unwrap_or_else(PoisonError::into_inner);
        let encoder = tagger.encoder();
        // Once as it was encoded, and once as the datastore is to keep it.
        2 * size_of::<f32>() * (encoder.dimensions() + encoder.labels().len())
    }
}
