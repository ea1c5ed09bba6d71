//! Processes are killed at random instants, all on the same index.

use std::time::{Duration, Instant};

use tantivy_autotag::IndexFolder;

use super::child::{self, Log};
use super::model::Random;
use super::points::Victim;

/// The number of kills in the short version.
const KILLS: u64 = 15;

/// The longest time that a child may take to open the index.
const PATIENCE: Duration = Duration::from_secs(60);

/// Set by whoever wants more kills.
const N_KILLS: &str = "AUTOTAG_SOAK_KILLS";

#[test]
fn soak() {
    let kills = std::env::var(N_KILLS).map_or(KILLS, |n| n.parse().expect("a number of kills"));
    let mut random = Random::new(kills);
    let mut victim = Victim::new();
    let mut outcomes = Outcomes::default();
    // Another process reads all along.
    let mut watching = child::start_watching(&victim.index());
    let started = Instant::now();
    for kill in 1..=kills {
        let log = kill_at_random(&mut victim, &mut random);
        outcomes.count(&log);
        let what = format!("kill {kill}");
        // Now and then the next process finds what two left behind.
        if kill == kills || random.below(3) > 0 {
            victim.check(&what);
        } else if IndexFolder::exists(&victim.index()) {
            victim.verify(&what);
        }
        if kill % 50 == 0 || kill == kills {
            outcomes.print(kill, &victim, started.elapsed());
        }
        if kill == kills || watching.try_wait().unwrap().is_some() {
            watching.kill().unwrap();
            break;
        }
    }
    let output = watching.wait_with_output().unwrap();
    assert_eq!(output.status.code(), None, "{}", String::from_utf8_lossy(&output.stderr));
}

fn kill_at_random(victim: &mut Victim, random: &mut Random) -> Log {
    let mut storm = victim.storm(u64::MAX);
    // Half of the processes spend their time between two commits.
    storm.delay_us = random.below(2) * 8_000;
    let mut child = child::start(&storm, None);
    if random.below(5) > 0 {
        let started = Instant::now();
        while !Log::read(&victim.log()).is_open && started.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(2));
        }
        let longest = if random.below(4) == 0 { 1_500_000 } else { 300_000 };
        std::thread::sleep(Duration::from_micros(random.below(longest)));
    } else {
        std::thread::sleep(Duration::from_micros(random.below(60_000)));
    }
    child.kill().unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), None, "{}", String::from_utf8_lossy(&output.stderr));
    victim.died()
}

/// Where the processes were when they died.
#[derive(Default)]
struct Outcomes {
    opening: u64,
    writing: u64,
    committing: u64,
}

impl Outcomes {
    fn count(&mut self, log: &Log) {
        let count = match log {
            Log { is_open: false, .. } => &mut self.opening,
            Log { begun, acknowledged, .. } if begun > acknowledged => &mut self.committing,
            _ => &mut self.writing,
        };
        *count += 1;
    }

    // Shown to whoever runs the soak by itself.
    #[allow(clippy::print_stdout)]
    fn print(&self, kills: u64, victim: &Victim, elapsed: Duration) {
        let Outcomes { opening, writing, committing } = self;
        println!(
            "{kills} kills survived in {:.0} s: {committing} within a commit, {writing} between \
             two, {opening} while opening; {} acknowledged commits are all there",
            elapsed.as_secs_f64(),
            victim.n_acknowledged,
        );
    }
}
