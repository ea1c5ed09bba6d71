//! The figures, drawn as SVG that takes its colors from the page.
//!
//! Colors are fixed here; the page's style sheet replaces each by one for a light or a dark page. Lines also
//! differ in dashes and markers, points in shapes, so that color is not needed to read them.

use plotters::coord::Shift;
use plotters::coord::types::{RangedCoordf64, RangedCoordi32};
use plotters::prelude::*;

use crate::{LabError, Result};

/// Text and axes.
pub(super) const INK: RGBColor = RGBColor(0x1a, 0x1a, 0x1a);
/// Grid lines.
pub(super) const GRID: RGBColor = RGBColor(0xd8, 0xd8, 0xd8);
/// The series, in order.
pub(super) const SERIES: [RGBColor; 3] =
    [RGBColor(0x1f, 0x5f, 0xa8), RGBColor(0xc2, 0x41, 0x0c), RGBColor(0x15, 0x80, 0x3d)];

/// The size of a figure in its own units; the page scales it.
const SIZE: (u32, u32) = (560, 360);

/// The size of a map, whose axes are alike.
const MAP_SIZE: (u32, u32) = (440, 440);

/// The font size.
pub(super) const FONT_SIZE: u32 = 18;

/// The size of a marker.
const MARKER: i32 = 5;

/// Lines over a horizontal axis with names.
pub(super) struct Lines {
    /// The figure's name, in errors and for screen readers.
    pub(super) name: &'static str,
    /// The labels of the horizontal and the vertical axis.
    pub(super) axes: (String, String),
    /// The names on the horizontal axis.
    pub(super) x: Vec<String>,
    /// The lines, at most as many as there are colors.
    pub(super) series: Vec<Series>,
}

/// One line.
pub(super) struct Series {
    /// Its values, each with its deviation, drawn as whiskers.
    pub(super) values: Vec<(f64, f64)>,
}

pub(super) type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;
type Chart<'a, 'b> = ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;
type NamedChart<'a, 'b> =
    ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordi32, RangedCoordf64>>;

/// Draws lines over names.
pub(super) fn lines(figure: &Lines) -> Result<String> {
    draw(figure.name, SIZE, |area| {
        let last = figure.x.len().saturating_sub(1).max(1) as i32;
        let (low, high) = range(figure.series.iter().flat_map(|series| &series.values));
        let mut chart = ChartBuilder::on(area)
            .margin(12)
            .margin_right(34)
            .x_label_area_size(58)
            .y_label_area_size(80)
            .build_cartesian_2d(0..last, low..high)?;
        let name = |position: &i32| {
            usize::try_from(*position)
                .ok()
                .and_then(|position| figure.x.get(position))
                .cloned()
                .unwrap_or_default()
        };
        chart
            .configure_mesh()
            .x_labels(figure.x.len().max(2))
            .x_label_formatter(&name)
            .y_labels(6)
            .y_label_formatter(&|value| format!("{value:.3}"))
            .x_desc(figure.axes.0.as_str())
            .y_desc(figure.axes.1.as_str())
            .axis_style(INK)
            .bold_line_style(GRID)
            .light_line_style(TRANSPARENT)
            .label_style(letters())
            .axis_desc_style(letters())
            .draw()?;
        for (position, series) in figure.series.iter().enumerate() {
            line(&mut chart, position, series)?;
        }
        Ok(())
    })
}

pub(super) fn letters() -> TextStyle<'static> {
    ("sans-serif", FONT_SIZE).into_font().color(&INK)
}

/// Returns the range of values with their deviations, and a margin.
pub(super) fn range<'a>(values: impl Iterator<Item = &'a (f64, f64)>) -> (f64, f64) {
    let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
    for (value, deviation) in values {
        (low, high) = (low.min(value - deviation), high.max(value + deviation));
    }
    if !low.is_finite() || !high.is_finite() {
        return (0.0, 1.0);
    }
    let room = ((high - low) * 0.08).max(0.005);
    ((low - room).max(0.0), high + room)
}

