//! The state that the tagging threads share.

use std::sync::{PoisonError, RwLock};

use autotag::{Encoder, Tagger};

use crate::job::TagSettings;
use crate::segments::SegmentChecks;
use crate::{Clock, OnFailure, TagFields};

/// The taggers and settings of the tagging threads.
pub(crate) struct Worker<E> {
    tagger: RwLock<Tagger<E>>,
    /// The settings of the last job, where that was begun with some of its own.
    job_settings: RwLock<Option<TagSettings>>,
    pub(crate) fields: TagFields,
    pub(crate) checks: SegmentChecks,
    pub(crate) on_failure: OnFailure,
    pub(crate) clock: Clock,
}

impl<E: Encoder> Worker<E> {
    pub(crate) fn new(
        tagger: Tagger<E>,
        fields: TagFields,
        checks: SegmentChecks,
        on_failure: OnFailure,
        clock: Clock,
    ) -> Self {
        let (tagger, job_settings) = (RwLock::new(tagger), RwLock::default());
        Worker { tagger, job_settings, fields, checks, on_failure, clock }
    }

    /// Returns the current tagger.
    pub(crate) fn tagger(&self) -> Tagger<E> {
        self.tagger.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Replaces the tagger from the next chunk on.
    pub(crate) fn set_tagger(&self, tagger: Tagger<E>) {
        *self.tagger.write().unwrap_or_else(PoisonError::into_inner) = tagger;
    }

    /// Sets the settings by which a job's documents are tagged; `None` for the tagger's own.
    pub(crate) fn set_job_settings(&self, settings: Option<TagSettings>) {
        *self.job_settings.write().unwrap_or_else(PoisonError::into_inner) = settings;
    }

    /// Returns a tagger with the settings of the last job, where that has some of its own.
    pub(crate) fn with_job_settings(&self, tagger: &Tagger<E>) -> Tagger<E> {
        let settings = self.job_settings.read().unwrap_or_else(PoisonError::into_inner).clone();
        match settings {
            Some(settings) => settings.put_into(tagger.clone()),
            None => tagger.clone(),
        }
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
