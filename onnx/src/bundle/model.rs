//! Checks of a model's file that need not run it.

use std::path::Path;

use autotag::Fingerprint;
use prost::Message;
use prost::bytes::Bytes;

use super::config::BundleConfig;
use super::input::InputKind;
use super::stamp::FileState;
use super::{files, manifest, operators};
use crate::proto::{
    AttributeProto, ElementType, GraphProto, ModelProto, NodeProto, SparseTensorProto, TensorProto,
    ValueInfoProto,
};
use crate::{OnnxError, Result};

/// The names of a model's inputs and outputs.
pub(crate) const INPUT_IDS: &str = "input_ids";
pub(crate) const ATTENTION_MASK: &str = "attention_mask";
pub(crate) const FEATURE_IDS: &str = "feature_ids";
pub(crate) const FEATURE_WEIGHTS: &str = "feature_weights";
pub(crate) const EMBEDDING: &str = "embedding";
pub(crate) const SCORES: &str = "scores";

/// A model's file as it was checked.
#[derive(Clone, Debug)]
pub(crate) struct ModelFile {
    pub(crate) digest: Fingerprint,
    /// Its state before it was digested, where the system tells it.
    pub(crate) state: Option<FileState>,
}

impl ModelFile {
    /// Reads the file and checks that it keeps the contract, and that it is the one that was checked.
    pub(crate) fn read(&self, path: &Path, config: &BundleConfig) -> Result<ModelProto> {
        let bytes = files::read(path)?;
        let is_unchanged = self.state.is_some() && FileState::of(path) == self.state;
        if !is_unchanged && manifest::digest(&bytes) != self.digest {
            return Err(OnnxError::FileChanged { path: path.to_path_buf() });
        }
        decode_checked(path, bytes.into(), config)
    }
}

/// Decodes a model without copying its tensors, and checks that it keeps the contract and asks for
/// nothing that a model does not need.
pub(crate) fn decode_checked(
    path: &Path,
    bytes: Bytes,
    config: &BundleConfig,
) -> Result<ModelProto> {
    operators::check_structure(path, &bytes)?;
    let n_bytes = bytes.len();
    let model = ModelProto::decode(bytes)
        .map_err(|source| OnnxError::ModelDecode { path: path.to_path_buf(), source })?;
    if let Some(tensor) = external_tensor(&model) {
        let tensor = tensor.name.clone().unwrap_or_default();
        return Err(OnnxError::ExternalTensor { path: path.to_path_buf(), tensor });
    }
    operators::check(path, &model, n_bytes)?;
    check_signature(path, model.graph.as_ref(), config)?;
    Ok(model)
}

/// Finds a tensor that says its values lie in another file, wherever a model can hold a tensor.
fn external_tensor(model: &ModelProto) -> Option<&TensorProto> {
    let training = model.training_info.iter();
    let training = training.flat_map(|info| info.initialization.iter().chain(&info.algorithm));
    let mut functions = model.functions.iter();
    let in_function = functions.find_map(|function| {
        let in_attribute = function.attribute_proto.iter().find_map(external_in_attribute);
        in_attribute.or_else(|| external_in_nodes(&function.node))
    });
    in_function.or_else(|| model.graph.iter().chain(training).find_map(external_in_graph))
}

fn external_in_graph(graph: &GraphProto) -> Option<&TensorProto> {
    let dense = graph.initializer.iter().find(|tensor| is_external(tensor));
    let sparse = || graph.sparse_initializer.iter().find_map(external_in_sparse);
    dense.or_else(sparse).or_else(|| external_in_nodes(&graph.node))
}

fn external_in_nodes(nodes: &[NodeProto]) -> Option<&TensorProto> {
    nodes.iter().flat_map(|node| &node.attribute).find_map(external_in_attribute)
}

fn external_in_attribute(attribute: &AttributeProto) -> Option<&TensorProto> {
    let mut dense = attribute.t.iter().chain(&attribute.tensors);
    let mut sparse = attribute.sparse_tensor.iter().chain(&attribute.sparse_tensors);
    let mut graphs = attribute.g.iter().chain(&attribute.graphs);
    dense
        .find(|tensor| is_external(tensor))
        .or_else(|| sparse.find_map(external_in_sparse))
        .or_else(|| graphs.find_map(external_in_graph))
}

fn external_in_sparse(tensor: &SparseTensorProto) -> Option<&TensorProto> {
    tensor.values.iter().chain(&tensor.indices).find(|tensor| is_external(tensor))
}

fn is_external(tensor: &TensorProto) -> bool {
    tensor.data_location.unwrap_or_default() != 0 || !tensor.external_data.is_empty()
}

/// One input or output that a model must have.
struct Expected<'a> {
    side: &'static str,
    name: &'static str,
    element: ElementType,
    /// The second dimension's name and, where it is fixed, its length; the first is the batch.
    width: (&'a str, Option<usize>),
}