fn line(chart: &mut NamedChart<'_, '_>, position: usize, series: &Series) -> Result<(), DrawError> {
    let ink = SERIES[position % SERIES.len()];
    let style = ink.stroke_width(2);
    let points: Vec<(i32, f64)> =
        (0..).zip(series.values.iter().map(|(value, _)| *value)).collect();
    match position {
        0 => drop(chart.draw_series(LineSeries::new(points.clone(), style))?),
        1 => drop(chart.draw_series(DashedLineSeries::new(points.clone(), 9, 5, style))?),
        _ => drop(chart.draw_series(DashedLineSeries::new(points.clone(), 2, 4, style))?),
    }
    for (x, &(value, deviation)) in (0..).zip(&series.values) {
        if deviation > 0.0 {
            let ends = vec![(x, value - deviation), (x, value + deviation)];
            chart.draw_series([PathElement::new(ends, ink.stroke_width(1))])?;
        }
    }
    match position {
        0 => drop(
            chart.draw_series(points.iter().map(|&at| Circle::new(at, MARKER, ink.filled())))?,
        ),
        1 => drop(chart.draw_series(
            points.iter().map(|&at| TriangleMarker::new(at, MARKER + 2, ink.filled())),
        )?),
        _ => drop(chart.draw_series(points.iter().map(|&at| Cross::new(at, MARKER, style)))?),
    }
    Ok(())
}

/// Points with names over scores from 0 to 1, and the line on which score and share agree.
pub(super) fn reliability(name: &'static str, series: &[Vec<(f64, f64)>]) -> Result<String> {
    draw(name, SIZE, |area| {
        let mut chart = ChartBuilder::on(area)
            .margin(12)
            .margin_right(34)
            .x_label_area_size(58)
            .y_label_area_size(80)
            .build_cartesian_2d(0.0..1.0, 0.0..1.0)?;
        chart
            .configure_mesh()
            .x_labels(6)
            .y_labels(6)
            .x_label_formatter(&|value| format!("{value:.1}"))
            .y_label_formatter(&|value| format!("{value:.1}"))
            .x_desc("mean score")
            .y_desc("share of right labels")
            .axis_style(INK)
            .bold_line_style(GRID)
            .light_line_style(TRANSPARENT)
            .label_style(letters())
            .axis_desc_style(letters())
            .draw()?;
        chart.draw_series(DashedLineSeries::new(
            [(0.0, 0.0), (1.0, 1.0)],
            3,
            5,
            INK.stroke_width(1),
        ))?;
        for (position, points) in series.iter().enumerate() {
            let ink = SERIES[position % SERIES.len()];
            let style = ink.stroke_width(2);
            match position {
                0 => {
                    chart.draw_series(LineSeries::new(points.clone(), style))?;
                    chart.draw_series(
                        points.iter().map(|&at| Circle::new(at, MARKER, ink.filled())),
                    )?;
                }
                _ => {
                    chart.draw_series(DashedLineSeries::new(points.clone(), 9, 5, style))?;
                    chart.draw_series(
                        points.iter().map(|&at| TriangleMarker::new(at, MARKER + 2, ink.filled())),
                    )?;
                }
            }
        }
        Ok(())
    })
}

/// The most shared labels that a map distinguishes; more count as so many.
pub(super) const MOST_SHARED: usize = 3;

/// Draws a text among its neighbors, each with the shape of the number of labels it shares: an empty
/// circle for none, a cross for one, a triangle for two, a full circle for three and more.
pub(super) fn map(
    name: &'static str,
    text: (f32, f32),
    neighbors: &[((f32, f32), usize)],
) -> Result<String> {
    draw(name, MAP_SIZE, |area| {
        let mut chart =
            ChartBuilder::on(area).margin(2).build_cartesian_2d(-1.12..1.12, -1.12..1.12)?;
        let corners = [(-1.12, 1.12), (1.12, -1.12)];
        chart.draw_series([Rectangle::new(corners, GRID.stroke_width(1))])?;
        let place = |(x, y): (f32, f32)| (f64::from(x), f64::from(y));
        for &(at, shared) in neighbors {
            point(&mut chart, place(at), shared)?;
        }
        let (x, y) = place(text);
        let at = chart.backend_coord(&(x, y));
        star(area, at)
    })
}

