//! What the models trained through automatic differentiation share: weights on a device, both
//! losses, AdamW. Burn is touched here and in the models' folders only.

mod device;
mod groups;
mod loss;
mod optimizer;
mod prior;
mod tensors;
mod training;
mod weights;

pub(crate) use device::training_device;
pub(crate) use groups::predict_by_length;
pub(crate) use loss::{Answer, losses, normalized_rows};
pub(crate) use optimizer::{AdamW, Pace};
pub(crate) use prior::prior_bias;
pub(crate) use tensors::{dropout, indices, matrix_of, tensor_of};
pub(crate) use training::TrainingWeights;
pub(crate) use weights::{DeviceWeights, Weights};

/// Returns what a step draws its dropout from, so that a resumed training draws the same.
pub(crate) fn step_seed(seed: u64, n_steps: u64) -> u64 {
    (seed ^ n_steps.wrapping_mul(0x9E37_79B9_7F4A_7C15)) << 24
}

/// Returns what a group of a step's texts draws its dropout from: it has 4,096 draws of its own.
pub(crate) fn group_seed(step_seed: u64, number: u64) -> u64 {
    step_seed.wrapping_add(number << 12)
}

#[cfg(test)]
pub(crate) mod samples;
#[cfg(test)]
mod tests;
