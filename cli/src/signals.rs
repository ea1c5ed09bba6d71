//! Orderly ends: the first signal asks for one, the second ends the program at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;

/// Tells whether the program was asked to end, by SIGTERM or Ctrl-C.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Watches for signals from now on; until then they end the program at once.
    pub(crate) fn watch() -> anyhow::Result<Self> {
        let stop = Stop::default();
        for signal in SIGNALS {
            // In this order: the first signal finds the flag down and raises it.
            signal_hook::flag::register_conditional_shutdown(signal, 1, stop.0.clone())
                .and_then(|_| signal_hook::flag::register(signal, stop.0.clone()))
                .context("signals cannot be watched")?;
        }
        Ok(stop)
    }

    /// Returns the flag that a signal raises.
    pub(crate) fn flag(&self) -> &AtomicBool {
        &self.0
    }

    /// Tells whether a signal came.
    pub(crate) fn is_asked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

const SIGNALS: [i32; 2] = [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT];
