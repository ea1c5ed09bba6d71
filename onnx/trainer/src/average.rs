//! The average of a model's parameters over epochs.

use ndarray::Zip;

use crate::parameters::Parameters;
use crate::state::{State, StateError};

/// The average of what training passes through, once an epoch; it predicts better than the last step
/// does (Izmailov et al., 2018).
#[derive(Clone, Debug)]
pub(crate) struct EpochAverage<N> {
    /// How much is kept of the earlier epochs, from 0 to less than 1.
    keep: f32,
    average: Option<N>,
    n_epochs: usize,
}

impl<N: Parameters> EpochAverage<N> {
    /// Begins without any epoch.
    pub(crate) fn new(keep: f32) -> Self {
        EpochAverage { keep, average: None, n_epochs: 0 }
    }

    /// Takes an epoch's network in: all alike at first, the later ones more once there are many.
    pub(crate) fn add(&mut self, network: &N) -> N {
        self.n_epochs += 1;
        let share = (1.0 - self.keep).max(1.0 / self.n_epochs as f32);
        let average = self.average.get_or_insert_with(|| network.clone());
        for ((_, mine), (_, other)) in average.arrays_mut().into_iter().zip(network.arrays()) {
            Zip::from(mine).and(other).for_each(|mine, other| *mine += share * (other - *mine));
        }
        average.clone()
    }

    /// Returns what was averaged so far.
    pub(crate) fn state(&self) -> State<'_> {
        let mut state = State::default();
        state.put_counts("n_epochs", vec![self.n_epochs as u64]);
        if let Some(average) = &self.average {
            state.put_all("", average.state());
        }
        state
    }

    /// Takes back what was averaged; `network` has the shape.
    pub(crate) fn restore(&mut self, network: &N, state: &State<'_>) -> Result<(), StateError> {
        self.n_epochs = state.count("n_epochs")? as usize;
        self.average = None;
        if self.n_epochs > 0 {
            let mut average = network.clone();
            average.restore(state)?;
            self.average = Some(average);
        }
        Ok(())
    }
}
