//! The report's plots as SVG text, each in two shapes: for a desk's width and for a phone's. The page shows the one that
//! fits, with the colours of the reader's scheme; see `html.rs`.

use plotters::chart::ChartContext;
use plotters::coord::Shift;
use plotters::coord::ranged1d::{Ranged, ValueFormatter};
use plotters::coord::types::RangedCoordf64;
use plotters::prelude::*;

use super::{CurvePoint, Mark};
use crate::observer::OriginPoint;
use crate::recorder::TimelinePoint;

const FONT: &str = "sans-serif";
/// Colours that also colour-blind readers tell apart (Okabe and Ito), and their order in the legend.
pub(crate) const COLOURS: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(160, 120, 0),
];
pub(crate) const MARK_COLOUR: RGBColor = RGBColor(120, 120, 120);
const LABEL_SIZE: i32 = 11;
const LABEL_ROW_HEIGHT: i32 = LABEL_SIZE + 1;
/// An upper bound on the width of a character of a label, in pixels: the browser chooses the font.
const LABEL_CHARACTER_WIDTH: i32 = 7;
/// Pixels between a mark's line and its label, and between two labels of a row.
const LABEL_GAP: i32 = 3;
/// The points of a line, at most: more than there are pixels cost only bytes.
const POINTS_MAX: usize = 800;

/// The shape of a drawing.
#[derive(Debug, Clone, Copy)]
struct Shape {
    class: &'static str,
    width: u32,
    height: u32,
    x_labels: usize,
}

const SHAPES: [Shape; 2] = [
    Shape { class: "desk", width: 920, height: 300, x_labels: 10 },
    Shape { class: "phone", width: 380, height: 280, x_labels: 4 },
];

/// A line in a plot.
#[derive(Debug, Clone)]
pub struct Line {
    /// Its name in the legend.
    pub name: String,
    /// Its points, by rising x.
    pub points: Vec<(f64, f64)>,
}

/// A plot that can't be drawn, which is a fault of this program.
#[derive(Debug, thiserror::Error)]
#[error("a plot can't be drawn: {0}")]
pub struct PlotError(String);

type Area<'s> = DrawingArea<SVGBackend<'s>, Shift>;

impl Line {
    /// A figure of a timeline. The last answers come after the last request is due; a point of only these misleads.
    pub fn over<'p>(
        name: &str,
        points: impl Iterator<Item = &'p TimelinePoint>,
        value: impl Fn(&TimelinePoint) -> f64,
    ) -> Self {
        let points = points.filter(|point| point.requests > 0);
        let points = points.map(|point| (point.t_ms as f64 / 1_000.0, value(point)));
        Self { name: name.to_owned(), points: points.collect() }
    }
}

/// The latencies of a timeline.
///
/// # Errors
/// [`PlotError`].
pub fn latencies<'p>(
    points: impl Iterator<Item = &'p TimelinePoint> + Clone,
    marks: &[Mark],
) -> Result<String, PlotError> {
    let line = |name: &str, us: fn(&TimelinePoint) -> u64| {
        Line::over(name, points.clone(), |point| us(point) as f64 / 1_000.0)
    };
    let lines = [
        line("p50", |point| point.p50_us),
        line("p99", |point| point.p99_us),
        line("p99.9", |point| point.p999_us),
        line("max", |point| point.max_us),
    ];
    over_time("Latency from the scheduled time", "ms", &lines, marks, true)
}

/// How often the database was asked.
///
/// # Errors
/// [`PlotError`].
pub fn database_load(points: &[OriginPoint], marks: &[Mark]) -> Result<String, PlotError> {
    let points = points.iter().map(|point| (point.t_ms / 1_000.0, point.reads_per_s));
    let reads = Line { name: "reads".to_owned(), points: points.collect() };
    over_time("Load of the database", "per second", &[reads], marks, false)
}

