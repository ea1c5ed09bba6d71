//! The operators as kernels of ONNX Runtime, with the tables where the model's file has them.

use std::collections::HashSet;
use std::sync::Arc;

use ort::operator::{
    ComputeContext, Kernel, KernelContext, Operator, OperatorDomain, OperatorInput, OperatorOutput,
};
use ort::value::TensorElementType;
use prost::bytes::Bytes;

use super::functions::{DOMAIN, Function};
use super::kernels::{View, Windows, embedding_bag, window_max};
use super::table::{Precision, TableFormat};
use crate::proto::{
    AttributeProto, AttributeType, ElementType, GraphProto, ModelProto, NodeProto, TensorProto,
};

/// The attribute of a node that says which table it reads.
const TABLE: &str = "table";

/// The tables of a model's lookups, taken out of it; shared by its sessions.
pub(crate) struct NativeLookups {
    called: Vec<Function>,
    tables: Vec<Arc<Table>>,
}

impl NativeLookups {
    /// Takes the functions and the tables of lookups out of a model, whose nodes call kernels instead.
    ///
    /// # Errors
    ///
    /// The fault of a node whose table is no constant, or has another shape or length than a lookup's.
    pub(crate) fn take(model: &mut ModelProto) -> Result<Self, String> {
        model.functions.clear();
        let (mut tables, mut called) = (Vec::new(), Vec::new());
        if let Some(graph) = &mut model.graph {
            for node in graph.node.iter_mut().filter(|node| node.domain() == DOMAIN) {
                let function = Function::of_name(node.op_type());
                let function = function.ok_or_else(|| invalid(node, "it is no known lookup"))?;
                tables.push(Arc::new(Table::of(function, node, &graph.initializer)?));
                read_from_outside(node, tables.len() - 1);
                if !called.contains(&function) {
                    called.push(function);
                }
            }
            drop_unread(graph);
        }
        Ok(NativeLookups { called, tables })
    }

    /// Makes the kernels, for every session of the model; none where it has no lookup.
    ///
    /// # Errors
    ///
    /// Those of ONNX Runtime.
    #[expect(clippy::arc_with_non_send_sync, reason = "session builders take it so")]
    pub(crate) fn domain(&self) -> ort::Result<Option<Arc<OperatorDomain>>> {
        if self.called.is_empty() {
            return Ok(None);
        }
        let lookup = |&function: &Function| Lookup {
            function,
            name: function.name(),
            tables: self.tables.clone(),
        };
        let mut domain = OperatorDomain::new(DOMAIN)?;
        for lookup in self.called.iter().map(lookup) {
            domain = domain.add(lookup)?;
        }
        Ok(Some(Arc::new(domain)))
    }
}

/// Leaves a node the inputs that are not constants, and the number of its table.
fn read_from_outside(node: &mut NodeProto, table: usize) {
    node.input.drain(..2);
    node.attribute = vec![AttributeProto {
        name: Some(TABLE.to_owned()),
        r#type: Some(AttributeType::Int.into()),
        i: i64::try_from(table).ok(),
        ..AttributeProto::default()
    }];
}

/// Drops the constants that no node reads.
fn drop_unread(graph: &mut GraphProto) {
    let read = graph.node.iter().flat_map(|node| &node.input);
    let given = graph.output.iter().flat_map(|output| &output.name);
    let read: HashSet<&str> = read.chain(given).map(String::as_str).collect();
    graph.initializer.retain(|constant| read.contains(constant.name()));
}

/// A node's table, and the operator that reads it.
struct Table {
    function: Function,
    format: TableFormat,
    /// [V, bytes of a row].
    bytes: Bytes,
    /// [V, S].
    scales: Vec<f32>,
}