fn point(chart: &mut Chart<'_, '_>, at: (f64, f64), shared: usize) -> Result<(), DrawError> {
    match shared {
        0 => drop(chart.draw_series([Circle::new(at, MARKER, INK.stroke_width(1))])?),
        1 => drop(chart.draw_series([Cross::new(at, MARKER, SERIES[1].stroke_width(2))])?),
        2 => drop(chart.draw_series([TriangleMarker::new(at, MARKER + 2, SERIES[2].filled())])?),
        _ => drop(chart.draw_series([Circle::new(at, MARKER + 1, SERIES[0].filled())])?),
    }
    Ok(())
}

/// Draws a star of five points.
fn star(area: &Area<'_>, (x, y): (i32, i32)) -> Result<(), DrawError> {
    let corner = |number: u32| {
        let angle = f64::from(number) * std::f64::consts::PI / 5.0;
        let length = if number.is_multiple_of(2) { 13.0 } else { 5.5 };
        (x + (angle.sin() * length).round() as i32, y - (angle.cos() * length).round() as i32)
    };
    let corners: Vec<(i32, i32)> = (0..10).map(corner).collect();
    area.draw(&Polygon::new(corners, INK.filled()))
}

pub(super) type DrawError = DrawingAreaErrorKind<std::io::Error>;

/// Draws on an empty area and returns the SVG, with its name for screen readers.
pub(super) fn draw(
    name: &'static str,
    size: (u32, u32),
    paint: impl FnOnce(&Area<'_>) -> Result<(), DrawError>,
) -> Result<String> {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
        let fail = |error: DrawError| LabError::Figure { name, reason: error.to_string() };
        paint(&area).map_err(fail)?;
        area.present().map_err(fail)?;
    }
    Ok(svg.replacen(
        "<svg ",
        &format!("<svg role=\"img\" aria-label=\"{name}\" class=\"plot\" "),
        1,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines_of(values: &[f64]) -> String {
        let series = Series { values: values.iter().map(|&value| (value, 0.01)).collect() };
        lines(&Lines {
            name: "a figure",
            axes: ("k".to_owned(), "F1".to_owned()),
            x: (0..values.len()).map(|x| format!("x{x}")).collect(),
            series: vec![series],
        })
        .unwrap()
    }

    #[test]
    fn every_value_has_its_marker_and_every_place_its_name() {
        let svg = lines_of(&[0.1, 0.5, 0.4]);
        assert!(svg.starts_with("<svg role=\"img\" aria-label=\"a figure\""), "{svg}");
        assert_eq!(svg.matches("<circle").count(), 3);
        assert!(["x0", "x1", "x2"].iter().all(|name| svg.contains(name)));
    }

    #[test]
    fn figures_with_little_or_odd_in_them_are_drawn_too() {
        for values in [&[][..], &[0.5], &[0.0, 0.0], &[f64::NAN, 0.5], &[f64::INFINITY]] {
            assert!(lines_of(values).contains("</svg>"), "{values:?}");
        }
        assert!(reliability("r", &[vec![], vec![(0.5, 0.5)]]).unwrap().contains("</svg>"));
        assert!(map("m", (0.0, 0.0), &[]).unwrap().contains("<polygon"));
    }

    #[test]
    fn shapes_tell_how_many_labels_are_shared() {
        let svg = map("m", (0.0, 0.0), &[((0.1, 0.1), 0), ((0.2, 0.1), 7)]).unwrap();
        let circles: Vec<&str> = svg.lines().filter(|line| line.contains("<circle")).collect();
        assert_eq!(circles.len(), 2);
        assert!(circles[0].contains("fill=\"none\"") != circles[1].contains("fill=\"none\""));
    }
}
