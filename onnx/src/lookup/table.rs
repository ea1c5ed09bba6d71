//! Tables in 8 or 4 bits a value.

/// The precision of a table's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Precision {
    /// Integers within -127..=127.
    Int8,
    /// Integers within -7..=7, two in a byte.
    Int4,
}

impl Precision {
    /// Returns the largest magnitude of a value.
    fn largest(self) -> f32 {
        match self {
            Precision::Int8 => 127.0,
            Precision::Int4 => 7.0,
        }
    }
}

/// The shape and precision of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TableFormat {
    n_columns: usize,
    n_slices: usize,
    precision: Precision,
}

impl TableFormat {
    /// Returns the format of a table of C columns, with S scales for each row.
    ///
    /// # Panics
    ///
    /// When C is 0, S no divisor of it, or, for [`Precision::Int4`], C / S is odd.
    pub fn new(n_columns: usize, n_slices: usize, precision: Precision) -> Self {
        let is_divisor = n_slices > 0 && n_columns > 0 && n_columns.is_multiple_of(n_slices);
        assert!(is_divisor, "{n_slices} slices of {n_columns} columns");
        let format = TableFormat { n_columns, n_slices, precision };
        assert!(precision == Precision::Int8 || format.slice_length().is_multiple_of(2));
        format
    }

    fn slice_length(&self) -> usize {
        self.n_columns / self.n_slices
    }

    /// Returns C.
    pub fn n_columns(&self) -> usize {
        self.n_columns
    }

    /// Returns S.
    pub fn n_slices(&self) -> usize {
        self.n_slices
    }

    /// Returns the precision.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// Returns the bytes of a row.
    pub fn row_bytes(&self) -> usize {
        match self.precision {
            Precision::Int8 => self.n_columns,
            Precision::Int4 => self.n_columns / 2,
        }
    }

    /// Rounds a table in row-major order to the values that its quantized form stands for.
    ///
    /// # Panics
    ///
    /// When the table has an incomplete row.
    pub fn round(&self, table: &mut [f32]) {
        self.check_length(table.len());
        for slice in table.chunks_exact_mut(self.slice_length()) {
            let scale = self.scale(slice);
            slice.iter_mut().for_each(|value| *value = scale * self.quantized(*value, scale));
        }
    }

    fn check_length(&self, n_values: usize) {
        assert!(n_values.is_multiple_of(self.n_columns), "{n_values} values in {self:?}");
    }

    fn scale(&self, slice: &[f32]) -> f32 {
        let largest = slice.iter().fold(0.0f32, |largest, value| largest.max(value.abs()));
        largest / self.precision.largest()
    }

    fn quantized(&self, value: f32, scale: f32) -> f32 {
        let largest = self.precision.largest();
        if scale > 0.0 { (value / scale).round().clamp(-largest, largest) } else { 0.0 }
    }

    /// Appends a slice's bytes.
    fn append(&self, slice: &[f32], scale: f32, bytes: &mut Vec<u8>) {
        let quantized = |&value: &f32| self.quantized(value, scale) as i8;
        match self.precision {
            Precision::Int8 => bytes.extend(slice.iter().map(|v| quantized(v).cast_unsigned())),
            Precision::Int4 => {
                let (low, high) = slice.split_at(slice.len() / 2);
                let nibble = |value| (quantized(value) + 8).cast_unsigned();
                bytes.extend(low.iter().zip(high).map(|(l, h)| nibble(l) | nibble(h) << 4));
            }
        }
    }
}

/// A table T [V, C] of small integers, with a scale for each slice of a row.
///
/// ```text
/// T[v, c] = s q,   s = max |T| / Q in the row's slice,   q = round(T / s) within -Q..=Q
/// ```
///
/// Q is 127 or 7. A value is off by at most half of its slice's s. With 4 bits a value, a byte holds q + 8
/// of a value in a slice's first half in its low bits, and of the one as far into the second half in its
/// high bits.
#[derive(Clone, Debug, PartialEq)]
pub struct QuantizedTable {
    format: TableFormat,
    /// [V, bytes of a row].
    bytes: Vec<u8>,
    /// s: [V, S].
    scales: Vec<f32>,
}

impl QuantizedTable {
    /// Quantizes a table in row-major order.
    ///
    /// # Panics
    ///
    /// When the table has an incomplete row.
    pub fn new(table: &[f32], format: TableFormat) -> Self {
        format.check_length(table.len());
        let slices = || table.chunks_exact(format.slice_length());
        let scales: Vec<f32> = slices().map(|slice| format.scale(slice)).collect();
        let mut bytes = Vec::with_capacity(table.len() / format.n_columns * format.row_bytes());
        for (slice, &scale) in slices().zip(&scales) {
            format.append(slice, scale, &mut bytes);
        }
        QuantizedTable { format, bytes, scales }
    }

    /// Returns V.
    pub fn n_rows(&self) -> usize {
        self.bytes.len() / self.format.row_bytes()
    }

    /// Returns the format.
    pub fn format(&self) -> TableFormat {
        self.format
    }

    /// Returns the values' bytes, row after row.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Returns the scales in row-major order.
    pub fn scales(&self) -> &[f32] {
        &self.scales
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORMATS: [TableFormat; 3] = [
        TableFormat { n_columns: 40, n_slices: 4, precision: Precision::Int8 },
        TableFormat { n_columns: 40, n_slices: 1, precision: Precision::Int4 },
        TableFormat { n_columns: 40, n_slices: 5, precision: Precision::Int4 },
    ];

    fn table() -> Vec<f32> {
        let value = |i: usize| (((i / 40) as f32) * 10.0).powi(2) * ((i * 37) % 23) as f32 / 7.0;
        (0..5 * 40).map(|i| value(i) - 250.0).chain([0.0; 40]).collect()
    }

    #[test]
    fn values_are_off_by_half_a_step_and_rounded_once() {
        for format in FORMATS {
            let mut rounded = table();
            format.round(&mut rounded);
            let length = format.slice_length();
            for (rounded, values) in rounded.chunks(length).zip(table().chunks(length)) {
                let step = format.scale(values);
                for (rounded, value) in rounded.iter().zip(values) {
                    assert!((rounded - value).abs() <= 0.5001 * step, "{rounded} {value} {step}");
                }
            }
            let once = rounded.clone();
            format.round(&mut rounded);
            for (again, once) in rounded.iter().zip(&once) {
                assert!((again - once).abs() <= 1e-6 * once.abs());
            }
        }
    }

    #[test]
    fn a_row_takes_as_many_bytes_as_it_says() {
        for format in FORMATS {
            let quantized = QuantizedTable::new(&table(), format);
            assert_eq!(quantized.n_rows(), 6);
            assert_eq!(quantized.bytes().len(), 6 * format.row_bytes());
            assert_eq!(quantized.scales().len(), 6 * format.n_slices());
        }
    }
}
