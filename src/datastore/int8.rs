//! Products of vectors in 8 bits, with bounds of their errors: a scan reads a quarter of the bytes and
//! multiplies four times as many values at once.
//!
//! A row h is kept as bytes c and a scale s with h' = s (c - 128), a query as q' = t b with signed bytes b.
//! The error of a product is bounded by Cauchy and Schwarz:
//! |q.h - q'.h'| <= |q| |h - h'| + |q - q'| |h'|. It is small where the vectors are: rows and queries are
//! given minus a point amid the rows.
//!
//! Processors with AVX-512 VNNI gain by it; [`is_supported`] tells.

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::{
    __m512i, _CMP_LE_OQ, _mm512_add_epi32, _mm512_cmp_ps_mask, _mm512_cvtepi32_ps,
    _mm512_dpbusd_epi32, _mm512_mul_ps, _mm512_set1_epi32, _mm512_set1_ps, _mm512_setzero_si512,
    _mm512_sub_ps,
};

/// The queries of one register: 16 sums of 32 bits.
const LANES: usize = 16;

/// The most queries that are multiplied at once: their sums for 8 rows fill AVX-512's registers.
pub(super) const MAX_QUERIES: usize = 3 * LANES;

/// More values could overflow a sum of 32 bits.
const MAX_DIMENSIONS: usize = 1 << 16;

/// The bytes that one instruction multiplies and adds for each query.
const STEP: usize = 4;

/// The byte that stands for 0.
const ZERO: u8 = 128;

/// Tells whether this processor multiplies vectors of so many values faster in 8 bits than in floats.
pub(super) fn is_supported(dimensions: usize) -> bool {
    has_vnni() && dimensions <= MAX_DIMENSIONS
}

#[cfg(target_arch = "x86_64")]
fn has_vnni() -> bool {
    is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vnni")
}

#[cfg(not(target_arch = "x86_64"))]
fn has_vnni() -> bool {
    false
}

/// Rows in 8 bits.
#[derive(Clone, Debug)]
pub(super) struct Int8Rows {
    /// The steps of a row; values beyond the dimensions are 0.
    n_steps: usize,
    /// [rows, steps]
    codes: Vec<[u8; STEP]>,
    scales: Vec<f32>,
    /// |h|^2 / 2
    half_norms: Vec<f32>,
    /// No |h - h'| is larger.
    largest_error: f64,
    /// No |h'| is larger.
    largest_norm: f64,
}

impl Int8Rows {
    pub(super) fn new(dimensions: usize) -> Self {
        let n_steps = dimensions.div_ceil(STEP);
        let (codes, scales, half_norms) = (Vec::new(), Vec::new(), Vec::new());
        Int8Rows { n_steps, codes, scales, half_norms, largest_error: 0.0, largest_norm: 0.0 }
    }

    pub(super) fn push(&mut self, values: &[f32]) {
        let row = self.scales.len();
        self.scales.push(0.0);
        self.half_norms.push(0.0);
        self.codes.resize((row + 1) * self.n_steps, [ZERO; STEP]);
        self.replace(row, values);
    }

    pub(super) fn replace(&mut self, row: usize, values: &[f32]) {
        let scale = scale_of(values);
        let codes = self.codes[row * self.n_steps..][..self.n_steps].as_flattened_mut();
        for (code, &value) in codes.iter_mut().zip(values) {
            *code = (i16::from(quantized(value, scale)) + i16::from(ZERO)) as u8;
        }
        self.scales[row] = scale;
        let norm = norm_of(values);
        self.half_norms[row] = (norm * norm / 2.0) as f32;
        let rounded = codes.iter().map(|&code| i16::from(code) - i16::from(ZERO));
        let (error, norm) = error_and_norm(values, rounded, scale);
        // After a replacement they may be too large, which costs time alone.
        self.largest_error = self.largest_error.max(error);
        self.largest_norm = self.largest_norm.max(norm);
    }

    /// Adds a row of another block.
    pub(super) fn push_row_of(&mut self, other: &Int8Rows, row: usize) {
        self.codes.extend_from_slice(&other.codes[row * self.n_steps..][..self.n_steps]);
        self.scales.push(other.scales[row]);
        self.half_norms.push(other.half_norms[row]);
        self.largest_error = self.largest_error.max(other.largest_error);
        self.largest_norm = self.largest_norm.max(other.largest_norm);
    }
}

