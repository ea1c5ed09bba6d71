use ort::session::Session;
use ort::value::Tensor;
use prost::Message;

use super::*;
use crate::graph::Dim;
use crate::proto::{ElementType, ModelProto, NodeProto, TensorProto};
use crate::runtime;

const WIDTH: usize = 3;

/// A table of 20 rows with values that repeat after a while.
fn table(n_columns: usize, n_slices: usize, precision: Precision) -> QuantizedTable {
    let value = |i: usize| ((i * 31 + i / 7) % 101) as f32 / 10.0 - 5.0;
    let values: Vec<f32> = (0..20 * n_columns).map(value).collect();
    QuantizedTable::new(&values, TableFormat::new(n_columns, n_slices, precision))
}

/// The tables of the bags, each of 12 columns, and of the windows.
fn tables() -> [QuantizedTable; 4] {
    [
        table(12, 1, Precision::Int8),
        table(12, 3, Precision::Int8),
        table(12, 3, Precision::Int4),
        table(7 * WIDTH, WIDTH, Precision::Int8),
    ]
}

const OUTPUTS: [&str; 4] = ["sums", "sliced sums", "packed sums", "maxima"];

/// A model whose outputs are bags and a window maximum.
fn model() -> ModelProto {
    let mut graph = GraphBuilder::new("lookups");
    let shape = [Dim::Symbol("batch"), Dim::Symbol("length")];
    let ids = graph.input("ids", ElementType::Int64, &shape);
    let weights = graph.input("weights", ElementType::Float, &shape);
    let mask = graph.input("mask", ElementType::Int64, &shape);
    let [.., windows] = &tables();
    for (number, table) in tables()[..3].iter().enumerate() {
        let sums = graph.embedding_bag("bag", table, &ids, &weights);
        let shape = [Dim::Symbol("batch"), Dim::Fixed(12)];
        graph.output(OUTPUTS[number], &sums, ElementType::Float, &shape);
    }
    let maxima = graph.window_max("windows", windows, &ids, &mask);
    graph.output(OUTPUTS[3], &maxima, ElementType::Float, &[Dim::Symbol("batch"), Dim::Fixed(7)]);
    graph.into_model()
}

/// Three texts of 5, 1 and 2 ids, padded; the weights' padding is 0, as the mask's.
const IDS: [i64; 15] = [3, 19, 0, 3, 7, 4, 0, 0, 0, 0, 11, 2, 0, 0, 0];
const LENGTHS: [usize; 3] = [5, 1, 2];

fn is_within(at: usize) -> bool {
    at % 5 < LENGTHS[at / 5]
}

fn weight(at: usize) -> f32 {
    if is_within(at) { 0.25 * at as f32 - 1.0 } else { 0.0 }
}

/// Runs the model by the kernels, or as its file says.
fn run(mut model: ModelProto, is_native: bool, ids: &[i64]) -> ort::Result<Vec<Vec<f32>>> {
    let mut builder = Session::builder(runtime::load(None).unwrap().environment())?;
    if is_native {
        let lookups = NativeLookups::take(&mut model).unwrap();
        builder = builder.with_operators(lookups.domain()?.unwrap())?;
    }
    let mut session = builder.commit_from_memory(&model.encode_to_vec())?;
    let shape = [3, ids.len() / 3];
    let weights: Vec<f32> = (0..ids.len()).map(weight).collect();
    let mask: Vec<i64> = (0..ids.len()).map(|at| is_within(at).into()).collect();
    let outputs = session.run(ort::inputs! {
        "ids" => Tensor::from_array((shape, ids.to_vec()))?,
        "weights" => Tensor::from_array((shape, weights))?,
        "mask" => Tensor::from_array((shape, mask))?,
    })?;
    let output = |name: &&str| Ok(outputs[*name].try_extract_tensor::<f32>()?.1.to_vec());
    OUTPUTS.iter().map(output).collect()
}

/// Returns T[row, column].
fn value(table: &QuantizedTable, row: usize, column: usize) -> f32 {
    let format = table.format();
    let length = format.n_columns() / format.n_slices();
    let (slice, within) = (column / length, column % length);
    let row_bytes = &table.bytes()[row * format.row_bytes()..];
    let quantized = match format.precision() {
        Precision::Int8 => row_bytes[column].cast_signed(),
        Precision::Int4 => {
            let byte = row_bytes[slice * length / 2 + within % (length / 2)];
            let is_high = within >= length / 2;
            (if is_high { byte >> 4 } else { byte & 15 }).cast_signed() - 8
        }
    };
    table.scales()[row * format.n_slices() + slice] * f32::from(quantized)
}

