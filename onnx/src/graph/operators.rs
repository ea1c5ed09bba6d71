//! The operators that the exported models are made of, one method each.
//!
//! Each method adds one node (and constants for lists of integers) and returns its output; the
//! meaning is that of ONNX's operator of the same name in the operator set 18.

use super::builder::{GraphBuilder, Value};
use crate::proto::ElementType;

/// The fate of the dimensions that a reduction reduces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reduced {
    /// They stay, with length 1.
    Kept,
    /// They go.
    Dropped,
}

impl GraphBuilder {
    /// `Gather`: takes the entries of `data` along `axis` at `indices`.
    pub fn gather(&mut self, data: &Value, indices: &Value, axis: i64) -> Value {
        self.node("Gather", &[data, indices]).int("axis", axis).output()
    }

    /// `Slice` with step 1: takes `starts..ends` along each of `axes`; `i64::MAX` is the end.
    pub fn slice(&mut self, data: &Value, starts: &[i64], ends: &[i64], axes: &[i64]) -> Value {
        let starts = self.integers(starts);
        let ends = self.integers(ends);
        let axes = self.integers(axes);
        self.node("Slice", &[data, &starts, &ends, &axes]).output()
    }

    /// `Slice` with step 1: takes the first entries along `axis`, as many as `length` `[1]` says.
    pub fn slice_to(&mut self, data: &Value, length: &Value, axis: i64) -> Value {
        let starts = self.integers(&[0]);
        let axes = self.integers(&[axis]);
        self.node("Slice", &[data, &starts, length, &axes]).output()
    }

    /// `Shape`: the lengths of dimensions `start..end`, as a list of 64-bit integers.
    pub fn shape_of(&mut self, x: &Value, start: i64, end: i64) -> Value {
        self.node("Shape", &[x]).int("start", start).int("end", end).output()
    }

    /// `Reshape`: in `shape`, 0 keeps a length and -1 stands for whatever is left.
    pub fn reshape(&mut self, x: &Value, shape: &[i64]) -> Value {
        let shape = self.integers(shape);
        self.node("Reshape", &[x, &shape]).output()
    }

    /// `Pad` by a constant: `pads` are the lengths before every dimension, then those after.
    ///
    /// `value` is a scalar or one-element constant of the data's type.
    pub fn pad(&mut self, data: &Value, pads: &[i64], value: &Value) -> Value {
        let pads = self.integers(pads);
        self.node("Pad", &[data, &pads, value]).output()
    }

    /// `Add`, with broadcasting.
    pub fn add(&mut self, a: &Value, b: &Value) -> Value {
        self.node("Add", &[a, b]).output()
    }

    /// `Sub`, with broadcasting.
    pub fn sub(&mut self, a: &Value, b: &Value) -> Value {
        self.node("Sub", &[a, b]).output()
    }

    /// `Mul`, with broadcasting.
    pub fn mul(&mut self, a: &Value, b: &Value) -> Value {
        self.node("Mul", &[a, b]).output()
    }

    /// `Div`, with broadcasting.
    pub fn div(&mut self, a: &Value, b: &Value) -> Value {
        self.node("Div", &[a, b]).output()
    }

    /// `Max` of two values, with broadcasting.
    pub fn max(&mut self, a: &Value, b: &Value) -> Value {
        self.node("Max", &[a, b]).output()
    }

    /// `ReduceMax` over `axes`.
    pub fn reduce_max(&mut self, data: &Value, axes: &[i64], reduced: Reduced) -> Value {
        self.reduce("ReduceMax", data, axes, reduced)
    }

    /// `ReduceSum` over `axes`.
    pub fn reduce_sum(&mut self, data: &Value, axes: &[i64], reduced: Reduced) -> Value {
        self.reduce("ReduceSum", data, axes, reduced)
    }

    /// `Relu`.
    pub fn relu(&mut self, x: &Value) -> Value {
        self.node("Relu", &[x]).output()
    }

    /// `Sigmoid`.
    pub fn sigmoid(&mut self, x: &Value) -> Value {
        self.node("Sigmoid", &[x]).output()
    }

    /// `Erf`.
    pub fn erf(&mut self, x: &Value) -> Value {
        self.node("Erf", &[x]).output()
    }

    /// `Softmax` along `axis`.
    pub fn softmax(&mut self, x: &Value, axis: i64) -> Value {
        self.node("Softmax", &[x]).int("axis", axis).output()
    }

    /// `LayerNormalization` over the last dimension, with `scale` and `bias` of its length.
    pub fn layer_normalization(
        &mut self,
        x: &Value,
        scale: &Value,
        bias: &Value,
        epsilon: f32,
    ) -> Value {
        let node = self.node("LayerNormalization", &[x, scale, bias]);
        node.int("axis", -1).float("epsilon", epsilon).output()
    }

