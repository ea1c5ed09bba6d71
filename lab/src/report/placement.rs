//! Places the labels of points in a plot, so that each can be read: pure.
//!
//! Each label takes the first place near its point that is free, in the order of the points; a label that is
//! not beside its point gets a line to it.

/// A rectangle; y grows downwards.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Area {
    pub(super) left: f64,
    pub(super) top: f64,
    pub(super) right: f64,
    pub(super) bottom: f64,
}

impl Area {
    /// Makes the rectangle of a center, a width and a height.
    pub(super) fn around((x, y): (f64, f64), (width, height): (f64, f64)) -> Self {
        let (w, h) = (width / 2.0, height / 2.0);
        Area { left: x - w, top: y - h, right: x + w, bottom: y + h }
    }

    /// Returns the point of the rectangle that is nearest to another point.
    pub(super) fn nearest(&self, (x, y): (f64, f64)) -> (f64, f64) {
        (x.max(self.left).min(self.right), y.max(self.top).min(self.bottom))
    }

    fn contains(&self, other: &Area) -> bool {
        self.left <= other.left
            && self.top <= other.top
            && self.right >= other.right
            && self.bottom >= other.bottom
    }

    /// Returns the size of what two rectangles share.
    fn shared(&self, other: &Area) -> f64 {
        let width = self.right.min(other.right) - self.left.max(other.left);
        let height = self.bottom.min(other.bottom) - self.top.max(other.top);
        width.max(0.0) * height.max(0.0)
    }
}

/// Half the width of a point's marker, which nothing else may cover.
const MARKER: f64 = 8.0;

/// The distances between a marker's center and its label, the preferred one first.
const DISTANCES: [f64; 7] = [10.0, 18.0, 28.0, 40.0, 56.0, 76.0, 100.0];

/// The directions of a label, the preferred one first.
const DIRECTIONS: [(f64, f64); 8] = [
    (1.0, 0.0),
    (-1.0, 0.0),
    (0.0, -1.0),
    (0.0, 1.0),
    (1.0, -1.0),
    (-1.0, -1.0),
    (1.0, 1.0),
    (-1.0, 1.0),
];

/// Returns the place of each point's label, given the labels' widths and heights.
///
/// All places are within the frame. Where no place is free a label takes the one that covers the least.
pub(super) fn place(points: &[(f64, f64)], sizes: &[(f64, f64)], frame: Area) -> Vec<Area> {
    let marker = |&point: &(f64, f64)| Area::around(point, (2.0 * MARKER, 2.0 * MARKER));
    let mut taken: Vec<Area> = points.iter().map(marker).collect();
    let mut places = Vec::with_capacity(points.len());
    for (number, (&point, &size)) in points.iter().zip(sizes).enumerate() {
        let covered = |area: &Area| -> f64 {
            let others = taken.iter().enumerate().filter(|&(other, _)| other != number);
            others.map(|(_, other)| area.shared(other)).sum()
        };
        let mut best = (f64::INFINITY, Area::around(point, size));
        for candidate in candidates(point, size).filter(|area| frame.contains(area)) {
            let cost =
                covered(&candidate) + line(point, &candidate).iter().map(covered).sum::<f64>();
            if cost < best.0 {
                best = (cost, candidate);
            }
            if cost == 0.0 {
                break;
            }
        }
        taken.push(best.1);
        taken.extend(line(point, &best.1));
        places.push(best.1);
    }
    places
}

fn candidates((x, y): (f64, f64), (width, height): (f64, f64)) -> impl Iterator<Item = Area> {
    DISTANCES.iter().flat_map(move |distance| {
        DIRECTIONS.iter().map(move |(right, down)| {
            let center =
                (x + right * (distance + width / 2.0), y + down * (distance + height / 2.0));
            Area::around(center, (width, height))
        })
    })
}

/// Returns small rectangles along the line from a marker's edge to its label.
fn line((x, y): (f64, f64), label: &Area) -> Vec<Area> {
    const STEP: f64 = 4.0;
    let (to_x, to_y) = label.nearest((x, y));
    let length = (to_x - x).hypot(to_y - y);
    let n_steps = (length / STEP) as usize;
    let at = |step: usize| {
        let share = step as f64 * STEP / length;
        (x + share * (to_x - x), y + share * (to_y - y))
    };
    let first = (MARKER / STEP) as usize;
    (first..n_steps).map(|step| Area::around(at(step), (2.0, 2.0))).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const FRAME: Area = Area { left: 0.0, top: 0.0, right: 700.0, bottom: 400.0 };

    #[test]
    fn a_label_alone_is_right_of_its_point() {
        let places = place(&[(100.0, 100.0)], &[(50.0, 20.0)], FRAME);
        assert_eq!(places, [Area { left: 110.0, top: 90.0, right: 160.0, bottom: 110.0 }]);
    }

    #[test]
    fn a_label_at_the_right_edge_is_left_of_its_point() {
        let places = place(&[(690.0, 100.0)], &[(50.0, 20.0)], FRAME);
        assert_eq!(places[0].right, 680.0);
    }

    #[test]
    fn points_at_one_place_have_labels_apart() {
        let places = place(&[(300.0, 200.0); 6], &[(90.0, 20.0); 6], FRAME);
        for (number, first) in places.iter().enumerate() {
            let overlaps = |second: &Area| first.shared(second) > 0.0;
            assert!(!places[number + 1..].iter().any(overlaps), "{places:?}");
        }
    }

    proptest! {
        #[test]
        fn few_labels_never_overlap(
            points in prop::collection::vec((60.0..640.0, 60.0..340.0), 0..9),
        ) {
            let places = place(&points, &vec![(90.0, 18.0); points.len()], FRAME);
            prop_assert_eq!(places.len(), points.len());
            for (number, first) in places.iter().enumerate() {
                prop_assert!(FRAME.contains(first));
                for second in &places[number + 1..] {
                    prop_assert_eq!(first.shared(second), 0.0);
                }
            }
        }

        #[test]
        fn crowds_and_odd_sizes_have_a_place_each(
            points in prop::collection::vec((0.0..700.0, 0.0..400.0), 0..60),
            size in (0.0..900.0, 0.0..500.0),
        ) {
            let places = place(&points, &vec![size; points.len()], FRAME);
            prop_assert_eq!(places.len(), points.len());
        }
    }
}
