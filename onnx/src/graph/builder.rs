//! The builder: inputs, constants, nodes and outputs, one by one.

use prost::Message;
use prost::bytes::Bytes;

use crate::proto::{
    AttributeProto, AttributeType, DimensionProto, ElementType, FunctionProto, GraphProto,
    ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto, TensorTypeProto,
    TypeProto, ValueInfoProto,
};

/// The version of ONNX's operator set that the written models use.
pub const OPSET: i64 = 18;

/// The version of the domain of functions.
const VERSION: i64 = 1;

/// The version of the file format that belongs to [`OPSET`].
const IR_VERSION: i64 = 8;

/// A value of the graph being built: an input, a constant or what a node makes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Value(String);

impl Value {
    /// An optional input that is left out.
    pub fn absent() -> Self {
        Value(String::new())
    }

    /// An input of a function, by its name.
    pub(crate) fn named(name: &str) -> Self {
        Value(name.to_owned())
    }

    /// Returns the value's name in the graph.
    pub fn name(&self) -> &str {
        &self.0
    }
}

/// One dimension of an input's or output's shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dim<'a> {
    /// A length that is known when the graph is written.
    Fixed(usize),
    /// A name for a length that may differ from run to run, as "batch".
    Symbol(&'a str),
}

/// Builds a graph node by node; [`GraphBuilder::finish`] gives the model file's bytes.
///
/// Nodes are written in the order in which they are added, so a value can only be used after it was
/// made. Nothing is checked here: ONNX Runtime checks the graph when it loads it.
#[derive(Clone, Debug)]
pub struct GraphBuilder {
    graph: GraphProto,
    /// The functions that nodes call, all of one domain.
    functions: Vec<FunctionProto>,
    n_names: usize,
}

impl GraphBuilder {
    /// Begins an empty graph.
    pub fn new(name: &str) -> Self {
        let graph = GraphProto { name: Some(name.to_owned()), ..GraphProto::default() };
        GraphBuilder { graph, functions: Vec::new(), n_names: 0 }
    }

    /// Adds an input; several models in one graph that read an input of the same name share it.
    pub fn input(&mut self, name: &str, element: ElementType, shape: &[Dim<'_>]) -> Value {
        if !self.graph.input.iter().any(|input| input.name.as_deref() == Some(name)) {
            self.graph.input.push(value_info(name, element, shape));
        }
        Value(name.to_owned())
    }

    /// Names a value as an output of the graph.
    pub fn output(&mut self, name: &str, value: &Value, element: ElementType, shape: &[Dim<'_>]) {
        self.node("Identity", &[value]).named_output(name);
        self.graph.output.push(value_info(name, element, shape));
    }

    /// Adds a constant of 32-bit floating-point values in row-major order.
    ///
    /// # Panics
    ///
    /// When the number of values differs from the shape's.
    pub fn constant_f32(&mut self, name: &str, shape: &[usize], values: &[f32]) -> Value {
        let raw = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.constant(name, ElementType::Float, shape, values.len(), raw)
    }

    /// Adds a constant of 64-bit integers in row-major order.
    ///
    /// # Panics
    ///
    /// When the number of values differs from the shape's.
    pub fn constant_i64(&mut self, name: &str, shape: &[usize], values: &[i64]) -> Value {
        let raw = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.constant(name, ElementType::Int64, shape, values.len(), raw)
    }

    /// Adds a constant of 16-bit floating-point values, given by their bits, in row-major order.
    ///
    /// # Panics
    ///
    /// When the number of values differs from the shape's.
    pub fn constant_f16(&mut self, name: &str, shape: &[usize], bits: &[u16]) -> Value {
        let raw = bits.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.constant(name, ElementType::Float16, shape, bits.len(), raw)
    }

    /// Adds a constant of signed 8-bit integers in row-major order.
    ///
    /// # Panics
    ///
    /// When the number of values differs from the shape's.
    pub fn constant_i8(&mut self, name: &str, shape: &[usize], values: &[i8]) -> Value {
        let raw = values.iter().map(|value| value.cast_unsigned()).collect();
        self.constant(name, ElementType::Int8, shape, values.len(), raw)
    }

    /// Adds a constant of unsigned 8-bit integers in row-major order.
    ///
    /// # Panics
    ///
    /// When the number of values differs from the shape's.
    pub fn constant_u8(&mut self, name: &str, shape: &[usize], values: &[u8]) -> Value {
        self.constant(name, ElementType::Uint8, shape, values.len(), values.to_vec())
    }

    /// Adds a node; its attributes and outputs are given on what is returned.
    pub fn node(&mut self, operator: &str, inputs: &[&Value]) -> NodeBuilder<'_> {
        let node = NodeProto {
            input: inputs.iter().map(|value| value.0.clone()).collect(),
            op_type: Some(operator.to_owned()),
            name: Some(self.fresh_name(operator)),
            ..NodeProto::default()
        };
        NodeBuilder { builder: self, node }
    }

    /// Adds a node that calls a function of a domain, which the model will hold.
    pub(crate) fn call(&mut self, function: FunctionProto, inputs: &[&Value]) -> Value {
        let (name, domain) = (function.name().to_owned(), function.domain().to_owned());
        if !self.functions.iter().any(|known| known.name() == name) {
            self.functions.push(function);
        }
        let mut node = self.node(&name, inputs);
        node.node.domain = Some(domain);
        node.output()
    }

    /// Ends the graph and returns the model.
    pub fn into_model(self) -> ModelProto {
        let functions = self.functions.first().map(|function| opset(function.domain(), VERSION));
        ModelProto {
            ir_version: Some(IR_VERSION),
            producer_name: Some("autotag".to_owned()),
            producer_version: Some(env!("CARGO_PKG_VERSION").to_owned()),
            graph: Some(self.graph),
            opset_import: [opset("", OPSET)].into_iter().chain(functions).collect(),
            functions: self.functions,
            ..ModelProto::default()
        }
    }

    /// Ends the graph and returns it as a function; its constants become nodes.
    pub(crate) fn into_function(
        self,
        domain: &str,
        name: &str,
        inputs: &[&str],
        output: &Value,
    ) -> FunctionProto {
        let constants = self.graph.initializer.into_iter().map(constant_node);
        FunctionProto {
            name: Some(name.to_owned()),
            domain: Some(domain.to_owned()),
            input: inputs.iter().map(|&input| input.to_owned()).collect(),
            output: vec![output.0.clone()],
            node: constants.chain(self.graph.node).collect(),
            opset_import: vec![opset("", OPSET)],
            ..FunctionProto::default()
        }
    }

    /// Ends the graph and returns the bytes of the model file.
    pub fn finish(self) -> Vec<u8> {
        self.into_model().encode_to_vec()
    }

    fn constant(
        &mut self,
        name: &str,
        element: ElementType,
        shape: &[usize],
        n_values: usize,
        raw: Vec<u8>,
    ) -> Value {
        let n_expected: usize = shape.iter().product();
        assert_eq!(n_values, n_expected, "constant {name} has another shape than {shape:?}");
        // Two models in one graph may give their constants the same names.
        let is_taken = self.graph.initializer.iter().any(|constant| constant.name() == name);
        let name = if is_taken { self.fresh_name(name) } else { name.to_owned() };
        self.graph.initializer.push(TensorProto {
            dims: shape.iter().map(|&length| length as i64).collect(),
            data_type: Some(element.into()),
            name: Some(name.clone()),
            raw_data: Some(Bytes::from(raw)),
            ..TensorProto::default()
        });
        Value(name)
    }

    /// Returns a name that no other generated name has, as "Gather/3".
    pub(super) fn fresh_name(&mut self, operator: &str) -> String {
        self.n_names += 1;
        format!("{operator}/{}", self.n_names)
    }
}

/// A node that is being added.
#[derive(Debug)]
#[must_use = "the node is added by `output`"]
pub struct NodeBuilder<'g> {
    builder: &'g mut GraphBuilder,
    node: NodeProto,
}