fn expected() -> Vec<Vec<f32>> {
    let [bags @ .., windows] = &tables();
    let id = |text: usize, at: usize| match at < LENGTHS[text] {
        true => IDS[text * 5 + at] as usize,
        false => 0,
    };
    let sum = |bag: &QuantizedTable, text: usize, column: usize| -> f32 {
        let part = |at| weight(text * 5 + at) * value(bag, id(text, at), column);
        (0..LENGTHS[text]).map(part).sum()
    };
    let maximum = |text: usize, filter: usize| {
        let part = |first: usize, o: usize| value(windows, id(text, first + o), 7 * o + filter);
        let sum = |first| (0..WIDTH).map(|o| part(first, o)).sum::<f32>();
        let n_windows = LENGTHS[text].saturating_sub(WIDTH - 1).max(1);
        (0..n_windows).map(sum).fold(f32::MIN, f32::max)
    };
    let all = |n: usize| (0..3 * n).map(move |at| (at / n, at % n));
    let sums = bags.iter().map(|bag| all(12).map(|(text, c)| sum(bag, text, c)).collect());
    sums.chain([all(7).map(|(text, filter)| maximum(text, filter)).collect()]).collect()
}

#[test]
fn kernels_and_standard_operators_say_what_the_equations_say() {
    for is_native in [true, false] {
        let found = run(model(), is_native, &IDS).unwrap();
        for (found, expected) in found.iter().zip(&expected()) {
            assert_eq!(found.len(), expected.len());
            for (found, expected) in found.iter().zip(expected) {
                assert!((found - expected).abs() < 1e-4, "{is_native}: {found} {expected}");
            }
        }
    }
}

#[test]
fn ids_beyond_a_table_are_errors() {
    for id in [20, -1, i64::MAX, i64::MIN] {
        let mut ids = IDS;
        ids[6] = id;
        let error = run(model(), true, &ids).unwrap_err().to_string();
        assert!(error.contains("beyond a table of 20"), "{error}");
    }
}

/// Changes the constants (a bag, its scales, the next ..) and returns why they are refused.
fn refused(change: impl Fn(&mut Vec<TensorProto>)) -> String {
    let mut model = model();
    change(&mut model.graph.as_mut().unwrap().initializer);
    NativeLookups::take(&mut model).err().expect("the tables do not fit")
}

#[test]
fn tables_that_do_not_fit_are_refused() {
    for (at, dims) in
        [(0, [40, 6]), (0, [20, 0]), (1, [10, 2]), (1, [20, 0]), (4, [20, 5]), (7, [20, 1])]
    {
        let error = refused(|constants| constants[at].dims = dims.to_vec());
        assert!(error.contains("other shapes"), "{error}");
    }
    let error = refused(|constants| constants[2].raw_data = None);
    assert!(error.contains("other shapes"), "{error}");
    for error in [
        refused(|constants| constants[0].data_type = Some(ElementType::Uint8.into())),
        refused(|constants| constants[4].data_type = Some(ElementType::Int8.into())),
        refused(|constants| constants[1].dims = vec![20]),
        refused(Vec::clear),
    ] {
        assert!(error.contains("no constant of two dimensions"), "{error}");
    }
}

#[test]
fn nodes_that_are_no_lookups_are_refused() {
    let refused = |change: fn(&mut NodeProto)| {
        let mut model = model();
        change(&mut model.graph.as_mut().unwrap().node[0]);
        NativeLookups::take(&mut model).err().expect("it is no lookup")
    };
    assert!(refused(|node| node.input.truncate(3)).contains("four inputs"));
    for name in ["WindowMax03", "WindowMax0", "WindowMax65", "WindowMax+3", "Sum"] {
        assert_eq!(Function::of_name(name), None);
    }
    assert!(refused(|node| node.op_type = Some("Sum".to_owned())).contains("no known lookup"));
}

#[test]
fn a_table_that_another_node_reads_stays() {
    let mut graph = GraphBuilder::new("shared");
    let shape = [Dim::Symbol("batch"), Dim::Symbol("length")];
    let ids = graph.input("ids", ElementType::Int64, &shape);
    let weights = graph.input("weights", ElementType::Float, &shape);
    let _bag = graph.embedding_bag("bag", &table(12, 1, Precision::Int8), &ids, &weights);
    let scales = graph.integers(&[1]);
    let mut model = graph.into_model();
    let node = NodeProto {
        input: vec!["bag_scales".to_owned(), scales.name().to_owned()],
        ..Default::default()
    };
    model.graph.as_mut().unwrap().node.push(node);
    NativeLookups::take(&mut model).unwrap();
    let left = model.graph.unwrap().initializer;
    assert_eq!(left.iter().map(|c| c.name()).collect::<Vec<_>>(), ["bag_scales", scales.name()]);
}