/// Lines over time with marks. With `is_log` the y axis is logarithmic. Of lines with very many points, the highest of
/// those that are close together are drawn.
///
/// # Errors
/// [`PlotError`].
pub fn over_time(
    title: &str,
    unit: &str,
    lines: &[Line],
    marks: &[Mark],
    is_log: bool,
) -> Result<String, PlotError> {
    let lines: Vec<Line> = lines.iter().map(Line::thinned).collect();
    let lines = &lines[..];
    // A plot needs a width, whatever happened when.
    let end = marks.iter().map(|mark| mark.t_s).fold(last_x(lines), f64::max);
    let top = highest_y(lines);
    // The labels of marks are at the top.
    let legend_at = match marks.is_empty() {
        true => SeriesLabelPosition::UpperRight,
        false => SeriesLabelPosition::LowerRight,
    };
    draw(|area, shape| {
        let mut builder = ChartBuilder::on(area);
        builder.caption(title, (FONT, 15)).margin(8).x_label_area_size(32).y_label_area_size(56);
        let plot = OverTime { unit, lines, marks, end, legend_at: legend_at.clone(), shape };
        match is_log {
            true => {
                let (low, high) = (lowest_y(lines), top * 2.0);
                let axis = (low..high).log_scale();
                plot.draw(builder.build_cartesian_2d(0.0..end, axis)?, (low, high))
            }
            false => {
                let high = top * 1.25;
                plot.draw(builder.build_cartesian_2d(0.0..end, 0.0..high)?, (0.0, high))
            }
        }
    })
}

/// The contents of a plot over time, whatever its y axis.
struct OverTime<'l> {
    unit: &'l str,
    lines: &'l [Line],
    marks: &'l [Mark],
    end: f64,
    legend_at: SeriesLabelPosition,
    shape: Shape,
}

impl OverTime<'_> {
    /// Draws it between these ends of the y axis.
    fn draw<'a, Y>(
        self,
        mut chart: ChartContext<'a, SVGBackend<'a>, Cartesian2d<RangedCoordf64, Y>>,
        (low, high): (f64, f64),
    ) -> DrawResult
    where
        Y: Ranged<ValueType = f64> + ValueFormatter<f64>,
    {
        let Self { unit, lines, marks, end, legend_at, shape } = self;
        chart
            .configure_mesh()
            .x_labels(shape.x_labels)
            .x_desc("seconds")
            .y_desc(unit)
            .light_line_style(TRANSPARENT)
            .draw()?;
        for (line, colour) in lines.iter().zip(COLOURS.iter().cycle()) {
            let floored = line.points.iter().map(|(x, y)| (*x, y.max(low)));
            let drawn = chart.draw_series(LineSeries::new(floored, colour.stroke_width(2)))?;
            drawn.label(&line.name).legend(move |at| legend(at, *colour));
        }
        for mark in marks {
            let line = [(mark.t_s, low), (mark.t_s, high)];
            chart.draw_series([PathElement::new(line, MARK_COLOUR.stroke_width(1))])?;
        }
        labels(&chart.plotting_area().strip_coord_spec(), marks, end)?;
        legend_box(chart.configure_series_labels(), legend_at)
    }
}

/// Percentile curves; x counts nines: 50 %, 90 %, 99 %, 99.9 %, …
///
/// # Errors
/// [`PlotError`].
pub fn percentiles(title: &str, curves: &[(&str, &[CurvePoint])]) -> Result<String, PlotError> {
    let lines: Vec<Line> = curves
        .iter()
        .map(|(name, points)| Line {
            name: (*name).to_owned(),
            points: points
                .iter()
                .map(|point| (-(1.0 - point.quantile).log10(), point.us as f64 / 1_000.0))
                .collect(),
        })
        .collect();
    let (low, top, end) = (lowest_y(&lines), highest_y(&lines), last_x(&lines));
    draw(|area, _| {
        let mut chart = ChartBuilder::on(area)
            .caption(title, (FONT, 15))
            .margin(8)
            .x_label_area_size(32)
            .y_label_area_size(64)
            .build_cartesian_2d(0.0..end, (low..top * 2.0).log_scale())?;
        chart
            .configure_mesh()
            .x_desc("percentile")
            .y_desc("ms")
            .x_labels(6)
            .x_label_formatter(&|nines| percent(*nines))
            .light_line_style(TRANSPARENT)
            .draw()?;
        for (line, colour) in lines.iter().zip(COLOURS.iter().cycle()) {
            let floored = line.points.iter().map(|(x, y)| (*x, y.max(low)));
            let drawn = chart.draw_series(LineSeries::new(floored, colour.stroke_width(2)))?;
            drawn.label(&line.name).legend(move |at| legend(at, *colour));
        }
        legend_box(chart.configure_series_labels(), SeriesLabelPosition::UpperLeft)
    })
}