/// At most [`MAX_QUERIES`] queries in 8 bits.
#[derive(Debug)]
pub(super) struct Int8Queries {
    n_queries: usize,
    /// [steps, registers, lanes]: what one instruction multiplies with a step of a row.
    panels: Vec<[[i8; STEP]; LANES]>,
    /// -128 times the sum of each query's bytes: what the rows' offset adds to a product, taken away.
    offsets: Vec<i32>,
    scales: Vec<f32>,
    norms: Vec<f64>,
    /// |q - q'|
    errors: Vec<f64>,
}

impl Int8Queries {
    /// Takes the queries [texts, D], row by row.
    pub(super) fn new(values: &[f32], dimensions: usize) -> Self {
        let n_queries = values.len() / dimensions;
        let n_registers = n_queries.div_ceil(LANES);
        let n_lanes = n_registers * LANES;
        let mut queries = Int8Queries {
            n_queries,
            panels: vec![[[0; STEP]; LANES]; dimensions.div_ceil(STEP) * n_registers],
            offsets: vec![0; n_lanes],
            scales: vec![0.0; n_lanes],
            norms: Vec::with_capacity(n_queries),
            errors: Vec::with_capacity(n_queries),
        };
        for (query, values) in values.chunks_exact(dimensions).enumerate() {
            let scale = scale_of(values);
            let codes: Vec<i8> = values.iter().map(|&value| quantized(value, scale)).collect();
            for (step, codes) in codes.chunks(STEP).enumerate() {
                let panel = &mut queries.panels[step * n_registers + query / LANES];
                panel[query % LANES][..codes.len()].copy_from_slice(codes);
            }
            let sum: i32 = codes.iter().map(|&code| i32::from(code)).sum();
            queries.offsets[query] = -i32::from(ZERO) * sum;
            queries.scales[query] = scale;
            let (error, _) = error_and_norm(values, codes.iter().map(|&code| code.into()), scale);
            queries.errors.push(error);
            queries.norms.push(norm_of(values));
        }
        queries
    }

    /// Returns how far a query's product with any of the rows can be off, rounding of floats left out.
    pub(super) fn margin(&self, query: usize, rows: &Int8Rows) -> f32 {
        let margin =
            self.norms[query] * rows.largest_error + self.errors[query] * rows.largest_norm;
        (margin * 1.000_001) as f32
    }

    /// Compares rows of a block with all queries, and adds the pairs of which |h|^2 / 2 - q'.h' is at most the
    /// query's limit.
    pub(super) fn scan(
        &self,
        block: &Int8Rows,
        rows: std::ops::Range<usize>,
        limits: &[f32],
        found: &mut Vec<Hit>,
    ) {
        let n_lanes = self.scales.len();
        let mut padded = [f32::NEG_INFINITY; MAX_QUERIES];
        padded[..self.n_queries].copy_from_slice(limits);
        let scan = Scan {
            codes: &block.codes[rows.start * block.n_steps..rows.end * block.n_steps],
            n_steps: block.n_steps,
            scales: &block.scales[rows.clone()],
            half_norms: &block.half_norms[rows.clone()],
            queries: self,
            limits: &padded[..n_lanes],
            first_row: rows.start as u32,
        };
        scan.run(found);
    }
}

/// A row near a query.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Hit {
    /// Within its block.
    pub(super) row: u32,
    pub(super) query: u32,
    /// |h|^2 / 2 - q'.h'
    pub(super) value: f32,
}

/// Rows to be compared with queries.
struct Scan<'a> {
    codes: &'a [[u8; STEP]],
    n_steps: usize,
    scales: &'a [f32],
    half_norms: &'a [f32],
    queries: &'a Int8Queries,
    /// One for each lane.
    limits: &'a [f32],
    first_row: u32,
}

impl Scan<'_> {
    #[allow(unsafe_code)]
    fn run(&self, found: &mut Vec<Hit>) {
        #[cfg(target_arch = "x86_64")]
        if has_vnni() {
            // SAFETY: the processor has the instructions that the function is compiled for.
            return unsafe { scan_vnni(self, found) };
        }
        self.run_plainly(found);
    }

    /// Does the same on any processor.
    fn run_plainly(&self, found: &mut Vec<Hit>) {
        let n_registers = self.queries.scales.len() / LANES;
        for (row, codes) in self.codes.chunks_exact(self.n_steps).enumerate() {
            let mut sums = self.queries.offsets.clone();
            for (codes, panels) in codes.iter().zip(self.queries.panels.chunks(n_registers)) {
                for (sum, panel) in sums.iter_mut().zip(panels.as_flattened()) {
                    let products =
                        codes.iter().zip(panel).map(|(&c, &b)| i32::from(c) * i32::from(b));
                    *sum += products.sum::<i32>();
                }
            }
            for (lane, sum) in sums.into_iter().enumerate() {
                self.offer(row, lane, sum, found);
            }
        }
    }

    fn offer(&self, row: usize, lane: usize, sum: i32, found: &mut Vec<Hit>) {
        let product = sum as f32 * (self.scales[row] * self.queries.scales[lane]);
        let value = self.half_norms[row] - product;
        if value <= self.limits[lane] {
            found.push(Hit { row: self.first_row + row as u32, query: lane as u32, value });
        }
    }
}

