//! A logarithmic axis with round numbers as its ticks.

use std::ops::Range;

use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, Ranged, ValueFormatter};

/// An axis of positive numbers.
#[derive(Clone, Copy, Debug)]
pub(super) struct LogAxis {
    /// The decadic logarithms of its ends, the first below the second.
    low: f64,
    high: f64,
}

/// The room at each end, in decades; with two of it every axis has a tick.
const ROOM: f64 = 0.2;

/// The decades up to which 2 and 5 times a power of ten are ticks too.
const FINE: f64 = 3.0;

/// The most powers of ten among the ticks of a longer axis, about.
const MAX_POWERS: f64 = 10.0;

impl LogAxis {
    /// Makes the axis of positive numbers, with room at both ends.
    pub(super) fn of(numbers: impl Iterator<Item = f64>) -> Self {
        let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
        for logarithm in numbers.map(f64::log10).filter(|logarithm| logarithm.is_finite()) {
            (low, high) = (low.min(logarithm), high.max(logarithm));
        }
        match low <= high {
            true => LogAxis { low: low - ROOM, high: high + ROOM },
            false => LogAxis { low: 0.0, high: 1.0 },
        }
    }
}

impl Ranged for LogAxis {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, number: &f64, (first, last): (i32, i32)) -> i32 {
        let share = (number.log10() - self.low) / (self.high - self.low);
        first + (share * f64::from(last - first)).round() as i32
    }

    fn key_points<Hint: KeyPointHint>(&self, _: Hint) -> Vec<f64> {
        let decades = self.high - self.low;
        let factors: &[f64] = if decades <= FINE { &[1.0, 2.0, 5.0] } else { &[1.0] };
        let step = (decades / MAX_POWERS).ceil() as usize;
        let powers = (self.low.floor() as i32..=self.high.floor() as i32).step_by(step);
        let ticks = powers.flat_map(|power| factors.iter().map(move |n| n * 10f64.powi(power)));
        ticks.filter(|tick| (self.low..=self.high).contains(&tick.log10())).collect()
    }

    fn range(&self) -> Range<f64> {
        10f64.powf(self.low)..10f64.powf(self.high)
    }
}

impl ValueFormatter<f64> for LogAxis {
    /// Writes a comma every three digits, and few digits of a very small or large number.
    fn format(number: &f64) -> String {
        if !(0.95..1e12).contains(number) {
            return format!("{number:e}");
        }
        let digits = format!("{number:.0}");
        let mut text = String::with_capacity(digits.len() * 4 / 3);
        for (position, digit) in digits.chars().enumerate() {
            if position > 0 && (digits.len() - position).is_multiple_of(3) {
                text.push(',');
            }
            text.push(digit);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticks(numbers: &[f64]) -> Vec<String> {
        let axis = LogAxis::of(numbers.iter().copied());
        axis.key_points(10).iter().map(LogAxis::format).collect()
    }

    #[test]
    fn ticks_are_round_numbers_within_the_axis() {
        assert_eq!(ticks(&[900.0, 11_000.0]), ["1,000", "2,000", "5,000", "10,000"]);
        assert_eq!(ticks(&[1500.0, 1500.0]), ["1,000", "2,000"]);
        assert_eq!(ticks(&[2600.0]), ["2,000"]);
        assert_eq!(ticks(&[0.2, 2e4]), ["1", "10", "100", "1,000", "10,000"]);
        assert_eq!(ticks(&[]), ["1", "2", "5", "10"]);
    }

    #[test]
    fn any_range_has_few_ticks() {
        let axis = [f64::MIN_POSITIVE, f64::MAX];
        assert!((2..20).contains(&ticks(&axis).len()));
    }

    #[test]
    fn equal_factors_are_equally_far_apart() {
        let axis = LogAxis::of([10.0, 1000.0].into_iter());
        let at = |number: f64| axis.map(&number, (0, 2400));
        assert_eq!([at(10.0), at(100.0), at(1000.0)], [200, 1200, 2200]);
    }
}