type DrawResult = Result<(), Box<dyn std::error::Error>>;

/// Draws each shape.
fn draw(body: impl Fn(&Area<'_>, Shape) -> DrawResult) -> Result<String, PlotError> {
    let mut all = String::new();
    for shape in SHAPES {
        let mut svg = String::new();
        let area =
            SVGBackend::with_string(&mut svg, (shape.width, shape.height)).into_drawing_area();
        let drawn = area
            .fill(&WHITE)
            .map_err(Into::into)
            .and_then(|()| body(&area, shape))
            .and_then(|()| area.present().map_err(Into::into));
        drop(area);
        drawn.map_err(|error: Box<dyn std::error::Error>| PlotError(error.to_string()))?;
        all += &format!("<div class=\"{}\">{svg}</div>", shape.class);
    }
    Ok(all)
}

impl Line {
    /// The line with so few points that it can be drawn.
    fn thinned(&self) -> Self {
        let each = self.points.len().div_ceil(POINTS_MAX).max(1);
        let highest = |points: &[(f64, f64)]| {
            points.iter().copied().reduce(|a, b| if b.1 > a.1 { b } else { a })
        };
        let points = self.points.chunks(each).filter_map(highest).collect();
        Self { name: self.name.clone(), points }
    }
}

fn legend(at: (i32, i32), colour: RGBColor) -> PathElement<(i32, i32)> {
    PathElement::new([at, (at.0 + 18, at.1)], colour.stroke_width(2))
}

fn legend_box<'a, 'b, C: CoordTranslate>(
    mut style: plotters::chart::SeriesLabelStyle<'a, 'b, SVGBackend<'a>, C>,
    position: SeriesLabelPosition,
) -> DrawResult
where
    'a: 'b,
{
    style
        .position(position)
        .background_style(WHITE.mix(0.85))
        .border_style(MARK_COLOUR)
        .label_font((FONT, 12))
        .draw()?;
    Ok(())
}

fn labels(area: &Area<'_>, marks: &[Mark], end: f64) -> DrawResult {
    let (width, _) = area.dim_in_pixel();
    let style = (FONT, LABEL_SIZE).into_font().color(&BLACK);
    for (mark, at) in marks.iter().zip(label_places(marks, end, width.cast_signed())) {
        area.draw(&Text::new(mark.label.clone(), at, style.clone()))?;
    }
    Ok(())
}

/// Returns the place of each label in pixels: right of its mark, or left of it at the end of the
/// plot, in the uppermost row in which it touches no other label.
fn label_places(marks: &[Mark], end: f64, width: i32) -> Vec<(i32, i32)> {
    let mut rows: Vec<Vec<(i32, i32)>> = Vec::new();
    let mut places = Vec::new();
    for mark in marks {
        let line = (mark.t_s / end * f64::from(width)) as i32;
        let long = i32::try_from(mark.label.chars().count()).unwrap_or(i32::MAX);
        let long = long.saturating_mul(LABEL_CHARACTER_WIDTH).min(width);
        let right = line + LABEL_GAP;
        let left = if right + long > width { (line - LABEL_GAP - long).max(0) } else { right };
        let span = (left - LABEL_GAP, left + long);
        let is_free = |row: &[(i32, i32)]| row.iter().all(|(l, r)| span.1 < *l || *r < span.0);
        let row = rows.iter().position(|row| is_free(row)).unwrap_or(rows.len());
        if row == rows.len() {
            rows.push(Vec::new());
        }
        rows[row].push(span);
        places.push((left, 2 + i32::try_from(row).unwrap_or(0) * LABEL_ROW_HEIGHT));
    }
    places
}

fn percent(nines: f64) -> String {
    let percent = (1.0 - 10f64.powf(-nines)) * 100.0;
    let digits = (nines - 2.0).ceil().max(0.0) as usize;
    format!("{percent:.digits$} %")
}

fn last_x(lines: &[Line]) -> f64 {
    let last = lines.iter().filter_map(|line| line.points.last()).map(|(x, _)| *x);
    last.fold(1.0, f64::max)
}

fn highest_y(lines: &[Line]) -> f64 {
    all_y(lines).fold(1.0, f64::max)
}

/// Returns the beginning of a logarithmic axis: the lowest value above zero.
fn lowest_y(lines: &[Line]) -> f64 {
    all_y(lines).filter(|y| *y > 0.0).fold(1.0, f64::min) * 0.8
}

fn all_y(lines: &[Line]) -> impl Iterator<Item = f64> + '_ {
    lines.iter().flat_map(|line| line.points.iter().map(|(_, y)| *y))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line() -> Line {
        Line { name: "p99 <of> all".to_owned(), points: vec![(0.0, 0.0), (1.0, 250.5), (2.0, 3.0)] }
    }

    #[test]
    fn plots_are_svg_with_their_names() {
        let mark = Mark { t_s: 0.5, label: "killed".to_owned() };
        for is_log in [false, true] {
            let svg =
                over_time("a & b", "ms", &[line()], std::slice::from_ref(&mark), is_log).unwrap();
            assert_eq!((svg.matches("<svg").count(), svg.matches("</svg>").count()), (2, 2));
            assert!(svg.contains("killed") && svg.contains("seconds"));
            assert!(!svg.contains("<of>"), "text is escaped");
            assert!(!svg.contains("stroke=\"#FFFFFF\""), "nothing that nobody sees");
        }
        let points = [CurvePoint { quantile: 0.0, us: 10 }, CurvePoint { quantile: 0.99, us: 900 }];
        let svg = percentiles("percentiles", &[("before", &points)]).unwrap();
        assert!(svg.contains("before"));
    }

    #[test]
    fn labels_do_not_overlap() {
        let marks: Vec<Mark> = [4.0, 4.001, 4.01, 4.02, 5.2, 8.9, 9.0, 9.3, 9.99, 10.0]
            .iter()
            .map(|t_s| Mark { t_s: *t_s, label: format!("label of {t_s}") })
            .collect();
        let width = 840;
        let places = label_places(&marks, 10.0, width);
        let boxes: Vec<_> = marks
            .iter()
            .zip(&places)
            .map(|(mark, (x, y))| {
                let long = mark.label.len() as i32 * LABEL_CHARACTER_WIDTH;
                (*x, x + long, *y, y + LABEL_SIZE)
            })
            .collect();
        for (index, a) in boxes.iter().enumerate() {
            assert!(a.0 >= 0 && a.1 <= width, "{a:?} is in the plot");
            for b in &boxes[..index] {
                let apart = a.1 <= b.0 || b.1 <= a.0 || a.3 <= b.2 || b.3 <= a.2;
                assert!(apart, "{a:?} {b:?}");
            }
        }
        assert_eq!(places[4].1, places[0].1, "a label far from the others is in the first row");
    }

    #[test]
    fn many_points_are_thinned_and_peaks_stay() {
        let mut points: Vec<_> = (0..36_000).map(|x| (f64::from(x), 1.0)).collect();
        points[17_777].1 = 9.0;
        let thin = Line { name: String::new(), points }.thinned();
        assert!(thin.points.len() <= POINTS_MAX);
        assert!(thin.points.contains(&(17_777.0, 9.0)));
        assert_eq!(line().thinned().points, line().points);
    }

    #[test]
    fn nothing_to_draw_is_no_error() {
        assert!(over_time("t", "u", &[], &[], true).is_ok());
        assert!(percentiles("t", &[("x", &[])]).is_ok());
    }

    #[test]
    fn nines_are_percentiles() {
        let shown: Vec<String> = [0.0, 1.0, 2.0, 3.0, 4.0].map(percent).to_vec();
        assert_eq!(shown, ["0 %", "90 %", "99 %", "99.9 %", "99.99 %"]);
    }
}