/// Returns the scale that makes the largest value 127; 0 where all values are 0, or too small for it.
fn scale_of(values: &[f32]) -> f32 {
    values.iter().fold(0.0f32, |largest, value| largest.max(value.abs())) / 127.0
}

fn quantized(value: f32, scale: f32) -> i8 {
    // A cast cuts what is beyond the range, and makes 0 of what is no number.
    (value / scale).round_ties_even().clamp(-127.0, 127.0) as i8
}

/// Returns |v - v'| and |v'|.
fn error_and_norm(values: &[f32], codes: impl Iterator<Item = i16>, scale: f32) -> (f64, f64) {
    let (mut error, mut norm) = (0.0, 0.0);
    for (&value, code) in values.iter().zip(codes) {
        let rounded = f64::from(scale) * f64::from(code);
        error += (f64::from(value) - rounded).powi(2);
        norm += rounded.powi(2);
    }
    (error.sqrt(), norm.sqrt())
}

fn norm_of(values: &[f32]) -> f64 {
    values.iter().map(|&value| f64::from(value) * f64::from(value)).sum::<f64>().sqrt()
}

/// The rows whose sums are in registers at once.
#[cfg(target_arch = "x86_64")]
const TILE_ROWS: usize = 8;

/// Scans with AVX-512 VNNI, which multiplies 64 pairs of bytes in one instruction.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vnni")]
fn scan_vnni(scan: &Scan<'_>, found: &mut Vec<Hit>) {
    match scan.queries.scales.len() / LANES {
        1 => scan_registers::<1>(scan, found),
        2 => scan_registers::<2>(scan, found),
        _ => scan_registers::<3>(scan, found),
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vnni")]
fn scan_registers<const N: usize>(scan: &Scan<'_>, found: &mut Vec<Hit>) {
    let n_rows = scan.scales.len();
    let n_tiled = n_rows - n_rows % TILE_ROWS;
    for row in (0..n_tiled).step_by(TILE_ROWS) {
        scan_tile::<TILE_ROWS, N>(scan, row, found);
    }
    for row in n_tiled..n_rows {
        scan_tile::<1, N>(scan, row, found);
    }
}

/// Compares R rows from `first` on with N registers of queries.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vnni")]
fn scan_tile<const R: usize, const N: usize>(scan: &Scan<'_>, first: usize, found: &mut Vec<Hit>) {
    let n_steps = scan.n_steps;
    let mut rows: [&[[u8; STEP]]; R] = [&[]; R];
    for (row, codes) in rows.iter_mut().zip(scan.codes[first * n_steps..].chunks_exact(n_steps)) {
        *row = codes;
    }
    let mut sums = [[_mm512_setzero_si512(); N]; R];
    let (panels, _) = scan.queries.panels.as_chunks::<N>();
    for (step, panels) in panels.iter().enumerate().take(n_steps) {
        for (sums, row) in sums.iter_mut().zip(&rows) {
            let codes = _mm512_set1_epi32(i32::from_le_bytes(row[step]));
            for (sum, panel) in sums.iter_mut().zip(panels) {
                let panel: __m512i = bytemuck::cast(*panel);
                *sum = _mm512_dpbusd_epi32(*sum, codes, panel);
            }
        }
    }
    for (row, sums) in (first..).zip(sums) {
        for (register, sum) in sums.into_iter().enumerate() {
            offer_register(scan, row, register, sum, found);
        }
    }
}

/// Keeps what is within the limits: most rows are near no query, and cost one comparison of 16.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vnni")]
fn offer_register(
    scan: &Scan<'_>,
    row: usize,
    register: usize,
    sum: __m512i,
    found: &mut Vec<Hit>,
) {
    let lanes = register * LANES..(register + 1) * LANES;
    let load = |values: &[f32]| -> [f32; LANES] { values.try_into().expect("16 lanes") };
    let offsets: [i32; LANES] = scan.queries.offsets[lanes.clone()].try_into().expect("16 lanes");
    let sum = _mm512_add_epi32(sum, bytemuck::cast(offsets));
    let scales = bytemuck::cast(load(&scan.queries.scales[lanes.clone()]));
    let scales = _mm512_mul_ps(_mm512_set1_ps(scan.scales[row]), scales);
    let products = _mm512_mul_ps(_mm512_cvtepi32_ps(sum), scales);
    let values = _mm512_sub_ps(_mm512_set1_ps(scan.half_norms[row]), products);
    let limits = bytemuck::cast(load(&scan.limits[lanes]));
    let mut mask = _mm512_cmp_ps_mask::<_CMP_LE_OQ>(values, limits);
    let values: [f32; LANES] = bytemuck::cast(values);
    while mask != 0 {
        let lane = mask.trailing_zeros() as usize;
        mask &= mask - 1;
        let (row, query) = (scan.first_row + row as u32, (register * LANES + lane) as u32);
        found.push(Hit { row, query, value: values[lane] });
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn vectors(
        dimensions: usize,
        n: std::ops::Range<usize>,
    ) -> impl Strategy<Value = Vec<Vec<f32>>> {
        let value = prop_oneof![4 => -1.0f32..1.0, 1 => -1e-3f32..1e-3, 1 => -30.0f32..30.0];
        proptest::collection::vec(proptest::collection::vec(value, dimensions), n)
    }

    proptest! {
        #[test]
        fn products_are_within_their_margin(
            (rows, queries, limit) in (1usize..70).prop_flat_map(|dimensions| {
                (vectors(dimensions, 1..40), vectors(dimensions, 1..49), -3f32..3.0)
            }),
        ) {
            let dimensions = rows[0].len();
            let mut block = Int8Rows::new(dimensions);
            rows.iter().for_each(|row| block.push(row));
            let packed = Int8Queries::new(&queries.concat(), dimensions);
            let scan = |limit: f32| {
                let mut found = Vec::new();
                let limits = vec![limit; queries.len()];
                packed.scan(&block, 0..rows.len(), &limits, &mut found);
                found
            };
            let all = scan(f32::INFINITY);
            prop_assert_eq!(all.len(), rows.len() * queries.len());
            for hit in &all {
                let (row, query) = (&rows[hit.row as usize], &queries[hit.query as usize]);
                let pairs = row.iter().zip(query).map(|(&h, &q)| (f64::from(h), f64::from(q)));
                let exact: f64 = pairs.map(|(h, q)| h * (h / 2.0 - q)).sum();
                let margin = f64::from(packed.margin(hit.query as usize, &block));
                let rounding = 1e-5 * (1.0 + row.iter().chain(query).map(|v| v * v).sum::<f32>());
                prop_assert!((exact - f64::from(hit.value)).abs() <= margin + f64::from(rounding));
            }
            let near: Vec<Hit> = all.into_iter().filter(|hit| hit.value <= limit).collect();
            prop_assert_eq!(scan(limit), near);
        }

        #[test]
        fn every_processor_finds_the_same(
            (rows, queries) in (1usize..40).prop_flat_map(|d| (vectors(d, 1..20), vectors(d, 1..49))),
        ) {
            let dimensions = rows[0].len();
            let mut block = Int8Rows::new(dimensions);
            rows.iter().for_each(|row| block.push(row));
            let queries = Int8Queries::new(&queries.concat(), dimensions);
            let limits = vec![0.5; queries.scales.len()];
            let scan = Scan {
                codes: &block.codes,
                n_steps: block.n_steps,
                scales: &block.scales,
                half_norms: &vec![1.0; rows.len()],
                queries: &queries,
                limits: &limits,
                first_row: 7,
            };
            let (mut found, mut plainly) = (Vec::new(), Vec::new());
            scan.run(&mut found);
            scan.run_plainly(&mut plainly);
            prop_assert_eq!(found, plainly);
        }
    }

    #[test]
    fn values_at_the_ends_of_the_range_are_taken() {
        for values in [[f32::MAX, -f32::MAX, 1.0], [1e-45, 0.0, 0.0], [0.0; 3]] {
            let mut rows = Int8Rows::new(3);
            rows.push(&values);
            let queries = Int8Queries::new(&values, 3);
            assert!(rows.largest_error.is_finite() && !queries.margin(0, &rows).is_nan());
        }
    }
}
