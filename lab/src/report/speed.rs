//! Quality against speed: the micro-F1 of bundles and of other programs over the documents that each tags in a
//! second, as one plot.

use std::fs::File;
use std::io::Read;
use std::num::NonZeroUsize;
use std::path::Path;

use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use serde::Deserialize;

use crate::report::log_axis::LogAxis;
use crate::report::placement::{self, Area};
use crate::report::plot::{self, DrawError, FONT_SIZE, GRID, INK, SERIES, letters};
use crate::{LabError, Result};

/// One tagger's quality and speed.
#[derive(Clone, Debug, PartialEq)]
pub struct SpeedPoint {
    /// The name of the bundle's folder, or of the other program.
    pub name: String,
    /// The kind of tagger.
    pub tagger: TaggerKind,
    /// The micro-F1, within 0..=1.
    pub micro_f1: f64,
    /// The documents tagged in a second, greater than 0.
    pub documents_per_second: f64,
    /// The threads that tagged them.
    pub threads: NonZeroUsize,
}

/// Whose tagger was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaggerKind {
    /// A bundle of this program.
    Bundle,
    /// Another program.
    Peer,
}

/// The measurements in one JSON value of `autotag compare` or `peers.py`.
#[derive(Deserialize)]
struct Measured {
    #[serde(default)]
    bundles: Vec<Entry>,
    #[serde(default)]
    peers: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(alias = "bundle")]
    name: String,
    micro_f1: f64,
    documents_per_second: f64,
    threads: NonZeroUsize,
}

/// The longest file that is read, in bytes.
const MAX_BYTES: u64 = 1 << 20;

/// Reads the points of a file: the JSON of `autotag compare`, once or several times, or of `lab/peers/peers.py`.
///
/// # Errors
///
/// [`LabError::Io`] when the file cannot be read, [`LabError::NotMeasured`] when it holds something else.
pub fn read_speed_points(path: &Path) -> Result<Vec<SpeedPoint>> {
    let mut text = String::new();
    let file = File::open(path).map_err(LabError::io("open", path))?;
    file.take(MAX_BYTES).read_to_string(&mut text).map_err(LabError::io("read", path))?;
    points(&text).map_err(|reason| LabError::NotMeasured { path: path.to_path_buf(), reason })
}

fn points(text: &str) -> Result<Vec<SpeedPoint>, String> {
    let mut points = Vec::new();
    for measured in serde_json::Deserializer::from_str(text).into_iter() {
        let Measured { bundles, peers } = measured.map_err(|error| error.to_string())?;
        for entry in bundles {
            points.push(point(entry, TaggerKind::Bundle)?);
        }
        for entry in peers {
            points.push(point(entry, TaggerKind::Peer)?);
        }
    }
    if points.is_empty() {
        return Err("it has neither bundles nor peers".to_owned());
    }
    Ok(points)
}

fn point(entry: Entry, tagger: TaggerKind) -> Result<SpeedPoint, String> {
    let Entry { name, micro_f1, documents_per_second, threads } = entry;
    if !(0.0..=1.0).contains(&micro_f1) {
        return Err(format!("the micro-F1 of {name:?} is not within 0..=1"));
    }
    if !(documents_per_second.is_finite() && documents_per_second > 0.0) {
        return Err(format!("the documents a second of {name:?} are not greater than 0"));
    }
    let folder = Path::new(&name).file_name().filter(|_| tagger == TaggerKind::Bundle);
    let name = folder.map(|folder| folder.to_string_lossy().into_owned()).unwrap_or(name);
    Ok(SpeedPoint { name, tagger, micro_f1, documents_per_second, threads })
}

const SIZE: (u32, u32) = (820, 500);

/// The room around the plotting area: left, top, right, bottom.
const MARGINS: (u32, u32, u32, u32) = (88, 52, 20, 70);

/// The part of it beyond the axes' names.
const EDGE: u32 = 10;

/// The most characters of a name that are shown.
const MAX_NAME: usize = 40;

/// The largest distance between a marker's center and a label that needs no line.
const BESIDE: f64 = 16.0;

/// The width of a character, which is a bit more than that of most letters, as a share of the font's size.
const CHARACTER: f64 = 0.56;

/// Draws micro-F1 against documents a second, on a logarithmic axis, as an SVG file of its own.
///
/// Of points with the same name the first is drawn. Labels do not overlap where there is room for them.
///
/// # Errors
///
/// [`LabError::Figure`] when there is no point.
pub fn speed_plot(points: &[SpeedPoint]) -> Result<String> {
    const NAME: &str = "Micro-F1 against documents a second";
    let points = distinct(points);
    let Some(first) = points.first() else {
        return Err(LabError::Figure { name: NAME, reason: "there is nothing to draw".to_owned() });
    };
    let threads = first.threads;
    let threads = points.iter().all(|point| point.threads == threads).then_some(threads);
    let labels: Vec<String> = points.iter().map(|point| label(point, threads)).collect();
    plot::draw(NAME, SIZE, |area| {
        area.fill(&WHITE)?;
        legend(area)?;
        let places = axes(area, &points, threads)?;
        for (point, &place) in points.iter().zip(&places) {
            marker(area, place, point.tagger)?;
        }
        write_labels(area, &places, &labels)
    })
}

/// Returns a point's label; where all points have the same number of threads, the axis tells it.
fn label(point: &SpeedPoint, threads: Option<NonZeroUsize>) -> String {
    match threads {
        Some(_) => shown(&point.name),
        None => format!("{}, {}", shown(&point.name), counted(point.threads)),
    }
}