fn check_signature(path: &Path, graph: Option<&GraphProto>, config: &BundleConfig) -> Result<()> {
    let no_graph = GraphProto::default();
    let graph = graph.unwrap_or(&no_graph);
    let inputs = expected_inputs(config.input);
    for expected in &inputs {
        expected.check(path, &graph.input)?;
    }
    for expected in expected_outputs(config) {
        expected.check(path, &graph.output)?;
    }
    let is_fed = |name: &str| {
        let is_constant =
            graph.initializer.iter().any(|tensor| tensor.name.as_deref() == Some(name));
        is_constant || inputs.iter().any(|expected| expected.name == name)
    };
    match graph.input.iter().find(|input| !is_fed(input.name.as_deref().unwrap_or_default())) {
        Some(input) => Err(unexpected_input(path, input)),
        None => Ok(()),
    }
}

fn expected_inputs(kind: InputKind) -> Vec<Expected<'static>> {
    let input =
        |name, element, width| Expected { side: "input", name, element, width: (width, None) };
    let mut inputs = Vec::new();
    if kind.reads_tokens() {
        inputs.extend([INPUT_IDS, ATTENTION_MASK].map(|n| input(n, ElementType::Int64, "length")));
    }
    if kind.reads_ngrams() {
        inputs.push(input(FEATURE_IDS, ElementType::Int64, "features"));
        inputs.push(input(FEATURE_WEIGHTS, ElementType::Float, "features"));
    }
    inputs
}

fn expected_outputs(config: &BundleConfig) -> Vec<Expected<'static>> {
    let output = |name, length| Expected {
        side: "output",
        name,
        element: ElementType::Float,
        width: (name, Some(length)),
    };
    let mut outputs = vec![output(EMBEDDING, config.dimensions.get())];
    if config.n_labels > 0 {
        outputs.push(output(SCORES, config.n_labels));
    }
    outputs
}

impl Expected<'_> {
    fn check(&self, path: &Path, values: &[ValueInfoProto]) -> Result<()> {
        let found = values.iter().find(|value| value.name.as_deref() == Some(self.name));
        if found.is_some_and(|value| self.is_met_by(value)) {
            return Ok(());
        }
        Err(OnnxError::ModelSignature {
            path: path.to_path_buf(),
            side: self.side,
            name: self.name.to_owned(),
            expected: self.to_string(),
            found: found.map_or_else(|| "missing".to_owned(), describe),
        })
    }

    /// Compares type and rank, and the lengths where the model fixes them.
    ///
    /// An output without a shape passes: the test run shows what shape it has.
    fn is_met_by(&self, value: &ValueInfoProto) -> bool {
        let Some(tensor) = value.r#type.as_ref().and_then(|r#type| r#type.tensor_type.as_ref())
        else {
            return false;
        };
        let Some(shape) = &tensor.shape else {
            return self.side == "output" && tensor.elem_type() == self.element;
        };
        let [batch, width] = shape.dim.as_slice() else { return false };
        let width_fits = match (width.dim_value, self.width.1) {
            (Some(found), Some(length)) => usize::try_from(found) == Ok(length),
            (Some(_), None) => false,
            (None, _) => true,
        };
        tensor.elem_type() == self.element && batch.dim_value.is_none() && width_fits
    }
}

impl std::fmt::Display for Expected<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let element = type_name(self.element);
        match self.width {
            (_, Some(length)) => write!(formatter, "{element} [batch, {length}]"),
            (name, None) => write!(formatter, "{element} [batch, {name}], both of any length"),
        }
    }
}

fn unexpected_input(path: &Path, input: &ValueInfoProto) -> OnnxError {
    OnnxError::ModelSignature {
        path: path.to_path_buf(),
        side: "input",
        name: input.name.clone().unwrap_or_default(),
        expected: "left out, since nothing feeds it".to_owned(),
        found: describe(input),
    }
}

/// Writes a value's type as "float32 [batch, 300]".
fn describe(value: &ValueInfoProto) -> String {
    let Some(tensor) = value.r#type.as_ref().and_then(|r#type| r#type.tensor_type.as_ref()) else {
        return "no tensor".to_owned();
    };
    let element = type_name(tensor.elem_type());
    let Some(shape) = &tensor.shape else {
        return format!("{element} of unknown shape");
    };
    let lengths: Vec<String> = shape
        .dim
        .iter()
        .map(|dim| match (dim.dim_value, &dim.dim_param) {
            (Some(length), _) => length.to_string(),
            (None, Some(name)) => name.clone(),
            (None, None) => "?".to_owned(),
        })
        .collect();
    format!("{element} [{}]", lengths.join(", "))
}

fn type_name(element: ElementType) -> String {
    match element {
        ElementType::Float => "float32".to_owned(),
        ElementType::Double => "float64".to_owned(),
        other => format!("{other:?}").to_lowercase(),
    }
}
