//! The learning rate schedule.

use serde::{Deserialize, Serialize};

use crate::Result;
use crate::check::is_true;

/// A linear learning-rate schedule over the steps of all epochs: warm-up from 0 to the peak, then decay.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Schedule {
    /// The fraction of all steps in which the rates rise, 0 to 1.
    pub warm_up: f32,
    /// The final learning rate as a fraction of the peak, 0 to 1; with 1 the rates do not fall.
    pub left: f32,
}

impl Schedule {
    /// The rates stay as they are.
    pub const CONSTANT: Schedule = Schedule { warm_up: 0.0, left: 1.0 };

    /// The rates fall to 0 from the first step on.
    pub const FALLING: Schedule = Schedule { warm_up: 0.0, left: 0.0 };

    /// Checks every setting's range.
    pub(crate) fn check(&self) -> Result<()> {
        let Schedule { warm_up, left } = *self;
        is_true("warm-up", warm_up, (0.0..=1.0).contains(&warm_up), "within 0..=1")?;
        is_true("final rate", left, (0.0..=1.0).contains(&left), "within 0..=1")
    }

    /// Returns the share of the highest rates that holds after `done` of `n_steps` steps, within 0..=1.
    ///
    /// The first step of a rise and the last of a fall still move the weights a little.
    pub(crate) fn at(&self, done: usize, n_steps: usize) -> f32 {
        let n_rising = (n_steps as f64 * f64::from(self.warm_up)).round() as usize;
        if done < n_rising {
            return ((done + 1) as f64 / n_rising as f64) as f32;
        }
        let n_falling = n_steps.saturating_sub(n_rising).max(1);
        let ahead = n_steps.saturating_sub(done) as f64 / n_falling as f64;
        self.left + (1.0 - self.left) * (ahead as f32).min(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates(schedule: Schedule, n_steps: usize) -> Vec<f32> {
        (0..=n_steps).map(|done| schedule.at(done, n_steps)).collect()
    }

    #[test]
    fn rates_rise_and_fall() {
        let schedule = Schedule { warm_up: 0.2, left: 0.0 };
        let expected = [0.5, 1.0, 1.0, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125, 0.0];
        assert_eq!(rates(schedule, 10), expected);
        assert_eq!(rates(Schedule::FALLING, 4), [1.0, 0.75, 0.5, 0.25, 0.0]);
        assert_eq!(rates(Schedule { warm_up: 0.0, left: 0.5 }, 2), [1.0, 0.75, 0.5]);
        assert_eq!(rates(Schedule::CONSTANT, 3), [1.0; 4]);
    }

    #[test]
    fn rates_stay_in_range_whatever_the_length() {
        for warm_up in [0.0, 0.3, 1.0] {
            for n_steps in [0, 1, 3] {
                let schedule = Schedule { warm_up, left: 0.0 };
                assert!((0..5).all(|done| (0.0..=1.0).contains(&schedule.at(done, n_steps))));
                assert!(n_steps == 0 || schedule.at(0, n_steps) > 0.0);
            }
        }
    }

    #[test]
    fn shares_out_of_range_are_named() {
        let named = |schedule: Schedule| schedule.check().unwrap_err().to_string();
        let warm_up = named(Schedule { warm_up: 1.5, left: 0.0 });
        assert_eq!(warm_up, "warm-up = 1.5 is out of range: it must be within 0..=1");
        assert!(named(Schedule { warm_up: 0.0, left: f32::NAN }).contains("final rate"));
    }
}
