//! A bound on the work of several writers together.

use std::num::NonZeroUsize;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// A bound on the number of threads that tag at the same time, over all writers that share it.
///
/// Give each writer a clone: [`WriterOptions::shared_threads`](crate::WriterOptions). Each still has
/// threads of its own, but no more than the bound work at once; the others wait for their turn.
/// Chunks of documents get their turn in the order in which they ask for it, so that no writer
/// waits for more than one chunk of each thread of the others.
///
/// The model is shared by its own means: clone the [`Tagger`](autotag::Tagger), whose clones have
/// the same encoder.
///
/// ```no_run
/// use std::num::NonZeroUsize;
///
/// use autotag::{Encoder, Tagger};
/// use tantivy_autotag::{IndexFolder, Result, SharedThreads, TaggingWriter, WriterOptions};
///
/// fn open_all<E: Encoder + 'static>(
///     folders: &[IndexFolder],
///     tagger: &Tagger<E>,
/// ) -> Result<Vec<TaggingWriter<E>>> {
///     let threads = SharedThreads::new(NonZeroUsize::new(8).expect("8 is not 0"));
///     let options = WriterOptions::new().shared_threads(Some(threads));
///     folders.iter().map(|folder| folder.writer(tagger.clone(), options.clone())).collect()
/// }
/// ```
#[derive(Clone, Debug)]
pub struct SharedThreads {
    turns: Arc<Turns>,
}

#[derive(Debug)]
struct Turns {
    limit: NonZeroUsize,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    n_working: usize,
    /// The number that the next one to ask will get.
    next: u64,
    /// The number of the next one to work.
    served: u64,
}

impl SharedThreads {
    /// Lets at most so many threads work at once.
    pub fn new(limit: NonZeroUsize) -> Self {
        let (state, changed) = (Mutex::default(), Condvar::new());
        SharedThreads { turns: Arc::new(Turns { limit, state, changed }) }
    }

    /// Returns the most threads that work at once.
    pub fn limit(&self) -> NonZeroUsize {
        self.turns.limit
    }

    /// Waits for a turn, which lasts until it is dropped.
    pub(crate) fn turn(&self) -> Turn<'_> {
        let turns = &*self.turns;
        let mut state = turns.lock();
        let number = state.next;
        state.next += 1;
        while state.served != number || state.n_working >= turns.limit.get() {
            state = turns.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.served += 1;
        state.n_working += 1;
        turns.changed.notify_all();
        Turn(turns)
    }
}

impl Turns {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A turn to work.
pub(crate) struct Turn<'t>(&'t Turns);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.lock().n_working -= 1;
        self.0.changed.notify_all();
    }
}
