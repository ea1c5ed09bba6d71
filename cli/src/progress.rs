//! Progress on standard error: a bar on a terminal, else one plain line now and then.

use std::io::{self, IsTerminal, Write};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

static BARS: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);

/// The interval of plain lines.
const INTERVAL: Duration = Duration::from_secs(5);

/// Tells whether bars can be drawn.
pub(crate) fn is_terminal() -> bool {
    io::stderr().is_terminal()
}

/// Runs something that writes to standard error while no bar is drawn.
pub(crate) fn above_bars<T>(write: impl FnOnce() -> T) -> T {
    if is_terminal() { BARS.suspend(write) } else { write() }
}

/// Counts steps of something that takes a while; dropped, it leaves no bar behind.
pub(crate) struct Progress {
    what: &'static str,
    bar: ProgressBar,
    plain: Option<Mutex<Plain>>,
}

struct Plain {
    last: Instant,
    started: Instant,
}

impl Progress {
    /// Begins; without a total where it is not known.
    pub(crate) fn begin(what: &'static str, total: Option<u64>, is_quiet: Quiet) -> Self {
        let (mut bar, mut plain) = (ProgressBar::hidden(), None);
        match is_quiet {
            Quiet::Yes => {}
            Quiet::No if is_terminal() => {
                bar = total.map_or_else(ProgressBar::no_length, ProgressBar::new);
                bar = BARS.add(bar.with_style(style(total)).with_message(what));
                bar.enable_steady_tick(Duration::from_millis(200));
            }
            Quiet::No => {
                bar.set_length(total.unwrap_or(0));
                let now = Instant::now();
                plain = Some(Mutex::new(Plain { last: now, started: now }));
            }
        }
        Progress { what, bar, plain }
    }

    /// Says more of what is under way, behind what it is.
    pub(crate) fn tell(&self, more: impl FnOnce() -> String) {
        if self.plain.is_some() || !self.bar.is_hidden() {
            self.bar.set_prefix(more());
        }
    }

    /// Counts more steps.
    pub(crate) fn add(&self, n: u64) {
        self.bar.inc(n);
        let Some(plain) = &self.plain else { return };
        let mut plain = plain.lock().unwrap_or_else(PoisonError::into_inner);
        if plain.last.elapsed() >= INTERVAL {
            plain.last = Instant::now();
            let seconds = plain.started.elapsed().as_secs_f64();
            let done = self.bar.position();
            let total = match self.bar.length() {
                None | Some(0) => String::new(),
                Some(total) => format!(" of {total}"),
            };
            let rate = done as f64 / seconds;
            let more = self.bar.prefix();
            let more = if more.is_empty() { more } else { format!("; {more}") };
            let line = format!("{}: {done}{total}, {rate:.0}/s, {seconds:.0} s{more}\n", self.what);
            // Progress is not worth failing for.
            let _ = io::stderr().write_all(line.as_bytes());
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// The user's wish to see no progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Quiet {
    /// Nothing is shown.
    Yes,
    /// Progress is shown.
    No,
}

impl From<bool> for Quiet {
    fn from(is_quiet: bool) -> Self {
        if is_quiet { Quiet::Yes } else { Quiet::No }
    }
}

fn style(total: Option<u64>) -> ProgressStyle {
    let template = match total {
        Some(_) => "{msg:<12} {wide_bar} {human_pos}/{human_len} {per_sec:>12} {eta:>5} {prefix}",
        None => "{msg:<12} {spinner} {human_pos} {per_sec:>12} {elapsed}",
    };
    ProgressStyle::with_template(template).expect("the templates are valid")
}
