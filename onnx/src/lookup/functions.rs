//! The operators as ONNX functions of standard operators.

use super::table::Precision;
use crate::graph::{GraphBuilder, Reduced, Value};
use crate::proto::{ElementType, FunctionProto};

/// The domain of the operators.
pub(crate) const DOMAIN: &str = "autotag";

/// One of the operators.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Function {
    /// `EmbeddingBag` or `EmbeddingBag4`.
    EmbeddingBag(Precision),
    /// `WindowMax` with a width of at least 1.
    WindowMax(usize),
}

const EMBEDDING_BAG: &str = "EmbeddingBag";
const EMBEDDING_BAG_4: &str = "EmbeddingBag4";
const WINDOW_MAX: &str = "WindowMax";

/// The widest window that has an operator.
const MAX_WIDTH: usize = 64;

/// Added to a window that does not count.
const EXCLUDED: f32 = -1e30;

impl Function {
    /// Returns the operator of a name.
    pub(crate) fn of_name(name: &str) -> Option<Self> {
        match name {
            EMBEDDING_BAG => return Some(Function::EmbeddingBag(Precision::Int8)),
            EMBEDDING_BAG_4 => return Some(Function::EmbeddingBag(Precision::Int4)),
            _ => {}
        }
        let width: usize = name.strip_prefix(WINDOW_MAX)?.parse().ok()?;
        let function = Function::WindowMax(width);
        // One name for each: no signs or leading zeros.
        ((1..=MAX_WIDTH).contains(&width) && function.name() == name).then_some(function)
    }

    /// Returns the operator's name.
    pub(crate) fn name(self) -> String {
        match self {
            Function::EmbeddingBag(Precision::Int8) => EMBEDDING_BAG.to_owned(),
            Function::EmbeddingBag(Precision::Int4) => EMBEDDING_BAG_4.to_owned(),
            Function::WindowMax(width) => format!("{WINDOW_MAX}{width}"),
        }
    }
}

/// Returns an operator's definition.
pub(crate) fn function(function: Function) -> FunctionProto {
    let mut graph = GraphBuilder::new("");
    let (last, out) = match function {
        Function::EmbeddingBag(precision) => ("weights", embedding_bag(&mut graph, precision)),
        Function::WindowMax(width) => ("mask", window_max(&mut graph, width as i64)),
    };
    let inputs = ["table", "scales", "ids", last];
    graph.into_function(DOMAIN, &function.name(), &inputs, &out)
}

fn embedding_bag(graph: &mut GraphBuilder, precision: Precision) -> Value {
    let [table, scales, ids, weights] = ["table", "scales", "ids", "weights"].map(Value::named);
    let rows = graph.gather(&table, &ids, 0);
    let scales = graph.gather(&scales, &ids, 0);
    // [batch, length, slices, 1]
    let scales = graph.unsqueeze(&scales, &[3]);
    let slices = graph.shape_of(&scales, 2, 3);
    let (as_they_are, rest) = (graph.integers(&[0, 0]), graph.integers(&[-1]));
    let shape = graph.concat(&[&as_they_are, &slices, &rest], 0);
    let rows = graph.node("Reshape", &[&rows, &shape]).output();
    let rows = match precision {
        Precision::Int8 => graph.cast(&rows, ElementType::Float),
        Precision::Int4 => nibbles(graph, &rows),
    };
    let weights = graph.unsqueeze(&weights, &[2, 3]);
    let scales = graph.mul(&scales, &weights);
    let rows = graph.mul(&rows, &scales);
    let sums = graph.reduce_sum(&rows, &[1], Reduced::Dropped);
    graph.reshape(&sums, &[0, -1])
}

/// Returns the values of bytes with two in each: those in the low bits, then those in the high bits.
fn nibbles(graph: &mut GraphBuilder, bytes: &Value) -> Value {
    let (mask, four) =
        (graph.constant_u8("mask", &[], &[15]), graph.constant_u8("four", &[], &[4]));
    let low = graph.node("BitwiseAnd", &[bytes, &mask]).output();
    let high = graph.node("BitShift", &[bytes, &four]).string("direction", "RIGHT").output();
    let values = graph.concat(&[&low, &high], 3);
    let values = graph.cast(&values, ElementType::Float);
    let eight = graph.scalar(8.0);
    graph.sub(&values, &eight)
}

fn window_max(graph: &mut GraphBuilder, width: i64) -> Value {
    let [table, scales, ids, mask] = ["table", "scales", "ids", "mask"].map(Value::named);
    let zero = graph.constant_i64("zero", &[], &[0]);
    let pads = [0, 0, 0, width - 1];
    let ids = graph.mul(&ids, &mask);
    let ids = graph.pad(&ids, &pads, &zero);
    let slices = graph.gather(&table, &ids, 0);
    let slices = graph.cast(&slices, ElementType::Float);
    let slices = graph.reshape(&slices, &[0, 0, width, -1]);
    let scales = graph.gather(&scales, &ids, 0);
    let scales = graph.unsqueeze(&scales, &[3]);
    let slices = graph.mul(&slices, &scales);
    let mut sum: Option<Value> = None;
    for offset in 0..width {
        let at = graph.constant_i64("offset", &[], &[offset]);
        let part = graph.gather(&slices, &at, 2);
        let part = graph.slice(&part, &[offset], &[end(width - 1 - offset)], &[1]);
        sum = Some(match sum {
            Some(sum) => graph.add(&sum, &part),
            None => part,
        });
    }
    let sum = sum.expect("a width is at least 1");
    let penalty = penalty(graph, &mask, &pads, &zero);
    let windows = graph.add(&sum, &penalty);
    graph.reduce_max(&windows, &[1], Reduced::Dropped)
}

/// Returns what is added to the windows, by their first positions: [batch, length, 1].
fn penalty(graph: &mut GraphBuilder, mask: &Value, pads: &[i64; 4], zero: &Value) -> Value {
    let (none, excluded) = (graph.scalar(0.0), graph.scalar(EXCLUDED));
    let first = graph.slice(mask, &[0], &[1], &[1]);
    let first = graph.cast(&first, ElementType::Float);
    let first = graph.mul(&first, &none);
    let padded = graph.pad(mask, pads, zero);
    let rest = graph.slice(&padded, &[pads[3] + 1], &[i64::MAX], &[1]);
    let rest = graph.cast(&rest, ElementType::Bool);
    let rest = graph.where_(&rest, &none, &excluded);
    let penalty = graph.concat(&[&first, &rest], 1);
    graph.unsqueeze(&penalty, &[2])
}

/// Returns the end of a slice that leaves out the last `n` positions.
fn end(n: i64) -> i64 {
    if n == 0 { i64::MAX } else { -n }
}
