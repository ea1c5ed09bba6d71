//! Limits on what a model asks of ONNX Runtime: the operators that it may call, and the memory that
//! its constants may claim.

use std::collections::HashMap;
use std::path::Path;

use prost::bytes::Bytes;

use crate::lookup::{self, DOMAIN, Function};
use crate::proto::{AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, TensorProto};
use crate::{OnnxError, Result};

/// The operators that a bundle's model may call, all of ONNX's own domain.
///
/// None of them has a graph inside, so that a model ends after as many steps as it has nodes; none
/// is random, and none makes anything but tensors.
#[rustfmt::skip]
pub const OPERATORS: &[&str] = &[
    "Abs", "Acos", "Acosh", "Add", "And", "ArgMax", "ArgMin", "Asin", "Asinh", "Atan", "Atanh",
    "Attention", "AveragePool", "BatchNormalization", "BitShift", "BitwiseAnd", "BitwiseNot",
    "BitwiseOr", "BitwiseXor", "Cast", "CastLike", "Ceil", "Celu", "Clip", "Compress", "Concat",
    "Constant", "ConstantOfShape", "Conv", "ConvInteger", "Cos", "Cosh", "CumSum", "DepthToSpace",
    "DequantizeLinear", "Div", "Dropout", "DynamicQuantizeLinear", "Einsum", "Elu", "Equal", "Erf",
    "Exp", "Expand", "EyeLike", "Flatten", "Floor", "GRU", "Gather", "GatherElements", "GatherND",
    "Gelu", "Gemm", "GlobalAveragePool", "GlobalMaxPool", "Greater", "GreaterOrEqual",
    "GroupNormalization", "HardSigmoid", "HardSwish", "Hardmax", "Identity",
    "InstanceNormalization", "IsInf", "IsNaN", "LSTM", "LayerNormalization", "LeakyRelu", "Less",
    "LessOrEqual", "Log", "LogSoftmax", "LpNormalization", "MatMul", "MatMulInteger", "Max",
    "MaxPool", "Mean", "MeanVarianceNormalization", "Min", "Mish", "Mod", "Mul", "Neg", "NonZero",
    "Not", "OneHot", "Or", "PRelu", "Pad", "Pow", "QLinearConv", "QLinearMatMul", "QuantizeLinear",
    "RMSNormalization", "RNN", "Range", "Reciprocal", "ReduceL1", "ReduceL2", "ReduceLogSum",
    "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum",
    "ReduceSumSquare", "Relu", "Reshape", "RotaryEmbedding", "Round", "ScatterElements",
    "ScatterND", "Selu", "Shape", "Shrink", "Sigmoid", "Sign", "Sin", "Sinh", "Size", "Slice",
    "Softmax", "Softplus", "Softsign", "SpaceToDepth", "Split", "Sqrt", "Squeeze", "Sub", "Sum",
    "Swish", "Tan", "Tanh", "ThresholdedRelu", "Tile", "TopK", "Transpose", "Trilu", "Unsqueeze",
    "Where", "Xor",
];

/// The most values of a tensor whose size a constant decides: a gigabyte of float32.
const MAX_VALUES: u128 = 1 << 28;

/// The most bytes of a model beside its constants' values: names, nodes and attributes.
///
/// An empty node takes two bytes in the file and hundreds in memory. BERT's graph has 1 MB.
const MAX_STRUCTURE: usize = 4 << 20;

/// Refuses a file whose nodes alone would fill the memory, before they are decoded.
pub(super) fn check_structure(path: &Path, model: &[u8]) -> Result<()> {
    let found = model.len() - wire::constants_bytes(model);
    if found <= MAX_STRUCTURE {
        return Ok(());
    }
    Err(OnnxError::ModelStructure { path: path.to_path_buf(), found, limit: MAX_STRUCTURE })
}

/// Refuses operators that are neither in [`OPERATORS`] nor lookups, functions other than the lookups,
/// graphs inside of nodes, and constants that ask for more memory than a model needs.
pub(super) fn check(path: &Path, model: &ModelProto, n_bytes: usize) -> Result<()> {
    if let Some(function) = model.functions.iter().find(|function| !is_lookup(function)) {
        return Err(refused(path, "a function", function.name.as_deref()));
    }
    let Some(graph) = &model.graph else { return Ok(()) };
    for node in &graph.node {
        check_operator(path, node, &model.functions)?;
    }
    let too_large = |name: &str, found| OnnxError::TensorSize {
        path: path.to_path_buf(),
        name: name.to_owned(),
        found: u64::try_from(found).unwrap_or(u64::MAX),
    };
    if let Some(tensor) = tensors(graph).find(|tensor| !is_within(tensor, n_bytes)) {
        return Err(too_large(tensor.name(), n_values(&tensor.dims)));
    }
    if let Some(sparse) = sparse_shapes(graph).find(|dims| n_values(dims) > MAX_VALUES) {
        return Err(too_large("a sparse tensor", n_values(sparse)));
    }
    let constants = integer_constants(graph);
    for node in &graph.node {
        let found = asked_for(node, &constants);
        if found > MAX_VALUES {
            return Err(too_large(node.output.first().map_or("", String::as_str), found));
        }
    }
    Ok(())
}

