//! Writes ONNX graphs: inputs, constants, nodes, outputs.
//!
//! ```
//! use autotag_onnx::graph::{Dim, GraphBuilder};
//! use autotag_onnx::proto::ElementType;
//!
//! let mut graph = GraphBuilder::new("double");
//! let shape = [Dim::Symbol("batch"), Dim::Fixed(3)];
//! let x = graph.input("x", ElementType::Float, &shape);
//! let two = graph.constant_f32("two", &[1], &[2.0]);
//! let y = graph.mul(&x, &two);
//! graph.output("y", &y, ElementType::Float, &shape);
//! let model: Vec<u8> = graph.finish();
//! # assert!(!model.is_empty());
//! ```

mod builder;
mod operators;

pub use builder::{Dim, GraphBuilder, NodeBuilder, OPSET, Value};
pub use operators::Reduced;

#[cfg(test)]
mod tests;
