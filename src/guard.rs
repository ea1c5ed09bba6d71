//! Calls into libraries that panic at some input, where damage must be an error.

use std::any::Any;
use std::cell::Cell;
use std::panic::{self, AssertUnwindSafe};
use std::sync::Once;

thread_local! {
    static GUARDED: Cell<bool> = const { Cell::new(false) };
}

/// The most characters of a panic's message that are kept.
const MAX_MESSAGE: usize = 200;

/// Calls a function and returns its panic's message as an error, without one on standard error.
///
/// Values that the call may have left half changed must be dropped with it, or only be read. Where panics
/// abort the process, as `panic = "abort"` asks for, they do so here too.
///
/// # Errors
///
/// The message of the panic.
pub fn guarded<T>(call: impl FnOnce() -> T) -> Result<T, String> {
    silence();
    let outer = GUARDED.replace(true);
    let outcome = panic::catch_unwind(AssertUnwindSafe(call));
    GUARDED.set(outer);
    outcome.map_err(|payload| panic_message(&*payload))
}

/// Returns what a panic said.
pub fn panic_message(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| payload.downcast_ref::<&str>().copied());
    text.unwrap_or("it panicked").chars().take(MAX_MESSAGE).collect()
}

/// Has the panics of guarded calls, and of no others, pass the process's panic hook by.
fn silence() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let hook = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !GUARDED.try_with(Cell::get).unwrap_or(false) {
                hook(info);
            }
        }));
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error_with_its_message() {
        let empty: &[u8] = &[];
        let error = guarded(|| empty[usize::from(empty.is_empty())]).unwrap_err();
        assert!(error.contains("out of bounds"), "{error}");
        assert_eq!(guarded(|| panic!("no {}", "token")), Err::<(), _>("no token".to_owned()));
        assert_eq!(guarded(|| 7), Ok(7));
        assert!(!GUARDED.get());
    }
}