/// Tells whether a function is one of the lookups, as this version defines it.
fn is_lookup(function: &FunctionProto) -> bool {
    Function::of_name(function.name()).is_some_and(|known| lookup::function(known) == *function)
}

fn check_operator(path: &Path, node: &NodeProto, functions: &[FunctionProto]) -> Result<()> {
    let operator = node.op_type();
    if node.domain() == DOMAIN && functions.iter().any(|known| known.name() == operator) {
        return Ok(());
    }
    if !matches!(node.domain(), "" | "ai.onnx") {
        let name = format!("{}.{operator}", node.domain());
        return Err(refused(path, "the operator", Some(&name)));
    }
    if !OPERATORS.contains(&operator) {
        return Err(refused(path, "the operator", Some(operator)));
    }
    if node.attribute.iter().any(|a| a.g.is_some() || !a.graphs.is_empty()) {
        return Err(refused(path, "a graph inside of the operator", Some(operator)));
    }
    Ok(())
}

fn refused(path: &Path, kind: &'static str, name: Option<&str>) -> OnnxError {
    let name = name.unwrap_or_default().chars().take(80).collect();
    OnnxError::Operator { path: path.to_path_buf(), kind, name }
}

/// Returns the tensors that are written into a graph: initializers and those in attributes.
fn tensors(graph: &GraphProto) -> impl Iterator<Item = &TensorProto> {
    let in_sparse = graph.sparse_initializer.iter().flat_map(|s| s.values.iter().chain(&s.indices));
    let in_attributes = attributes(graph).flat_map(|attribute| {
        let sparse = attribute.sparse_tensor.iter().chain(&attribute.sparse_tensors);
        let in_sparse = sparse.flat_map(|s| s.values.iter().chain(&s.indices));
        attribute.t.iter().chain(&attribute.tensors).chain(in_sparse)
    });
    graph.initializer.iter().chain(in_sparse).chain(in_attributes)
}

fn sparse_shapes(graph: &GraphProto) -> impl Iterator<Item = &[i64]> {
    let in_attributes =
        attributes(graph).flat_map(|a| a.sparse_tensor.iter().chain(&a.sparse_tensors));
    graph.sparse_initializer.iter().chain(in_attributes).map(|sparse| &sparse.dims[..])
}

fn attributes(graph: &GraphProto) -> impl Iterator<Item = &AttributeProto> {
    graph.node.iter().flat_map(|node| &node.attribute)
}

/// Tells whether a tensor can lie in a file of that length: a value takes 4 bits at least.
fn is_within(tensor: &TensorProto, n_bytes: usize) -> bool {
    tensor.dims.iter().all(|&length| length >= 0)
        && n_values(&tensor.dims) <= (n_bytes as u128).saturating_mul(2)
}

/// Multiplies lengths; those that stand for "as it is" (-1 and 0) count once.
fn n_values(shape: &[i64]) -> u128 {
    shape.iter().fold(1, |n: u128, &length| n.saturating_mul(length.max(1) as u128))
}

/// Returns how many values an operator makes of constants that say so; 0 where none does.
fn asked_for(node: &NodeProto, constants: &HashMap<&str, Vec<i64>>) -> u128 {
    let input = |n: usize| node.input.get(n).and_then(|name| constants.get(name.as_str()));
    let product = |n: usize| input(n).map_or(0, |shape| n_values(shape));
    match node.op_type() {
        "ConstantOfShape" => product(0),
        "Expand" | "Tile" => product(1),
        "OneHot" => {
            input(1).and_then(|depth| depth.first()).map_or(0, |&d| d.unsigned_abs().into())
        }
        "Pad" => {
            let old = node.attribute.iter().find(|a| a.name() == "pads").map(|a| &a.ints);
            input(1)
                .or(old)
                .map_or(0, |pads| pads.iter().map(|&p| u128::from(p.unsigned_abs())).sum())
        }
        "Range" => {
            let ends = [0, 1, 2].map(|n| input(n).and_then(|values| values.first()).copied());
            match ends {
                [Some(from), Some(to), Some(step)] => {
                    let step = i128::from(step).unsigned_abs().max(1);
                    (i128::from(to) - i128::from(from)).unsigned_abs() / step
                }
                _ => 0,
            }
        }
        _ => 0,
    }
}