impl Table {
    /// Finds a node's table among the constants.
    fn of(function: Function, node: &NodeProto, constants: &[TensorProto]) -> Result<Self, String> {
        let [values, scales, _, _] = node.input.as_slice() else {
            return Err(invalid(node, "it has not four inputs"));
        };
        let precision = function.precision();
        let element = match precision {
            Precision::Int8 => ElementType::Int8,
            Precision::Int4 => ElementType::Uint8,
        };
        let no_table = || invalid(node, "its table is no constant of two dimensions");
        let (shape, bytes) = matrix(constants, values, element).ok_or_else(no_table)?;
        let (scales_shape, raw) =
            matrix(constants, scales, ElementType::Float).ok_or_else(no_table)?;
        let other_shapes =
            || invalid(node, "its table and scales have other shapes than a lookup's");
        let ([n_rows, n_bytes], [n_scaled, n_slices]) = (shape, scales_shape);
        let format = format(precision, n_bytes, n_slices).ok_or_else(other_shapes)?;
        let is_whole = n_rows == n_scaled
            && function.n_slices().is_none_or(|needed| needed == n_slices)
            && n_rows.checked_mul(n_bytes) == Some(bytes.len())
            && n_rows.checked_mul(n_slices).and_then(|n| n.checked_mul(4)) == Some(raw.len());
        if !is_whole {
            return Err(other_shapes());
        }
        let (scales, _) = raw.as_chunks::<4>();
        let scales = scales.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect();
        Ok(Table { function, format, bytes, scales })
    }

    fn n_rows(&self) -> usize {
        self.bytes.len() / self.format.row_bytes()
    }

    fn view(&self) -> View<'_> {
        View { format: self.format, bytes: &self.bytes, scales: &self.scales }
    }

    /// Returns the columns of an answer.
    fn n_outputs(&self) -> usize {
        self.format.n_columns() / self.function.n_slices().unwrap_or(1)
    }
}

/// Returns the shape and the bytes of a constant with two dimensions.
fn matrix(
    constants: &[TensorProto],
    name: &str,
    element: ElementType,
) -> Option<([usize; 2], Bytes)> {
    let found = constants.iter().find(|constant| constant.name() == name)?;
    let &[rows, columns] = found.dims.as_slice() else { return None };
    let shape = [usize::try_from(rows).ok()?, usize::try_from(columns).ok()?];
    let raw = found.raw_data.clone().unwrap_or_default();
    (found.data_type() == element).then_some((shape, raw))
}

/// Returns the format of a table whose rows have a number of bytes, unless there is no such table.
fn format(precision: Precision, n_bytes: usize, n_slices: usize) -> Option<TableFormat> {
    let is_divisor = n_bytes > 0 && n_slices > 0 && n_bytes.is_multiple_of(n_slices);
    let n_columns = match precision {
        Precision::Int8 => n_bytes,
        Precision::Int4 => n_bytes.checked_mul(2)?,
    };
    is_divisor.then(|| TableFormat::new(n_columns, n_slices, precision))
}

impl Function {
    /// Returns S of the tables that the operator reads, where it says so.
    fn n_slices(self) -> Option<usize> {
        match self {
            Function::EmbeddingBag(_) => None,
            Function::WindowMax(width) => Some(width),
        }
    }

    fn precision(self) -> Precision {
        match self {
            Function::EmbeddingBag(precision) => precision,
            Function::WindowMax(_) => Precision::Int8,
        }
    }
}

fn invalid(node: &NodeProto, reason: &str) -> String {
    format!("the node {:?} ({}): {reason}", node.name(), node.op_type())
}

/// The kernels of one operator.
struct Lookup {
    function: Function,
    name: String,
    tables: Vec<Arc<Table>>,
}

impl Operator for Lookup {
    type Kernel<'attr> = LookupKernel;

    fn name(&self) -> &str {
        &self.name
    }

    fn inputs(&self) -> impl IntoIterator<Item = OperatorInput> {
        let second = match self.function {
            Function::EmbeddingBag(_) => TensorElementType::Float32,
            Function::WindowMax(_) => TensorElementType::Int64,
        };
        [TensorElementType::Int64, second].map(OperatorInput::required)
    }

    fn outputs(&self) -> impl IntoIterator<Item = OperatorOutput> {
        [OperatorOutput::required(TensorElementType::Float32)]
    }

