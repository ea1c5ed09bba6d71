//! Points at which a test makes a process stop for ever, to kill it there.
//!
//! Compiled out unless the feature `failpoints` is on, which no program needs.

/// Stops this process for ever where the environment variable `AUTOTAG_FAILPOINT` names this point.
///
/// `datastore::applied` stops when the point is reached first, `datastore::applied:3` when it is
/// reached for the third time. The name is written to standard error before.
#[cfg(feature = "_failpoints")]
pub fn reach(name: &str) {
    use std::io::Write;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU32, Ordering};

    static WANTED: OnceLock<Option<(String, u32)>> = OnceLock::new();
    static REACHED: AtomicU32 = AtomicU32::new(0);
    let wanted = WANTED.get_or_init(|| {
        let given = std::env::var("AUTOTAG_FAILPOINT").ok()?;
        let counted = given.rsplit_once(':').and_then(|(name, n)| Some((name, n.parse().ok()?)));
        let (name, count) = counted.unwrap_or((&given, 1));
        Some((name.to_owned(), count))
    });
    let Some((wanted, count)) = wanted else { return };
    if wanted == name && REACHED.fetch_add(1, Ordering::SeqCst) + 1 == *count {
        // Whoever asked for the point reads it.
        let _ = writeln!(std::io::stderr(), "failpoint {name}");
        loop {
            std::thread::park();
        }
    }
}

/// Does nothing: the feature `failpoints` is off.
#[cfg(not(feature = "_failpoints"))]
#[inline(always)]
pub fn reach(_name: &str) {}
