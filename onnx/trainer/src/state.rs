//! A training's state as named arrays, and its file format.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::io::{self, Write};

use ndarray::{ArrayView, ArrayViewMut, Dimension};
use rayon::prelude::*;
use safetensors::tensor::{Dtype, Metadata, SafeTensors, TensorInfo};

/// A training's state by name: parameters, the optimizer's running means, counters.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State<'a> {
    parts: BTreeMap<String, Part<'a>>,
}

/// One part: an array, or whole numbers.
#[derive(Clone, Debug, PartialEq)]
enum Part<'a> {
    Values { shape: Vec<usize>, values: Cow<'a, [f32]> },
    Counts { shape: [usize; 1], counts: Cow<'a, [u64]> },
}

/// A state of another model.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StateError {
    /// A part is missing.
    #[error("it has no {name}")]
    Missing {
        /// The part's name.
        name: String,
    },
    /// A part has another shape than the model's.
    #[error("its {name} has the shape {found:?}, and the model's has {expected:?}")]
    Shape {
        /// The part's name.
        name: String,
        /// The shape found.
        found: Vec<usize>,
        /// The shape of the model's.
        expected: Vec<usize>,
    },
}

impl<'a> State<'a> {
    /// Adds an array in standard layout.
    pub fn put<D: Dimension>(&mut self, name: impl Into<String>, array: ArrayView<'a, f32, D>) {
        let values = array.to_slice().expect("standard layout");
        self.put_values(name, array.shape(), values);
    }

    /// Adds values of any shape, in row-major order.
    ///
    /// # Panics
    ///
    /// When the number of values differs from the shape's.
    pub fn put_values(
        &mut self,
        name: impl Into<String>,
        shape: &[usize],
        values: impl Into<Cow<'a, [f32]>>,
    ) {
        let (name, values) = (name.into(), values.into());
        assert_eq!(values.len(), shape.iter().product::<usize>(), "{name} of shape {shape:?}");
        self.parts.insert(name, Part::Values { shape: shape.to_vec(), values });
    }

    /// Adds whole numbers.
    pub fn put_counts(&mut self, name: impl Into<String>, counts: impl Into<Cow<'a, [u64]>>) {
        let counts = counts.into();
        self.parts.insert(name.into(), Part::Counts { shape: [counts.len()], counts });
    }

    /// Adds all parts of another state under a prefix.
    pub fn put_all(&mut self, prefix: &str, other: State<'a>) {
        let parts = other.parts.into_iter();
        self.parts.extend(parts.map(|(name, part)| (format!("{prefix}{name}"), part)));
    }

