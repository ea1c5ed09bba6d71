//! Figure 3: a text and its nearest neighbors, drawn on a plane by t-SNE.

use bhtsne::tSNE;
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::numbers::measured::MeasuredRun;
use crate::runs::{KeptData, Neighborhood, RunsFolder};

/// A text among its neighbors, as several models represent them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Map {
    /// The text's key.
    pub key: String,
    /// The text's beginning.
    pub text: String,
    /// The text's labels.
    pub labels: Vec<String>,
    /// One view for each model.
    pub views: Vec<MapView>,
}

/// A text among its neighbors, as one model represents them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MapView {
    /// The model.
    pub name: String,
    /// The text itself.
    pub text: (f32, f32),
    /// Its neighbors, the nearest first.
    pub neighbors: Vec<MapPoint>,
    /// The mean number of labels that a neighbor shares with the text.
    pub mean_shared: f64,
}

/// A neighbor on the plane.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct MapPoint {
    /// Its place.
    pub at: (f32, f32),
    /// The number of labels that it shares with the text.
    pub shared: usize,
}

/// Draws a text of which both models keep a neighborhood, the one whose neighbors without the
/// contrastive loss differ most; none where there are too few neighbors.
pub(super) fn map(
    folder: &RunsFolder,
    data: &KeptData,
    plain: Option<&MeasuredRun>,
    contrastive: Option<&MeasuredRun>,
) -> Result<Option<Map>> {
    let mut kept: Vec<(&str, Vec<Neighborhood>)> = Vec::new();
    for (name, run) in [("without CL", plain), ("with CL", contrastive)] {
        if let Some(run) = run {
            kept.push((name, folder.read_neighborhoods(&run.record.id)?));
        }
    }
    let Some((_, first)) = kept.first() else { return Ok(None) };
    let mut candidates: Vec<&Neighborhood> = first.iter().collect();
    candidates.sort_by_key(|neighborhood| largest_group(neighborhood));
    for row in candidates.into_iter().map(|neighborhood| neighborhood.row) {
        let of_row = |(name, all): &(&str, Vec<Neighborhood>)| {
            let found = all.iter().find(|neighborhood| neighborhood.row == row)?;
            view(name, found)
        };
        let views: Option<Vec<MapView>> = kept.iter().map(of_row).collect();
        if let (Some(views), Some(text)) = (views, data.measured.get(row)) {
            let name = |label: &autotag::LabelId| data.record.labels.get(label.index()).cloned();
            return Ok(Some(Map {
                key: text.key.clone(),
                text: text.text.clone(),
                labels: text.labels.ids().iter().filter_map(name).collect(),
                views,
            }));
        }
    }
    Ok(None)
}

/// Returns how many neighbors share the same number of labels with the text: the fewer, the more there
/// is to see.
fn largest_group(neighborhood: &Neighborhood) -> usize {
    let shared = || neighborhood.neighbors.iter().map(|neighbor| neighbor.shared);
    shared().map(|n| shared().filter(|other| *other == n).count()).max().unwrap_or_default()
}

/// The least number of points that are drawn.
const LEAST_POINTS: usize = 10;

/// The number of points that each point keeps near, at most.
const PERPLEXITY: f32 = 15.0;

/// The steps that the points are moved in.
const STEPS: usize = 750;

/// Returns `None` where there are too few points, or they have no finite place.
fn view(name: &str, neighborhood: &Neighborhood) -> Option<MapView> {
    let Neighborhood { embedding, neighbors, .. } = neighborhood;
    let points: Vec<&[f32]> = std::iter::once(embedding)
        .chain(neighbors.iter().map(|neighbor| &neighbor.embedding))
        .map(Vec::as_slice)
        .collect();
    let mut places = places(&points)?.into_iter();
    let text = places.next()?;
    let neighbors: Vec<MapPoint> = places
        .zip(neighbors)
        .map(|(at, neighbor)| MapPoint { at, shared: neighbor.shared })
        .collect();
    let n_shared: usize = neighbors.iter().map(|neighbor| neighbor.shared).sum();
    let mean_shared = n_shared as f64 / neighbors.len().max(1) as f64;
    Some(MapView { name: name.to_owned(), text, neighbors, mean_shared })
}

