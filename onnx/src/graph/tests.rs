use ort::session::Session;
use ort::value::Tensor;

use super::*;
use crate::proto::ElementType;
use crate::runtime;

/// Runs a model on `x` [2, 3] of 32-bit floating point and returns its output `y`.
fn run(model: &[u8], x: [f32; 6]) -> (Vec<i64>, Vec<f32>) {
    let environment = runtime::load(None).unwrap().environment();
    let mut session = Session::builder(environment).unwrap().commit_from_memory(model).unwrap();
    let x = Tensor::from_array(([2, 3], x.to_vec())).unwrap();
    let outputs = session.run(ort::inputs! { "x" => x }).unwrap();
    let (shape, values) = outputs["y"].try_extract_tensor::<f32>().unwrap();
    (shape.to_vec(), values.to_vec())
}

/// Builds a model y = f(x) for `x` [batch, 3].
fn model(f: impl FnOnce(&mut GraphBuilder, &Value) -> Value, width: usize) -> Vec<u8> {
    let mut graph = GraphBuilder::new("test");
    let x = graph.input("x", ElementType::Float, &[Dim::Symbol("batch"), Dim::Fixed(3)]);
    let y = f(&mut graph, &x);
    graph.output("y", &y, ElementType::Float, &[Dim::Symbol("batch"), Dim::Fixed(width)]);
    graph.finish()
}

const X: [f32; 6] = [1.0, -2.0, 3.0, 4.0, 5.0, -6.0];

fn check(f: impl FnOnce(&mut GraphBuilder, &Value) -> Value, shape: [i64; 2], expect: &[f32]) {
    let (found, values) = run(&model(f, shape[1] as usize), X);
    assert_eq!(found, shape);
    assert_eq!(values, expect);
}

#[test]
fn a_layer_runs() {
    let layer = |graph: &mut GraphBuilder, x: &Value| {
        let weights = graph.constant_f32("weights", &[3, 2], &[1.0, 0.0, 0.0, 1.0, 1.0, 1.0]);
        let bias = graph.constant_f32("bias", &[2], &[0.5, -0.5]);
        let hidden = graph.gemm(x, &weights, &bias);
        graph.relu(&hidden)
    };
    check(layer, [2, 2], &[4.5, 0.5, 0.0, 0.0]);
}

#[test]
fn slices_pads_and_reductions_run() {
    check(|graph, x| graph.slice(x, &[1], &[i64::MAX], &[1]), [2, 2], &[-2.0, 3.0, 5.0, -6.0]);
    check(|graph, x| graph.reduce_max(x, &[1], Reduced::Kept), [2, 1], &[3.0, 5.0]);
    let padded = |graph: &mut GraphBuilder, x: &Value| {
        let value = graph.scalar(9.0);
        graph.pad(x, &[0, 0, 0, 1], &value)
    };
    check(padded, [2, 4], &[1.0, -2.0, 3.0, 9.0, 4.0, 5.0, -6.0, 9.0]);
    let norm = |graph: &mut GraphBuilder, x: &Value| {
        let squares = graph.mul(x, x);
        let sum = graph.reduce_sum(&squares, &[1], Reduced::Kept);
        let norm = graph.sqrt(&sum);
        let unit = graph.div(x, &norm);
        let unit_squares = graph.mul(&unit, &unit);
        let total = graph.reduce_sum(&unit_squares, &[1], Reduced::Dropped);
        let total = graph.unsqueeze(&total, &[1]);
        let one = graph.scalar(1e-3);
        let positive = graph.node("Greater", &[&total, &one]).output();
        let zero = graph.scalar(0.0);
        let two = graph.scalar(2.0);
        graph.where_(&positive, &two, &zero)
    };
    check(norm, [2, 1], &[2.0, 2.0]);
}

#[test]
fn half_precision_tables_and_convolutions_run() {
    let gathered = |graph: &mut GraphBuilder, x: &Value| {
        // 1.0, 2.0, 0.5 in half precision.
        let table = graph.constant_f16("table", &[3], &[0x3c00, 0x4000, 0x3800]);
        let rows = graph.integers(&[2, 0, 1]);
        let halves = graph.gather(&table, &rows, 0);
        let floats = graph.cast(&halves, ElementType::Float);
        graph.add(x, &floats)
    };
    check(gathered, [2, 3], &[1.5, -1.0, 5.0, 4.5, 6.0, -4.0]);
    let convolved = |graph: &mut GraphBuilder, x: &Value| {
        let x = graph.unsqueeze(x, &[1]);
        let weights = graph.constant_f32("weights", &[1, 1, 2], &[1.0, -1.0]);
        let bias = graph.constant_f32("bias", &[1], &[0.0]);
        let convolved = graph.conv1d(&x, &weights, &bias);
        let back = graph.transpose(&convolved, &[0, 2, 1]);
        let first = graph.reduce_max(&back, &[2], Reduced::Dropped);
        graph.concat(&[&first, &first], 1)
    };
    check(convolved, [2, 4], &[3.0, -5.0, 3.0, -5.0, -1.0, 11.0, -1.0, 11.0]);
}

#[test]
fn the_parts_of_an_attention_layer_run() {
    let shares = |graph: &mut GraphBuilder, x: &Value| {
        let zero = graph.scalar(0.0);
        let zeros = graph.mul(x, &zero);
        graph.softmax(&zeros, -1)
    };
    check(shares, [2, 3], &[1.0 / 3.0; 6]);
    // Rows of one value but for a rounding error: what is left is the bias.
    let normalized = |graph: &mut GraphBuilder, x: &Value| {
        let zero = graph.scalar(0.0);
        let zeros = graph.mul(x, &zero);
        let scale = graph.constant_f32("scale", &[3], &[1.0, 1.0, 2.0]);
        let bias = graph.constant_f32("bias", &[3], &[0.5, 1.0, -1.0]);
        graph.layer_normalization(&zeros, &scale, &bias, 1e-6)
    };
    check(normalized, [2, 3], &[0.5, 1.0, -1.0, 0.5, 1.0, -1.0]);
    let odd = |graph: &mut GraphBuilder, x: &Value| {
        let erf = graph.erf(x);
        let minus = graph.scalar(-1.0);
        let mirrored = graph.mul(x, &minus);
        let other = graph.erf(&mirrored);
        graph.add(&erf, &other)
    };
    check(odd, [2, 3], &[0.0; 6]);
    // The table's first rows, as many as x has.
    let begun = |graph: &mut GraphBuilder, x: &Value| {
        let table = graph.constant_f32("table", &[3, 1], &[7.0, 8.0, 9.0]);
        let length = graph.shape_of(x, 0, 1);
        let rows = graph.slice_to(&table, &length, 0);
        let back = graph.reshape(&rows, &[-1, 1]);
        graph.reshape(&back, &[0, 1])
    };
    check(begun, [2, 1], &[7.0, 8.0]);
}
