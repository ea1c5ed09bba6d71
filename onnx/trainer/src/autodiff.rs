//! Shared by the models that are trained through automatic differentiation: weights on a device, both
//! losses, AdamW. Only this folder and the models' use Burn.

mod device;
mod groups;
mod loss;
mod optimizer;
mod prior;
mod tensors;
mod training;
mod weights;

use crate::optimizer::step_hash;

pub(crate) use device::training_device;
pub(crate) use groups::predict_by_length;
pub(crate) use loss::{Answer, losses, normalized_rows};
pub(crate) use optimizer::{AdamW, Pace};
pub(crate) use prior::prior_bias;
pub(crate) use tensors::{dropout, indices, matrix_of, tensor_of};
pub(crate) use training::TrainingWeights;
pub(crate) use weights::{DeviceWeights, Weights};

/// Returns the seed of a step's dropout, a function of the number of steps: a resumed training draws the
/// same. The low bits are left to [`group_seed`].
pub(crate) fn step_seed(seed: u64, n_steps: u64) -> u64 {
    (seed ^ step_hash(n_steps)) << 24
}

/// Returns the seed of the dropout of a group of a step's texts, with room for 4,096 masks.
pub(crate) fn group_seed(step_seed: u64, number: u64) -> u64 {
    step_seed.wrapping_add(number << 12)
}

#[cfg(test)]
pub(crate) mod samples;
#[cfg(test)]
mod tests;
