//! The clock by which documents are dated.

use std::fmt;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use tantivy::DateTime;

/// A clock: that of the system, or another one for tests.
///
/// ```
/// use std::time::{Duration, UNIX_EPOCH};
///
/// use tantivy_autotag::Clock;
///
/// let stopped = Clock::new(|| UNIX_EPOCH + Duration::from_secs(1_000_000_000));
/// assert_ne!(stopped, Clock::default());
/// ```
#[derive(Clone, Default)]
pub struct Clock(Option<Arc<dyn Fn() -> SystemTime + Send + Sync>>);

impl Clock {
    /// Makes a clock of a function that tells the time.
    pub fn new(now: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        Clock(Some(Arc::new(now)))
    }

    /// Returns the time in whole seconds, UTC; a time before 1970 counts as its beginning.
    pub(crate) fn now(&self) -> DateTime {
        let now = self.0.as_ref().map_or_else(SystemTime::now, |now| now());
        let seconds = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        // Tantivy counts nanoseconds in 64 bits.
        let last = i64::MAX / 1_000_000_000;
        DateTime::from_timestamp_secs(i64::try_from(seconds).map_or(last, |s| s.min(last)))
    }
}

impl PartialEq for Clock {
    /// Tells whether both are the system's clock, or clones of one clock.
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (None, None) => true,
            (Some(a), Some(b)) => Arc::ptr_eq(a, b),
            _ => false,
        }
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(if self.0.is_some() { "Clock(own)" } else { "Clock(system)" })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn any_time_can_be_told() {
        let at = |now: SystemTime| Clock::new(move || now).now().into_timestamp_secs();
        assert_eq!(at(UNIX_EPOCH + Duration::from_millis(1500)), 1);
        assert_eq!(at(UNIX_EPOCH - Duration::from_secs(9)), 0);
        assert!(at(UNIX_EPOCH + Duration::from_secs(1 << 40)) > 0);
        assert!(Clock::default().now().into_timestamp_secs() > 1_700_000_000);
    }
}
