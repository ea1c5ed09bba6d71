//! The operators on the CPU. Pure functions.

use pulp::NullaryFnOnce;

use super::table::{Precision, TableFormat};

/// A table as a kernel reads it: [V, bytes of a row], scales [V, S].
#[derive(Clone, Copy, Debug)]
pub(super) struct View<'t> {
    pub(super) format: TableFormat,
    pub(super) bytes: &'t [u8],
    pub(super) scales: &'t [f32],
}

impl<'t> View<'t> {
    #[inline(always)]
    fn row(&self, id: usize) -> (&'t [u8], &'t [f32]) {
        let (n_bytes, n_slices) = (self.format.row_bytes(), self.format.n_slices());
        (&self.bytes[id * n_bytes..][..n_bytes], &self.scales[id * n_slices..][..n_slices])
    }
}

/// Sums the rows of one text's ids, weighted, into `out` [C]; a weight of 0 is padding.
///
/// Each id is below V.
pub(super) fn embedding_bag(table: View<'_>, ids: &[i64], weights: &[f32], out: &mut [f32]) {
    pulp::Arch::new().dispatch(EmbeddingBag { table, ids, weights, out });
}

/// Why no closure? The body of one that can be called again is not compiled for the processor's
/// instructions, since only a wrapper around it is.
struct EmbeddingBag<'a> {
    table: View<'a>,
    ids: &'a [i64],
    weights: &'a [f32],
    out: &'a mut [f32],
}

impl NullaryFnOnce for EmbeddingBag<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let EmbeddingBag { table, ids, weights, out } = self;
        let n_slices = table.format.n_slices();
        let (n_values, n_bytes) = (out.len() / n_slices, table.format.row_bytes() / n_slices);
        out.fill(0.0);
        for (&id, &weight) in ids.iter().zip(weights) {
            if weight == 0.0 {
                continue;
            }
            let (row, scales) = table.row(id as usize);
            let slices = out.chunks_exact_mut(n_values).zip(row.chunks_exact(n_bytes));
            for ((out, slice), scale) in slices.zip(scales) {
                match table.format.precision() {
                    Precision::Int8 => add_scaled(out, weight * scale, slice),
                    Precision::Int4 => add_scaled_nibbles(out, weight * scale, slice),
                }
            }
        }
    }
}

/// Windows over one text's tokens.
#[derive(Clone, Copy, Debug)]
pub(super) struct Windows<'t> {
    pub(super) width: usize,
    /// Each below V.
    pub(super) tokens: &'t [usize],
    /// The first positions of the windows that count, at least one; each window lies within the tokens.
    pub(super) firsts: &'t [usize],
}

/// The filters whose sums stay in registers.
const BLOCK: usize = 32;

/// Takes the maximum over windows into `out` [F]; the table has a slice of F values of 8 bits for each of a
/// window's positions.
pub(super) fn window_max(table: View<'_>, windows: Windows<'_>, out: &mut [f32]) {
    pulp::Arch::new().dispatch(WindowMax { table, windows, out });
}

struct WindowMax<'a> {
    table: View<'a>,
    windows: Windows<'a>,
    out: &'a mut [f32],
}

impl NullaryFnOnce for WindowMax<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let WindowMax { table, windows, out } = self;
        let n_filters = out.len();
        let mut filter = 0;
        let (blocks, rest) = out.as_chunks_mut::<BLOCK>();
        for block in blocks {
            *block = maxima(table, windows, n_filters, filter);
            filter += BLOCK;
        }
        let (blocks, rest) = rest.as_chunks_mut::<4>();
        for block in blocks {
            *block = maxima(table, windows, n_filters, filter);
            filter += 4;
        }
        for value in rest {
            [*value] = maxima(table, windows, n_filters, filter);
            filter += 1;
        }
    }
}

/// Takes the maxima of `N` filters, from one on.
#[inline(always)]
fn maxima<const N: usize>(
    table: View<'_>,
    windows: Windows<'_>,
    n_filters: usize,
    filter: usize,
) -> [f32; N] {
    let mut maxima = [f32::NEG_INFINITY; N];
    for &first in windows.firsts {
        let mut sums = [0.0; N];
        for (offset, &token) in windows.tokens[first..][..windows.width].iter().enumerate() {
            let (row, scales) = table.row(token);
            add_scaled(&mut sums, scales[offset], &row[offset * n_filters + filter..][..N]);
        }
        for (maximum, sum) in maxima.iter_mut().zip(sums) {
            *maximum = if sum > *maximum { sum } else { *maximum };
        }
    }
    maxima
}

#[inline(always)]
fn add_scaled(sum: &mut [f32], scale: f32, slice: &[u8]) {
    for (sum, &byte) in sum.iter_mut().zip(slice) {
        *sum += scale * f32::from(byte.cast_signed());
    }
}

/// The bytes that are added at once.
///
/// Why by hand? Compilers make vectors of as many bytes as fit a register, and most slices have fewer.
const CHUNK: usize = 16;

#[inline(always)]
fn add_scaled_nibbles(sum: &mut [f32], scale: f32, slice: &[u8]) {
    let (low, high) = sum.split_at_mut(slice.len());
    let (bytes, rest) = slice.as_chunks::<CHUNK>();
    let (low_chunks, low_rest) = low.as_chunks_mut::<CHUNK>();
    let (high_chunks, high_rest) = high.as_chunks_mut::<CHUNK>();
    for ((low, high), bytes) in low_chunks.iter_mut().zip(high_chunks).zip(bytes) {
        add_nibbles(low, high, scale, bytes);
    }
    add_nibbles(low_rest, high_rest, scale, rest);
}

#[inline(always)]
fn add_nibbles(low: &mut [f32], high: &mut [f32], scale: f32, bytes: &[u8]) {
    for ((low, high), &byte) in low.iter_mut().zip(high).zip(bytes) {
        *low += scale * (i32::from(byte & 15) - 8) as f32;
        *high += scale * (i32::from(byte >> 4) - 8) as f32;
    }
}
