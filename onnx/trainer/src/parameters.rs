//! The parameters of a network by name: saved, restored, averaged and optimized alike.

use ndarray::{ArrayViewD, ArrayViewMutD};

use crate::state::{State, StateError};

/// The named arrays of a network, the same in order and shape for all networks of a training.
pub(crate) trait Parameters: Clone {
    /// Returns every array with its name.
    fn arrays(&self) -> Vec<(&str, ArrayViewD<'_, f32>)>;

    /// Returns every array to change, in the same order.
    fn arrays_mut(&mut self) -> Vec<(&str, ArrayViewMutD<'_, f32>)>;

    /// Returns the arrays under their names.
    fn state(&self) -> State<'_> {
        let mut state = State::default();
        self.arrays().into_iter().for_each(|(name, array)| state.put(name, array));
        state
    }

    /// Restores the arrays from a state.
    fn restore(&mut self, state: &State<'_>) -> Result<(), StateError> {
        self.arrays_mut().into_iter().try_for_each(|(name, array)| state.fill(name, array))
    }
}
