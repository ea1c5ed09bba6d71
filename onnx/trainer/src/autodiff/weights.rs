use std::collections::BTreeMap;

use burn::tensor::{Device, Tensor, TensorData};
use ndarray::{Array2, ArrayViewD, ArrayViewMutD};

use super::{matrix_of, tensor_of};
use crate::parameters::Parameters;
use crate::state::{State, StateError};

/// A model's parameters by name; vectors are matrices of one row.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Weights {
    matrices: BTreeMap<String, Array2<f32>>,
}

impl Weights {
    /// Makes weights of named matrices.
    pub(crate) fn new(matrices: BTreeMap<String, Array2<f32>>) -> Self {
        Weights { matrices }
    }

    /// Adds a matrix.
    pub(crate) fn insert(&mut self, name: impl Into<String>, matrix: Array2<f32>) {
        self.matrices.insert(name.into(), matrix);
    }

    /// Returns a matrix.
    ///
    /// # Panics
    ///
    /// When the model has none of this name.
    pub(crate) fn get(&self, name: &str) -> &Array2<f32> {
        self.matrices.get(name).unwrap_or_else(|| panic!("the model has no weights {name}"))
    }

    /// Returns all matrices by name.
    pub(crate) fn matrices_by_name(&self) -> &BTreeMap<String, Array2<f32>> {
        &self.matrices
    }

    /// Copies all to a device.
    pub(crate) fn to_device(&self, device: &Device) -> DeviceWeights {
        let copy =
            |(name, matrix): (&String, &Array2<f32>)| (name.clone(), tensor_of(matrix, device));
        DeviceWeights { tensors: self.matrices.iter().map(copy).collect() }
    }
}

impl Parameters for Weights {
    fn arrays(&self) -> Vec<(&str, ArrayViewD<'_, f32>)> {
        let named = self.matrices.iter();
        named.map(|(name, matrix)| (name.as_str(), matrix.view().into_dyn())).collect()
    }

    fn arrays_mut(&mut self) -> Vec<(&str, ArrayViewMutD<'_, f32>)> {
        let named = self.matrices.iter_mut();
        named.map(|(name, matrix)| (name.as_str(), matrix.view_mut().into_dyn())).collect()
    }
}

/// A model's parameters on a device; copies share their values.
#[derive(Clone, Debug)]
pub(crate) struct DeviceWeights {
    tensors: BTreeMap<String, Tensor<2>>,
}

impl DeviceWeights {
    /// Returns a matrix; a vector has one row, and so is added to each row of what it is added to.
    ///
    /// # Panics
    ///
    /// When the model has none of this name.
    pub(crate) fn get(&self, name: &str) -> Tensor<2> {
        self.tensors.get(name).unwrap_or_else(|| panic!("the model has no weights {name}")).clone()
    }

    /// Returns the device that they are on.
    pub(crate) fn device(&self) -> Device {
        self.tensors.values().next().map_or_else(Device::flex, Tensor::device)
    }

    /// Returns the same weights, of which gradients can be asked.
    pub(crate) fn tracked(&self) -> Self {
        self.map(|tensor| tensor.clone().autodiff().require_grad())
    }

    /// Returns zeros of the same shapes.
    pub(crate) fn zeros_like(&self) -> Self {
        self.map(Tensor::zeros_like)
    }

    /// Copies all from the device.
    pub(crate) fn to_host(&self) -> Weights {
        let copy =
            |(name, tensor): (&String, &Tensor<2>)| (name.clone(), matrix_of(tensor.clone()));
        Weights { matrices: self.tensors.iter().map(copy).collect() }
    }

    /// Goes through the weights in the order of their names.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&String, &Tensor<2>)> {
        self.tensors.iter()
    }

    /// Goes through the weights in the order of their names, to replace them.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = (&String, &mut Tensor<2>)> {
        self.tensors.iter_mut()
    }

    /// Restores the weights from the parts of a state whose names begin with `prefix`.
    pub(crate) fn restore(&mut self, prefix: &str, state: &State<'_>) -> Result<(), StateError> {
        for (name, tensor) in &mut self.tensors {
            let shape = tensor.dims();
            let values = state.values(&format!("{prefix}{name}"), &shape)?;
            *tensor = Tensor::from_data(TensorData::new(values.to_vec(), shape), &tensor.device());
        }
        Ok(())
    }

    fn map(&self, f: impl Fn(&Tensor<2>) -> Tensor<2>) -> Self {
        let apply = |(name, tensor): (&String, &Tensor<2>)| (name.clone(), f(tensor));
        DeviceWeights { tensors: self.tensors.iter().map(apply).collect() }
    }
}
