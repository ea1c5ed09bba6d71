//! The average of a model's parameters over epochs.

use crate::matrix::Matrix;

/// What can be averaged: matrices, the same in number and shape for all networks of a training.
pub(crate) trait Parameters: Clone {
    /// Returns every matrix of parameters.
    fn matrices(&self) -> Vec<&Matrix>;

    /// Returns every matrix of parameters to change, in the same order.
    fn matrices_mut(&mut self) -> Vec<&mut Matrix>;
}

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
        for (mine, other) in average.matrices_mut().into_iter().zip(network.matrices()) {
            for (mine, other) in mine.values_mut().iter_mut().zip(other.values()) {
                *mine += share * (other - *mine);
            }
        }
        average.clone()
    }
}
