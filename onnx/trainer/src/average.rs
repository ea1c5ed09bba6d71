//! The average of a model's parameters over epochs.

use ndarray::Zip;

use crate::parameters::Parameters;
use crate::state::{State, StateError};

/// The exponential moving average of a network's parameters, updated once an epoch; it generalizes
/// better than the last step (Izmailov et al., 2018).
#[derive(Clone, Debug)]
pub(crate) struct EpochAverage<N> {
    /// The decay: the weight of earlier epochs, from 0 to less than 1.
    keep: f32,
    average: Option<N>,
    n_epochs: usize,
}

impl<N: Parameters> EpochAverage<N> {
    /// Starts without any epoch.
    pub(crate) fn new(keep: f32) -> Self {
        EpochAverage { keep, average: None, n_epochs: 0 }
    }

    /// Adds an epoch's network and returns the average.
    ///
    /// It is the plain mean of the first `1 / (1 - keep)` epochs, and decays afterwards.
    pub(crate) fn add(&mut self, network: &N) -> N {
        self.n_epochs += 1;
        let share = (1.0 - self.keep).max(1.0 / self.n_epochs as f32);
        let average = self.average.get_or_insert_with(|| network.clone());
        for ((_, mine), (_, other)) in average.arrays_mut().into_iter().zip(network.arrays()) {
            Zip::from(mine).and(other).for_each(|mine, other| *mine += share * (other - *mine));
        }
        average.clone()
    }

    /// Returns the average so far.
    pub(crate) fn state(&self) -> State<'_> {
        let mut state = State::default();
        state.put_counts("n_epochs", vec![self.n_epochs as u64]);
        if let Some(average) = &self.average {
            state.put_all("", average.state());
        }
        state
    }

    /// Restores the average; `network` has its shape.
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