    /// Returns the parts below a prefix, borrowed, without the prefix.
    pub fn below(&self, prefix: &str) -> State<'_> {
        let parts = self.parts.iter().filter_map(|(name, part)| {
            let name = name.strip_prefix(prefix)?.to_owned();
            let part = match part {
                Part::Values { shape, values } => {
                    Part::Values { shape: shape.clone(), values: Cow::Borrowed(&**values) }
                }
                Part::Counts { shape, counts } => {
                    Part::Counts { shape: *shape, counts: Cow::Borrowed(&**counts) }
                }
            };
            Some((name, part))
        });
        State { parts: parts.collect() }
    }

    /// Removes and returns the parts below a prefix, without the prefix.
    pub(crate) fn take_all(&mut self, prefix: &str) -> State<'a> {
        let names: Vec<String> =
            self.parts.keys().filter(|name| name.starts_with(prefix)).cloned().collect();
        let mut parts = BTreeMap::new();
        for name in names {
            if let Some(part) = self.parts.remove(&name) {
                parts.insert(name[prefix.len()..].to_owned(), part);
            }
        }
        State { parts }
    }

    /// Returns true if every value is finite.
    pub fn is_finite(&self) -> bool {
        self.parts.values().all(|part| match part {
            Part::Values { values, .. } => {
                values.par_chunks(1 << 16).all(|values| values.iter().all(|v| v.is_finite()))
            }
            Part::Counts { .. } => true,
        })
    }

    /// Copies an array of the state into one of the same shape, in standard layout.
    ///
    /// # Errors
    ///
    /// [`StateError`] when the part is missing or has another shape.
    pub fn fill<D: Dimension>(
        &self,
        name: &str,
        mut array: ArrayViewMut<'_, f32, D>,
    ) -> Result<(), StateError> {
        let values = self.values(name, array.shape())?;
        array.as_slice_mut().expect("standard layout").copy_from_slice(values);
        Ok(())
    }

    /// Returns the values of a part that has this shape.
    ///
    /// # Errors
    ///
    /// [`StateError`] when the part is missing or has another shape.
    pub fn values(&self, name: &str, expected: &[usize]) -> Result<&[f32], StateError> {
        match self.part(name)? {
            Part::Values { shape, values } if shape == expected => Ok(values),
            other => Err(other.shape_error(name, expected)),
        }
    }

    /// Returns `n` whole numbers.
    ///
    /// # Errors
    ///
    /// [`StateError`] when the part is missing or has another length.
    pub fn counts(&self, name: &str, n: usize) -> Result<&[u64], StateError> {
        match self.part(name)? {
            Part::Counts { counts, .. } if counts.len() == n => Ok(counts),
            other => Err(other.shape_error(name, &[n])),
        }
    }

    /// Returns a single whole number.
    ///
    /// # Errors
    ///
    /// As [`State::counts`].
    pub fn count(&self, name: &str) -> Result<u64, StateError> {
        Ok(self.counts(name, 1)?[0])
    }

    fn part(&self, name: &str) -> Result<&Part<'a>, StateError> {
        self.parts.get(name).ok_or_else(|| StateError::Missing { name: name.to_owned() })
    }

    /// Writes the state and a text about it as safetensors.
    ///
    /// # Why not safetensors' own function?
    ///
    /// It makes a file that only its owner can read, and leaves no way to compute a checksum.
    pub(crate) fn write(&self, file: &mut impl Write, about: String) -> io::Result<()> {
        // Larger numbers first, so that all are aligned.
        let mut parts: Vec<(&String, &Part<'_>)> = self.parts.iter().collect();
        parts.sort_by_key(|(_, part)| std::cmp::Reverse(part.dtype()));
        let mut header = self.header(&parts, about)?;
        header.resize(header.len().next_multiple_of(8), b' ');
        file.write_all(&(header.len() as u64).to_le_bytes())?;
        file.write_all(&header)?;
        parts.into_iter().try_for_each(|(_, part)| file.write_all(&part.bytes()))
    }

    fn header(&self, parts: &[(&String, &Part<'_>)], about: String) -> io::Result<Vec<u8>> {
        let mut infos = Vec::with_capacity(parts.len());
        let mut start = 0;
        for (name, part) in parts {
            let data_offsets = (start, start + part.n_bytes());
            start = data_offsets.1;
            let (dtype, shape) = (part.dtype(), part.shape().to_vec());
            infos.push(((*name).clone(), TensorInfo { dtype, shape, data_offsets }));
        }
        let about = HashMap::from([(ABOUT.to_owned(), about)]);
        let metadata = Metadata::new(Some(about), infos).map_err(io::Error::other)?;
        Ok(serde_json::to_vec(&metadata)?)
    }

    /// Reads the text about a state alone.
    pub(crate) fn about(bytes: &[u8]) -> Result<String, String> {
        let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(|error| error.to_string())?;
        let about = metadata.metadata().as_ref().and_then(|texts| texts.get(ABOUT)).cloned();
        Ok(about.ok_or("it says nothing about itself")?)
    }

    /// Reads the content of a file that [`State::write`] made: the state and the text about it.
    pub(crate) fn read(bytes: &[u8]) -> Result<(State<'static>, String), String> {
        let about = State::about(bytes)?;
        let tensors = SafeTensors::deserialize(bytes).map_err(|error| error.to_string())?;
        let mut state = State::default();
        for (name, tensor) in tensors.iter() {
            match tensor.dtype() {
                Dtype::F32 => {
                    let values = numbers(tensor.data(), f32::from_le_bytes);
                    state.put_values(name, tensor.shape(), values);
                }
                Dtype::U64 => state.put_counts(name, numbers(tensor.data(), u64::from_le_bytes)),
                other => return Err(format!("its {name} has the type {other:?}")),
            }
        }
        Ok((state, about))
    }
}

/// Names the text about a state in its file.
const ABOUT: &str = "autotag";

fn numbers<const N: usize, T>(bytes: &[u8], from_le_bytes: impl Fn([u8; N]) -> T) -> Vec<T> {
    bytes.as_chunks::<N>().0.iter().map(|&bytes| from_le_bytes(bytes)).collect()
}

impl Part<'_> {
    fn shape_error(&self, name: &str, expected: &[usize]) -> StateError {
        StateError::Shape {
            name: name.to_owned(),
            found: self.shape().to_vec(),
            expected: expected.to_vec(),
        }
    }
}

/// A part's encoding in a file, little-endian.
impl Part<'_> {
    fn dtype(&self) -> Dtype {
        match self {
            Part::Values { .. } => Dtype::F32,
            Part::Counts { .. } => Dtype::U64,
        }
    }

    fn shape(&self) -> &[usize] {
        match self {
            Part::Values { shape, .. } => shape,
            Part::Counts { shape, .. } => shape,
        }
    }

    #[cfg(target_endian = "little")]
    fn bytes(&self) -> Cow<'_, [u8]> {
        match self {
            Part::Values { values, .. } => Cow::Borrowed(bytemuck::cast_slice(values)),
            Part::Counts { counts, .. } => Cow::Borrowed(bytemuck::cast_slice(counts)),
        }
    }

    #[cfg(target_endian = "big")]
    fn bytes(&self) -> Cow<'_, [u8]> {
        Cow::Owned(match self {
            Part::Values { values, .. } => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
            Part::Counts { counts, .. } => counts.iter().flat_map(|v| v.to_le_bytes()).collect(),
        })
    }

    fn n_bytes(&self) -> usize {
        match self {
            Part::Values { values, .. } => 4 * values.len(),
            Part::Counts { counts, .. } => 8 * counts.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use ndarray::{Array2, array};

    use super::*;

    #[test]
    fn a_state_comes_back_from_its_file() {
        let matrix = array![[1.0, -2.5, 0.0], [3.0, f32::MAX, 1e-30]];
        let mut inner = State::default();
        inner.put("matrix", matrix.view());
        inner.put_counts("steps", vec![7, u64::MAX]);
        let mut state = State::default();
        state.put_all("model/", inner.clone());
        let mut bytes = Vec::new();
        state.write(&mut bytes, "a text".to_owned()).unwrap();
        let (mut read, about) = State::read(&bytes).unwrap();
        assert_eq!(about, "a text");
        assert_eq!(read, state);
        assert_eq!(read.below("model/"), inner);
        assert_eq!(read.take_all("model/"), inner);
    }

    #[test]
    fn parts_that_do_not_fit_are_named() {
        let matrix = Array2::zeros((2, 3));
        let mut state = State::default();
        state.put("kernel", matrix.view());
        let error = state.fill("kernel", Array2::zeros((3, 3)).view_mut()).unwrap_err().to_string();
        assert_eq!(error, "its kernel has the shape [2, 3], and the model's has [3, 3]");
        let error = state.count("steps").unwrap_err().to_string();
        assert_eq!(error, "it has no steps");
        assert!(State::read(b"nothing").is_err());
    }
}