/// Finds places on the plane, the same for the same points, within -1..=1.
fn places(points: &[&[f32]]) -> Option<Vec<(f32, f32)>> {
    let n_points = points.len();
    let is_usable = points.iter().flat_map(|point| *point).all(|value| value.is_finite());
    if n_points < LEAST_POINTS || !is_usable {
        return None;
    }
    // The crate wants at least three times as many other points.
    let perplexity = PERPLEXITY.min(((n_points - 1) / 3) as f32);
    let mut rng = Xoshiro256PlusPlus::seed_from_u64(0);
    let start: Vec<f32> = (0..2 * n_points).map(|_| rng.random_range(-1e-2..1e-2)).collect();
    // On one thread: several would add numbers up in another order each time.
    let thread = rayon::ThreadPoolBuilder::new().num_threads(1).build().ok()?;
    let places = thread.install(|| {
        let mut tsne: tSNE<'_, f32, &[f32], 2> = tSNE::new(points);
        tsne.perplexity(perplexity).epochs(STEPS).initial_embedding(start);
        tsne.exact(|a, b| squared_distance(a, b));
        tsne.embedding()
    });
    let largest = places.iter().fold(0f32, |largest, value| largest.max(value.abs()));
    if !largest.is_finite() || largest == 0.0 || places.iter().any(|value| value.is_nan()) {
        return None;
    }
    Some(places.chunks_exact(2).map(|place| (place[0] / largest, place[1] / largest)).collect())
}

fn squared_distance(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Points of two groups that are far apart.
    fn points(n: usize) -> Vec<Vec<f32>> {
        let mut rng = Xoshiro256PlusPlus::seed_from_u64(1);
        let group = |row: usize| if row.is_multiple_of(2) { 5.0 } else { -5.0 };
        (0..n)
            .map(|row| (0..4).map(|_| group(row) + rng.random_range(-1.0..1.0)).collect())
            .collect()
    }

    fn places_of(points: &[Vec<f32>]) -> Option<Vec<(f32, f32)>> {
        places(&points.iter().map(Vec::as_slice).collect::<Vec<_>>())
    }

    #[test]
    fn what_is_near_is_drawn_near() {
        let places = places_of(&points(40)).unwrap();
        assert_eq!(places_of(&points(40)).unwrap(), places, "the same points, the same places");
        let distance =
            |a: usize, b: usize| (places[a].0 - places[b].0).hypot(places[a].1 - places[b].1);
        let near = |row: usize| {
            let mut others: Vec<usize> = (0..40).filter(|&other| other != row).collect();
            others.sort_by(|&a, &b| distance(row, a).total_cmp(&distance(row, b)));
            others[0]
        };
        assert!((0..40).all(|row| near(row) % 2 == row % 2));
        assert!(places.iter().all(|place| place.0.abs() <= 1.0 && place.1.abs() <= 1.0));
    }

    #[test]
    fn the_more_neighbors_differ_the_smaller_is_their_largest_group() {
        use crate::runs::NeighborPoint;
        let with = |shared: &[usize]| {
            let point = |&shared: &usize| NeighborPoint { row: 0, shared, embedding: vec![] };
            let neighbors = shared.iter().map(point).collect();
            largest_group(&Neighborhood { row: 0, embedding: vec![], neighbors })
        };
        assert_eq!(with(&[3, 3, 3, 3]), 4);
        assert_eq!(with(&[3, 0, 3, 1]), 2);
        assert_eq!(with(&[]), 0);
    }

    #[test]
    fn too_few_points_and_points_without_a_place_are_not_drawn() {
        assert!(places_of(&points(9)).is_none());
        assert!(places_of(&points(10)).is_some());
        let mut broken = points(20);
        broken[3][0] = f32::NAN;
        assert!(places_of(&broken).is_none());
        // All in the same place: whatever comes, it is no panic.
        let _ = places_of(&vec![vec![1.0; 4]; 20]);
    }
}