/// Draws the axes, and returns the places of the points in the figure.
fn axes(
    area: &plot::Area<'_>,
    points: &[&SpeedPoint],
    threads: Option<NonZeroUsize>,
) -> Result<Vec<(i32, i32)>, DrawError> {
    let threads = threads.map_or(String::new(), |threads| format!(", {}", counted(threads)));
    let x = LogAxis::of(points.iter().map(|point| point.documents_per_second));
    let qualities: Vec<(f64, f64)> = points.iter().map(|point| (point.micro_f1, 0.0)).collect();
    let y = plot::range(qualities.iter());
    let (left, top, right, bottom) = MARGINS;
    let mut chart = ChartBuilder::on(area)
        .margin_left(EDGE)
        .margin_bottom(EDGE)
        .margin_top(top)
        .margin_right(right)
        .x_label_area_size(bottom - EDGE)
        .y_label_area_size(left - EDGE)
        .build_cartesian_2d(x, y.0..y.1)?;
    chart
        .configure_mesh()
        .y_labels(8)
        .y_label_formatter(&|value| format!("{value:.2}"))
        .x_desc(format!("documents a second{threads} (logarithmic)"))
        .y_desc("micro-F1")
        .axis_style(INK)
        .bold_line_style(GRID)
        .light_line_style(TRANSPARENT)
        .label_style(letters())
        .axis_desc_style(letters())
        .draw()?;
    let place =
        |point: &&SpeedPoint| chart.backend_coord(&(point.documents_per_second, point.micro_f1));
    Ok(points.iter().map(place).collect())
}

/// Leaves out the points whose name came before.
fn distinct(points: &[SpeedPoint]) -> Vec<&SpeedPoint> {
    let mut distinct: Vec<&SpeedPoint> = Vec::with_capacity(points.len());
    for point in points {
        let is_known =
            |known: &&SpeedPoint| known.name == point.name && known.tagger == point.tagger;
        if !distinct.iter().any(is_known) {
            distinct.push(point);
        }
    }
    distinct
}

fn counted(threads: NonZeroUsize) -> String {
    format!("{threads} thread{}", if threads.get() == 1 { "" } else { "s" })
}

/// Returns a name's first characters, without those that XML cannot hold.
fn shown(name: &str) -> String {
    let visible: String = name.chars().filter(|c| !c.is_control()).collect();
    match visible.chars().nth(MAX_NAME) {
        None => visible,
        Some(_) => format!("{}…", visible.chars().take(MAX_NAME - 1).collect::<String>()),
    }
}

/// Draws a circle for a bundle and a triangle for another program.
fn marker(area: &plot::Area<'_>, at: (i32, i32), tagger: TaggerKind) -> Result<(), DrawError> {
    match tagger {
        TaggerKind::Bundle => area.draw(&Circle::new(at, 6, SERIES[0].filled())),
        TaggerKind::Peer => area.draw(&TriangleMarker::new(at, 8, SERIES[1].filled())),
    }
}

fn legend(area: &plot::Area<'_>) -> Result<(), DrawError> {
    let entries = [(TaggerKind::Bundle, 100, "autotag"), (TaggerKind::Peer, 210, "other programs")];
    for (tagger, x, name) in entries {
        marker(area, (x, 26), tagger)?;
        area.draw(&Text::new(name, (x + 14, 17), letters()))?;
    }
    Ok(())
}

/// Writes each point's label near it, with a line between the two where they are apart.
fn write_labels(
    area: &plot::Area<'_>,
    points: &[(i32, i32)],
    labels: &[String],
) -> Result<(), DrawError> {
    let size = |label: &String| {
        let width = label.chars().count() as f64 * CHARACTER * f64::from(FONT_SIZE);
        (width, f64::from(FONT_SIZE))
    };
    let sizes: Vec<(f64, f64)> = labels.iter().map(size).collect();
    let points: Vec<(f64, f64)> =
        points.iter().map(|&(x, y)| (f64::from(x), f64::from(y))).collect();
    let places = placement::place(&points, &sizes, frame());
    for ((place, label), &point) in places.iter().zip(labels).zip(&points) {
        let end = place.nearest(point);
        if (end.0 - point.0).hypot(end.1 - point.1) > BESIDE {
            let ends = vec![pixels(point), pixels(end)];
            area.draw(&PathElement::new(ends, INK.stroke_width(1)))?;
        }
        // The text begins or ends at the side of its place that is nearer to the point.
        let (x, from) = match point.0 {
            x if place.right < x => (place.right, HPos::Right),
            x if place.left > x => (place.left, HPos::Left),
            _ => (f64::midpoint(place.left, place.right), HPos::Center),
        };
        let style = letters().pos(Pos::new(from, VPos::Center));
        let at = pixels((x, f64::midpoint(place.top, place.bottom)));
        area.draw(&Text::new(label.as_str(), at, style))?;
    }
    Ok(())
}

fn pixels((x, y): (f64, f64)) -> (i32, i32) {
    (x.round() as i32, y.round() as i32)
}

/// Returns where labels may stand: within the axes.
fn frame() -> Area {
    let (left, top, right, bottom) = MARGINS;
    Area {
        left: f64::from(left) + 4.0,
        top: f64::from(top) + 4.0,
        right: f64::from(SIZE.0 - right) - 4.0,
        bottom: f64::from(SIZE.1 - bottom) - 4.0,
    }
}