/// Longer constants are no shapes.
const LONGEST_SHAPE: usize = 64;

/// Returns the short constants of integers by their names.
fn integer_constants(graph: &GraphProto) -> HashMap<&str, Vec<i64>> {
    let initializers = graph.initializer.iter().map(|t| (t.name(), integers(t)));
    let nodes = graph.node.iter().filter(|node| node.op_type() == "Constant");
    let nodes = nodes.filter_map(|node| {
        let (name, attribute) = (node.output.first()?, node.attribute.first()?);
        let values = match (&attribute.t, attribute.i) {
            (Some(tensor), _) => integers(tensor),
            (None, Some(value)) => vec![value],
            (None, None) => attribute.ints.clone(),
        };
        Some((name.as_str(), values))
    });
    initializers.chain(nodes).filter(|(_, v)| (1..=LONGEST_SHAPE).contains(&v.len())).collect()
}

fn integers(tensor: &TensorProto) -> Vec<i64> {
    let raw = tensor.raw_data.as_ref().filter(|raw| !raw.is_empty());
    match raw {
        _ if tensor.data_type() != crate::proto::ElementType::Int64 => Vec::new(),
        Some(raw) if raw.len() <= 8 * LONGEST_SHAPE => from_bytes(raw),
        Some(_) => Vec::new(),
        None => tensor.int64_data.iter().take(LONGEST_SHAPE + 1).copied().collect(),
    }
}

fn from_bytes(raw: &Bytes) -> Vec<i64> {
    let (values, _) = raw.as_chunks::<8>();
    values.iter().map(|&bytes| i64::from_le_bytes(bytes)).collect()
}

/// The wire format of protobuf, as far as finding a field needs it.
mod wire {
    /// Returns the bytes of the initializers' values, which decoding does not multiply.
    pub(super) fn constants_bytes(model: &[u8]) -> usize {
        const GRAPH: u64 = 7;
        const INITIALIZER: u64 = 5;
        const FLOAT_DATA: u64 = 4;
        const RAW_DATA: u64 = 9;
        let graphs = fields(model).filter(|(number, _)| *number == GRAPH);
        let initializers = graphs.flat_map(|(_, graph)| fields(graph));
        let tensors = initializers.filter(|(number, _)| *number == INITIALIZER);
        let values = tensors.flat_map(|(_, tensor)| fields(tensor));
        values.filter(|(n, _)| [FLOAT_DATA, RAW_DATA].contains(n)).map(|(_, v)| v.len()).sum()
    }

    /// Returns a message's fields of bytes with their numbers, up to the first that is malformed:
    /// decoding reports that one.
    fn fields(mut message: &[u8]) -> impl Iterator<Item = (u64, &[u8])> {
        std::iter::from_fn(move || {
            loop {
                let key = varint(&mut message)?;
                let length = match key & 7 {
                    0 => {
                        varint(&mut message)?;
                        continue;
                    }
                    1 => 8,
                    2 => usize::try_from(varint(&mut message)?).ok()?,
                    5 => 4,
                    _ => return None,
                };
                let (value, rest) = message.split_at_checked(length)?;
                message = rest;
                if key & 7 == 2 {
                    return Some((key >> 3, value));
                }
            }
        })
    }

    fn varint(bytes: &mut &[u8]) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = bytes.split_first()?;
            *bytes = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::wire::constants_bytes;
    use crate::proto::{GraphProto, ModelProto, NodeProto, TensorProto};

    #[test]
    fn only_the_values_of_constants_are_counted() {
        let tensor = TensorProto {
            dims: vec![500; 3],
            float_data: vec![1.0; 10],
            raw_data: Some(vec![7; 1000].into()),
            name: Some("x".repeat(300)),
            ..TensorProto::default()
        };
        let graph = GraphProto {
            node: vec![NodeProto::default(); 100],
            initializer: vec![tensor; 2],
            ..GraphProto::default()
        };
        let model = ModelProto { graph: Some(graph), ..ModelProto::default() };
        let bytes = model.encode_to_vec();
        assert_eq!(constants_bytes(&bytes), 2 * 1040);
        for length in 0..bytes.len() {
            assert!(constants_bytes(&bytes[..length]) <= length);
        }
    }
}
