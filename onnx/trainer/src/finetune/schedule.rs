/// How high the learning rates are in each step: they rise from 0, then fall to 0, in straight lines.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Schedule {
    n_steps: u64,
    n_rising: u64,
}

impl Schedule {
    /// Spreads rise and fall over all steps of a training; `warm_up` is the share in which they rise.
    pub(super) fn new(n_steps: u64, warm_up: f32) -> Self {
        let n_rising = (n_steps as f64 * f64::from(warm_up)).round() as u64;
        Schedule { n_steps: n_steps.max(1), n_rising }
    }

    /// Returns the share of the highest rate that holds after `done` steps, within 0..=1.
    ///
    /// The first step of a rise and the last of a fall still move the weights a little.
    pub(super) fn at(&self, done: u64) -> f32 {
        let Schedule { n_steps, n_rising } = *self;
        let share = if done < n_rising {
            (done + 1) as f64 / n_rising as f64
        } else {
            n_steps.saturating_sub(done) as f64 / (n_steps - n_rising.min(n_steps - 1)) as f64
        };
        share.min(1.0) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_rise_and_fall() {
        let schedule = Schedule::new(10, 0.2);
        let rates: Vec<f32> = (0..11).map(|step| schedule.at(step)).collect();
        assert_eq!(rates, [0.5, 1.0, 1.0, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125, 0.0]);
        for warm_up in [0.0, 1.0] {
            for n_steps in [0, 1, 3] {
                let schedule = Schedule::new(n_steps, warm_up);
                assert!((0..5).all(|step| (0.0..=1.0).contains(&schedule.at(step))));
                assert!(n_steps == 0 || schedule.at(0) > 0.0);
            }
        }
    }
}