    fn create_kernel<'attr>(&self, context: &KernelContext<'attr>) -> ort::Result<LookupKernel> {
        let number = context.get::<i64>(TABLE).and_then(|number| usize::try_from(number).ok());
        let table = number.and_then(|number| self.tables.get(number));
        let table = table.ok_or_else(|| ort::Error::new("a lookup has no table"))?;
        Ok(LookupKernel(table.clone()))
    }
}

struct LookupKernel(Arc<Table>);

impl Kernel for LookupKernel {
    fn compute(&mut self, context: &ComputeContext) -> ort::Result<()> {
        let missing = || ort::Error::new("a lookup lacks an input or its output");
        let (ids, other) = (context.input(0)?, context.input(1)?);
        let (ids, other) = (ids.ok_or_else(missing)?, other.ok_or_else(missing)?);
        let (shape, ids) = ids.try_extract_tensor::<i64>()?;
        let &[n_texts, length] = &shape[..] else {
            return Err(ort::Error::new("the ids of a lookup have not two dimensions"));
        };
        let n_outputs = self.0.n_outputs();
        let mut output = context.output(0, [n_texts, n_outputs as i64])?.ok_or_else(missing)?;
        let (_, output) = output.try_extract_tensor_mut::<f32>()?;
        let length = usize::try_from(length).unwrap_or_default();
        let texts = Texts { ids, length };
        match self.0.function {
            Function::EmbeddingBag(_) => {
                let (other_shape, weights) = other.try_extract_tensor::<f32>()?;
                same_shape(shape, other_shape)?;
                self.0.sum(&texts, weights, output)
            }
            Function::WindowMax(width) => {
                let (other_shape, mask) = other.try_extract_tensor::<i64>()?;
                same_shape(shape, other_shape)?;
                self.0.window_max(width, &texts, mask, output)
            }
        }
    }
}

fn same_shape(ids: &[i64], other: &[i64]) -> ort::Result<()> {
    match ids == other {
        true => Ok(()),
        false => Err(ort::Error::new("the inputs of a lookup have different shapes")),
    }
}

/// Ids of texts, padded to the same length.
struct Texts<'i> {
    ids: &'i [i64],
    length: usize,
}

impl Texts<'_> {
    /// Returns where a text's ids are.
    fn range(&self, text: usize) -> std::ops::Range<usize> {
        text * self.length..(text + 1) * self.length
    }
}

impl Table {
    fn check_ids(&self, ids: &[i64]) -> ort::Result<()> {
        let n_rows = self.n_rows();
        match ids.iter().find(|&&id| usize::try_from(id).map_or(true, |id| id >= n_rows)) {
            Some(id) => Err(ort::Error::new(format!("the id {id} is beyond a table of {n_rows}"))),
            None => Ok(()),
        }
    }

    fn sum(&self, texts: &Texts<'_>, weights: &[f32], output: &mut [f32]) -> ort::Result<()> {
        self.check_ids(texts.ids)?;
        for (text, out) in output.chunks_exact_mut(self.n_outputs()).enumerate() {
            let range = texts.range(text);
            embedding_bag(self.view(), &texts.ids[range.clone()], &weights[range], out);
        }
        Ok(())
    }

    fn window_max(
        &self,
        width: usize,
        texts: &Texts<'_>,
        mask: &[i64],
        output: &mut [f32],
    ) -> ort::Result<()> {
        self.check_ids(texts.ids)?;
        self.check_ids(&[0])?;
        let (mut tokens, mut firsts) = (Vec::new(), Vec::new());
        for (text, out) in output.chunks_exact_mut(self.n_outputs()).enumerate() {
            let range = texts.range(text);
            let mask = &mask[range.clone()];
            let ids = texts.ids[range].iter().zip(mask);
            tokens.clear();
            tokens.extend(ids.map(|(&id, &mask)| if mask != 0 { id as usize } else { 0 }));
            // An empty text has a window too.
            tokens.resize(mask.len().max(1) + width - 1, 0);
            let counts = |&first: &usize| mask.get(first + width - 1).is_some_and(|&m| m != 0);
            firsts.clear();
            firsts.push(0);
            firsts.extend((1..mask.len()).filter(counts));
            window_max(self.view(), Windows { width, tokens: &tokens, firsts: &firsts }, out);
        }
        Ok(())
    }
}
