//! Lookups in large tables, which the CPU models are made of: operators of the domain `autotag`.
//!
//! ```text
//! EmbeddingBag(table, scales, ids, weights)        out[b] = sum_i weights[b, i] T[ids[b, i]]
//! EmbeddingBag4(table, scales, ids, weights)       the same of a table with 4 bits a value
//! WindowMax<w>(table, scales, ids, mask)           out[b] = max_p sum_o T[ids[b, p + o]][o-th slice]
//! ```
//!
//! T is a [`QuantizedTable`]: int8 `[V, C]`, or uint8 `[V, C / 2]`, with float32 scales `[V, S]`. Ids,
//! weights and mask are `[batch, length]`. An `EmbeddingBag` answers `[batch, C]`. A `WindowMax` answers
//! `[batch, C / w]`: its table has a slice for each of a window's w positions. A window counts when the
//! mask has its last token, and the first one counts always; beyond the mask lies token 0.
//!
//! A model file holds each operator as an ONNX function of standard operators, so that any runtime runs
//! it. On the CPU the encoder puts kernels of its own in their place, which read a table where it lies
//! instead of copying its rows.

mod functions;
mod kernels;
mod table;

mod native;

use crate::graph::{GraphBuilder, Value};

pub(crate) use functions::{DOMAIN, Function, function};
pub(crate) use native::NativeLookups;
pub use table::{Precision, QuantizedTable, TableFormat};

impl GraphBuilder {
    /// Adds a table's constants and an `EmbeddingBag` of ids and weights [batch, length]: [batch, C].
    pub fn embedding_bag(
        &mut self,
        name: &str,
        table: &QuantizedTable,
        ids: &Value,
        weights: &Value,
    ) -> Value {
        let operator = Function::EmbeddingBag(table.format().precision());
        self.look_up(operator, name, table, [ids, weights])
    }

    /// Adds a table's constants and a `WindowMax` of ids and mask [batch, length], of windows as wide as
    /// the table has slices: [batch, C / w].
    ///
    /// # Panics
    ///
    /// When the table has not 8 bits a value.
    pub fn window_max(
        &mut self,
        name: &str,
        table: &QuantizedTable,
        ids: &Value,
        mask: &Value,
    ) -> Value {
        assert_eq!(table.format().precision(), Precision::Int8, "{name}");
        self.look_up(Function::WindowMax(table.format().n_slices()), name, table, [ids, mask])
    }

    fn look_up(
        &mut self,
        operator: Function,
        name: &str,
        table: &QuantizedTable,
        [ids, other]: [&Value; 2],
    ) -> Value {
        let (format, n_rows) = (table.format(), table.n_rows());
        let shape = [n_rows, format.row_bytes()];
        let values = match format.precision() {
            Precision::Int8 => self.constant_i8(name, &shape, bytemuck::cast_slice(table.bytes())),
            Precision::Int4 => self.constant_u8(name, &shape, table.bytes()),
        };
        let shape = [n_rows, format.n_slices()];
        let scales = self.constant_f32(&format!("{name}_scales"), &shape, table.scales());
        self.call(function(operator), &[&values, &scales, ids, other])
    }
}

#[cfg(test)]
mod tests;