impl NodeBuilder<'_> {
    /// Sets an attribute to an integer.
    pub fn int(self, name: &str, value: i64) -> Self {
        let value = AttributeProto { i: Some(value), ..AttributeProto::default() };
        self.attribute(name, AttributeType::Int, value)
    }

    /// Sets an attribute to a list of integers.
    pub fn ints(self, name: &str, values: &[i64]) -> Self {
        let value = AttributeProto { ints: values.to_vec(), ..AttributeProto::default() };
        self.attribute(name, AttributeType::Ints, value)
    }

    /// Sets an attribute to a number.
    pub fn float(self, name: &str, value: f32) -> Self {
        let value = AttributeProto { f: Some(value), ..AttributeProto::default() };
        self.attribute(name, AttributeType::Float, value)
    }

    /// Sets an attribute to a string.
    pub fn string(self, name: &str, value: &str) -> Self {
        let value = AttributeProto { s: Some(value.into()), ..AttributeProto::default() };
        self.attribute(name, AttributeType::String, value)
    }

    /// Adds the node and returns its only output.
    pub fn output(self) -> Value {
        let name = self.node.name.clone().expect("every node is given a name");
        self.named_output(&name)
    }

    /// Adds the node and returns its first `n` outputs.
    pub fn outputs(mut self, n: usize) -> Vec<Value> {
        let name = self.node.name.clone().expect("every node is given a name");
        self.node.output = (0..n).map(|position| format!("{name}/{position}")).collect();
        let values = self.node.output.iter().cloned().map(Value).collect();
        self.builder.graph.node.push(self.node);
        values
    }

    /// Adds the node under a name of the caller's for its only output.
    fn named_output(mut self, name: &str) -> Value {
        self.node.output = vec![name.to_owned()];
        self.builder.graph.node.push(self.node);
        Value(name.to_owned())
    }

    fn attribute(mut self, name: &str, r#type: AttributeType, value: AttributeProto) -> Self {
        let (name, r#type) = (Some(name.to_owned()), Some(r#type.into()));
        self.node.attribute.push(AttributeProto { name, r#type, ..value });
        self
    }
}

fn opset(domain: &str, version: i64) -> OperatorSetIdProto {
    OperatorSetIdProto { domain: Some(domain.to_owned()), version: Some(version) }
}

fn constant_node(tensor: TensorProto) -> NodeProto {
    let value = AttributeProto {
        name: Some("value".to_owned()),
        r#type: Some(AttributeType::Tensor.into()),
        t: Some(tensor.clone()),
        ..AttributeProto::default()
    };
    NodeProto {
        output: tensor.name.into_iter().collect(),
        op_type: Some("Constant".to_owned()),
        attribute: vec![value],
        ..NodeProto::default()
    }
}

fn value_info(name: &str, element: ElementType, shape: &[Dim<'_>]) -> ValueInfoProto {
    let dim = shape.iter().map(dimension).collect();
    let tensor_type =
        TensorTypeProto { elem_type: Some(element.into()), shape: Some(TensorShapeProto { dim }) };
    let r#type = Some(TypeProto { tensor_type: Some(tensor_type) });
    ValueInfoProto { name: Some(name.to_owned()), r#type }
}

fn dimension(dim: &Dim<'_>) -> DimensionProto {
    match *dim {
        Dim::Fixed(length) => DimensionProto { dim_value: Some(length as i64), dim_param: None },
        Dim::Symbol(name) => DimensionProto { dim_value: None, dim_param: Some(name.to_owned()) },
    }
}
