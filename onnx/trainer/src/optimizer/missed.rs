//! Steps that rows of a large table missed, made up for at once; the derivation stands at
//! [`Adam::sync_lazy_rows`](super::Adam::sync_lazy_rows).

use super::config::AdamConfig;

/// The steps that a row missed, as one.
#[derive(Clone, Copy, Debug)]
pub(super) struct Missed {
    /// sum_{i=1..n} of the step sizes that m and v, decayed by i steps, would have made, in units of
    /// m / sqrt(v).
    pub(super) factor: f32,
    /// beta_1^n
    pub(super) decay_1: f32,
    /// beta_2^n
    pub(super) decay_2: f32,
}

/// A row untouched for longer than this has stopped moving: 0.9^128 is 1e-6.
const MOVING_STEPS: i32 = 128;

/// Below this a decayed mean is taken as 0: what is left of it moves nothing, and subnormal numbers are
/// slow.
const NO_DECAY_LEFT: f64 = 1e-30;

impl Missed {
    fn new(factor: f64, decay_1: f64, decay_2: f64) -> Self {
        let left = |decay: f64| if decay < NO_DECAY_LEFT { 0.0 } else { decay as f32 };
        Missed { factor: factor as f32, decay_1: left(decay_1), decay_2: left(decay_2) }
    }

    /// Returns the steps after `last`, up to `now`.
    fn between(config: &AdamConfig, last: i32, now: i32) -> Self {
        let sizes = StepSizes::new(config, last);
        let moving = sizes.take((now - last).min(MOVING_STEPS) as usize);
        let ratio = decay_ratio(config);
        let (factor, _) =
            moving.fold((0.0, ratio), |(sum, decay), size| (sum + decay * size, decay * ratio));
        let decay = |beta: f32| f64::from(beta).powi(now - last);
        Missed::new(factor, decay(config.beta_1), decay(config.beta_2))
    }
}

/// The latest steps whose [`Missed`] are tabulated; few rows are older.
const TABULATED_STEPS: i32 = 4096;

/// The missed steps of all rows that were last updated in the same step.
pub(super) struct MissedTable<'c> {
    config: &'c AdamConfig,
    now: i32,
    /// Of the rows updated last in step `now - 1`, `now - 2` and so on.
    by_age: Vec<Missed>,
}

impl<'c> MissedTable<'c> {
    /// Tabulates the latest steps up to `now`, from the last one backwards.
    ///
    /// With r = beta_1 / sqrt(beta_2) the factor of a row last updated in step t is
    /// F(t) = r (size(t + 1) + F(t + 1)), and F(now) = 0.
    pub(super) fn new(config: &'c AdamConfig, now: i32) -> Self {
        let first = (now - TABULATED_STEPS).max(0);
        let sizes: Vec<f64> = StepSizes::new(config, first).take((now - first) as usize).collect();
        let ratio = decay_ratio(config);
        let (mut factor, mut decay_1, mut decay_2) = (0.0, 1.0, 1.0);
        let missed = sizes.iter().rev().map(|size| {
            factor = ratio * (size + factor);
            decay_1 *= f64::from(config.beta_1);
            decay_2 *= f64::from(config.beta_2);
            Missed::new(factor, decay_1, decay_2)
        });
        MissedTable { config, now, by_age: missed.collect() }
    }

    /// Returns the steps that a row missed which was last updated in step `last`, before `now`.
    pub(super) fn since(&self, last: i32) -> Missed {
        let age = (self.now - last - 1) as usize;
        let tabulated = self.by_age.get(age).copied();
        tabulated.unwrap_or_else(|| Missed::between(self.config, last, self.now))
    }
}

fn decay_ratio(config: &AdamConfig) -> f64 {
    f64::from(config.beta_1) / f64::from(config.beta_2).sqrt()
}

/// The step sizes after a step, in units of m / sqrt(v): rate sqrt(1 - beta_2^t) / (1 - beta_1^t).
struct StepSizes {
    rate: f64,
    betas: (f64, f64),
    /// beta_1^t and beta_2^t of the last step.
    powers: (f64, f64),
}

impl StepSizes {
    fn new(config: &AdamConfig, last: i32) -> Self {
        let betas = (f64::from(config.beta_1), f64::from(config.beta_2));
        let powers = (betas.0.powi(last), betas.1.powi(last));
        StepSizes { rate: f64::from(config.learning_rate), betas, powers }
    }
}

impl Iterator for StepSizes {
    type Item = f64;

    fn next(&mut self) -> Option<f64> {
        self.powers = (self.powers.0 * self.betas.0, self.powers.1 * self.betas.1);
        Some(self.rate * (1.0 - self.powers.1).sqrt() / (1.0 - self.powers.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Adds the sizes of the steps after `last` one by one, as Adam defines them.
    fn summed(config: &AdamConfig, last: i32, now: i32) -> f64 {
        let size = |t: i32, i: i32| {
            let (beta_1, beta_2) = (f64::from(config.beta_1), f64::from(config.beta_2));
            let rate = f64::from(config.learning_rate) / (1.0 - beta_1.powi(t));
            rate * (1.0 - beta_2.powi(t)).sqrt() * (beta_1 / beta_2.sqrt()).powi(i)
        };
        (1..=now - last).map(|i| size(last + i, i)).sum()
    }

    #[test]
    fn the_table_has_the_sums_of_the_missed_steps() {
        let config = AdamConfig { learning_rate: 0.03, ..AdamConfig::default() };
        for now in [1, 2, 200, 10_000] {
            let table = MissedTable::new(&config, now);
            for n_missed in [1, 2, 5, 127, 128, 129, 1000, 4096, 4097, 9999] {
                let last = now - n_missed;
                if last < 1 {
                    continue;
                }
                let Missed { factor, decay_1, decay_2 } = table.since(last);
                let expected = summed(&config, last, now);
                let error = (f64::from(factor) / expected - 1.0).abs();
                assert!(error < 1e-5, "step {last} of {now}: {factor}, not {expected}");
                let expected = (0.9f64.powi(n_missed), 0.999f64.powi(n_missed));
                assert!((f64::from(decay_1) - expected.0).abs() < 1e-6);
                assert!((f64::from(decay_2) - expected.1).abs() < 1e-3 * expected.1);
            }
        }
    }
}
