//! Rows in 8 bits a value, as tables are exported.
//!
//! ```text
//! v = s q,   s = max |v| / 127 of the row,   q = round(v / s) within -127..=127
//! ```
//!
//! A value is off by at most half of its row's s.

use ndarray::{Array2, ArrayView1};

use autotag_onnx::graph::{GraphBuilder, Value};
use autotag_onnx::proto::ElementType;

/// The largest magnitude of a quantized value.
const LARGEST: f32 = 127.0;

/// Rounds a matrix to the values that its quantized rows stand for.
pub(crate) fn round_rows(matrix: &mut Array2<f32>) {
    for mut row in matrix.rows_mut() {
        let scale = scale(row.view());
        row.mapv_inplace(|value| scale * f32::from(quantized(value, scale)));
    }
}

/// A table in a graph, with quantized rows.
pub(crate) struct QuantizedTable {
    /// int8 [V, R].
    values: Value,
    /// float32 `[V]`.
    scales: Value,
}

impl QuantizedTable {
    /// Writes a table, [V, R]; `name` is that of its constant.
    pub(crate) fn write(graph: &mut GraphBuilder, name: &str, table: &Array2<f32>) -> Self {
        let scales: Vec<f32> = table.rows().into_iter().map(scale).collect();
        let row = |(row, &scale): (ArrayView1<'_, f32>, &f32)| {
            row.iter().map(|&value| quantized(value, scale)).collect::<Vec<i8>>()
        };
        let values: Vec<i8> = table.rows().into_iter().zip(&scales).flat_map(row).collect();
        let shape = [table.nrows(), table.ncols()];
        QuantizedTable {
            values: graph.constant_i8(name, &shape, &values),
            scales: graph.constant_f32(&format!("{name}_scales"), &shape[..1], &scales),
        }
    }

    /// Writes the rows of ids [batch, n], still to be multiplied by their scales: float32 [batch, n, R],
    /// and the scales, [batch, n].
    pub(crate) fn rows(&self, graph: &mut GraphBuilder, ids: &Value) -> (Value, Value) {
        let rows = graph.gather(&self.values, ids, 0);
        (graph.cast(&rows, ElementType::Float), graph.gather(&self.scales, ids, 0))
    }
}

fn scale(row: ArrayView1<'_, f32>) -> f32 {
    row.iter().fold(0.0f32, |largest, value| largest.max(value.abs())) / LARGEST
}

fn quantized(value: f32, scale: f32) -> i8 {
    if scale > 0.0 { (value / scale).round().clamp(-LARGEST, LARGEST) as i8 } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_off_by_half_a_step_and_rounded_once() {
        let mut rows = Array2::from_shape_fn((5, 40), |(i, j)| {
            (i as f32 * 10.0).powi(2) * ((i * 37 + j * 11) % 23) as f32 / 7.0 - i as f32
        });
        rows.row_mut(3).fill(0.0);
        let before = rows.clone();
        round_rows(&mut rows);
        for (rounded, value) in rows.rows().into_iter().zip(before.rows()) {
            let step = scale(value);
            for (rounded, value) in rounded.iter().zip(value) {
                assert!((rounded - value).abs() <= 0.5001 * step, "{rounded} {value} {step}");
            }
        }
        let once = rows.clone();
        round_rows(&mut rows);
        for (again, once) in rows.iter().zip(&once) {
            assert!((again - once).abs() <= 1e-6 * once.abs());
        }
    }
}