    /// `Log`: the natural logarithm.
    pub fn log(&mut self, x: &Value) -> Value {
        self.node("Log", &[x]).output()
    }

    /// `Clip` to the range from `low` to `high`.
    pub fn clip(&mut self, x: &Value, low: &Value, high: &Value) -> Value {
        self.node("Clip", &[x, low, high]).output()
    }

    /// `Sqrt`.
    pub fn sqrt(&mut self, x: &Value) -> Value {
        self.node("Sqrt", &[x]).output()
    }

    /// `Concat` along `axis`.
    pub fn concat(&mut self, values: &[&Value], axis: i64) -> Value {
        self.node("Concat", values).int("axis", axis).output()
    }

    /// `Gemm`: `x * weights + bias`, for `x` `[n, in]`, `weights` `[in, out]` and `bias` `[out]`.
    pub fn gemm(&mut self, x: &Value, weights: &Value, bias: &Value) -> Value {
        self.node("Gemm", &[x, weights, bias]).output()
    }

    /// `Gemm` with `weights` `[out, in]`, as trainers often keep them.
    pub fn gemm_transposed(&mut self, x: &Value, weights: &Value, bias: &Value) -> Value {
        self.node("Gemm", &[x, weights, bias]).int("transB", 1).output()
    }

    /// `MatMul`, batched over the leading dimensions.
    pub fn matmul(&mut self, a: &Value, b: &Value) -> Value {
        self.node("MatMul", &[a, b]).output()
    }

    /// `Cast` to another element type.
    pub fn cast(&mut self, x: &Value, to: ElementType) -> Value {
        self.node("Cast", &[x]).int("to", i32::from(to).into()).output()
    }

    /// `Where`: takes from `yes` where the condition holds and from `no` elsewhere.
    pub fn where_(&mut self, condition: &Value, yes: &Value, no: &Value) -> Value {
        self.node("Where", &[condition, yes, no]).output()
    }

    /// `Conv` over one dimension without padding: `x` `[n, in, length]`, `weights`
    /// `[out, in, width]` and `bias` `[out]`.
    pub fn conv1d(&mut self, x: &Value, weights: &Value, bias: &Value) -> Value {
        self.node("Conv", &[x, weights, bias]).output()
    }

    /// `Transpose`: dimension i of the result is dimension `order[i]` of `x`.
    pub fn transpose(&mut self, x: &Value, order: &[i64]) -> Value {
        self.node("Transpose", &[x]).ints("perm", order).output()
    }

    /// `Unsqueeze`: inserts dimensions of length 1 at `axes`.
    pub fn unsqueeze(&mut self, x: &Value, axes: &[i64]) -> Value {
        let axes = self.integers(axes);
        self.node("Unsqueeze", &[x, &axes]).output()
    }

    /// `LeakyRelu`, which multiplies negative values by `slope`.
    pub fn leaky_relu(&mut self, x: &Value, slope: f32) -> Value {
        self.node("LeakyRelu", &[x]).float("alpha", slope).output()
    }

    /// Bidirectional `LSTM` with ONNX's activations; returns all states, `[length, 2, batch, n]`.
    ///
    /// `inputs` are the sequences `[length, batch, in]`, W `[2, 4 n, in]`, R `[2, 4 n, n]`, the two
    /// biases `[2, 8 n]`, and the sequences' lengths, 32-bit integers `[batch]`. The gates stand in
    /// the order i, o, f, c. Each direction begins at a sequence's own end.
    pub fn lstm(&mut self, inputs: [&Value; 5], n: usize) -> Value {
        let node = self.node("LSTM", &inputs).string("direction", "bidirectional");
        node.int("hidden_size", n as i64).output()
    }

    /// Adds a constant list of integers under a generated name, as operators take their axes.
    pub fn integers(&mut self, values: &[i64]) -> Value {
        let name = self.fresh_name("integers");
        self.constant_i64(&name, &[values.len()], values)
    }

    /// Adds a constant single number, without dimensions, under a generated name.
    pub fn scalar(&mut self, value: f32) -> Value {
        let name = self.fresh_name("scalar");
        self.constant_f32(&name, &[], &[value])
    }

    fn reduce(&mut self, operator: &str, data: &Value, axes: &[i64], reduced: Reduced) -> Value {
        let keep = i64::from(reduced == Reduced::Kept);
        let axes = self.integers(axes);
        self.node(operator, &[data, &axes]).int("keepdims", keep).output()
    }
}
