//! Calls into the tokenizer's library, which panics for some of the files that it accepts.

use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

/// More than a thread's usual stack, since the library reads what is nested by calling itself.
const STACK: usize = 16 << 20;

/// A call that did not return.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum GuardError {
    /// It panicked.
    #[error("the tokenizer's library failed: {0}")]
    Panicked(String),
    /// It took too long.
    #[error("it was not ready after {} seconds", .0.as_secs())]
    TooLong(Duration),
}

/// Calls a function and returns its panic as an error, without a message on standard error.
pub(crate) fn guarded<T>(call: impl FnOnce() -> T) -> Result<T, GuardError> {
    // What the call changed is dropped with it, or is only read: a tokenizer has no state that a text
    // changes, apart from caches that it locks.
    autotag::guarded(call).map_err(GuardError::Panicked)
}

/// Calls a function on a thread of its own, as [`guarded`], and waits no longer than `limit`.
///
/// A call that takes longer cannot be stopped: its thread goes on until the process ends.
pub(crate) fn within<T: Send + 'static>(
    limit: Duration,
    call: impl FnOnce() -> T + Send + 'static,
) -> Result<T, GuardError> {
    let (answer, answers) = mpsc::channel();
    let work = move || {
        // Whoever waited may have gone.
        let _ = answer.send(guarded(call));
    };
    let spawned = thread::Builder::new().stack_size(STACK).spawn(work);
    let worker = spawned.map_err(|error| GuardError::Panicked(format!("no thread: {error}")))?;
    match answers.recv_timeout(limit) {
        Ok(answer) => {
            let _ended = worker.join();
            answer
        }
        Err(RecvTimeoutError::Timeout) => Err(GuardError::TooLong(limit)),
        Err(RecvTimeoutError::Disconnected) => Err(GuardError::Panicked("it ended".to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error_with_its_message() {
        assert_eq!(guarded(|| 7), Ok(7));
        let error = guarded::<()>(|| panic!("no {}", "piece")).unwrap_err();
        assert!(error.to_string().ends_with("no piece"), "{error}");
        let error = within(Duration::from_secs(60), || panic!("no {}", "token")).unwrap_err();
        assert!(error.to_string().ends_with("no token"), "{error}");
    }

    #[test]
    fn a_call_that_takes_too_long_is_not_waited_for() {
        let limit = Duration::from_millis(20);
        let error = within(limit, || thread::sleep(Duration::from_secs(600))).unwrap_err();
        assert_eq!(error, GuardError::TooLong(limit));
        assert_eq!(within(Duration::from_secs(60), || 7), Ok(7));
    }
}
