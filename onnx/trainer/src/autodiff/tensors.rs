//! Values between the host and a device.

use burn::tensor::{Device, Int, Tensor, TensorData};
use ndarray::Array2;

use crate::layers::fill_dropout_mask;
use crate::rows::{RowMajor as _, row_major};

/// Copies a matrix to a device.
pub(crate) fn tensor_of(matrix: &Array2<f32>, device: &Device) -> Tensor<2> {
    let shape = [matrix.nrows(), matrix.ncols()];
    Tensor::from_data(TensorData::new(matrix.values().to_vec(), shape), device)
}

/// Copies a matrix from its device.
pub(crate) fn matrix_of(tensor: Tensor<2>) -> Array2<f32> {
    let [n_rows, n_cols] = tensor.dims();
    let values = tensor.try_into_vec_as::<f32>().expect("a device gives back what it holds");
    row_major(n_rows, n_cols, values)
}

/// Copies positions to a device.
pub(crate) fn indices(positions: &[usize], device: &Device) -> Tensor<1, Int> {
    let positions: Vec<i32> = positions
        .iter()
        .map(|&position| i32::try_from(position).expect("a batch has fewer than 2^31 values"))
        .collect();
    let n = positions.len();
    Tensor::from_data(TensorData::new(positions, [n]), device)
}

/// Drops a share of a tensor's values and scales up the rest; the same seed drops the same.
///
/// Why not the device's own random numbers? These are the same on every device, and after a resume.
pub(crate) fn dropout<const D: usize>(x: Tensor<D>, share: f32, seed: u64) -> Tensor<D> {
    if share == 0.0 {
        return x;
    }
    let shape = x.dims();
    let mut mask = vec![0.0; shape.iter().product()];
    fill_dropout_mask(&mut mask, share, seed);
    let mask = Tensor::from_data(TensorData::new(mask, shape), &x.device());
    x * mask
}
