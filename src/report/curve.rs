//! The training curve as a small SVG: loss above, validation PSNR below, over the same steps.
//!
//! It has no dependency and no script, so it shows wherever an image shows; its colours follow the reader's light or dark scheme. A value
//! that is not a finite number is left out and interrupts nothing.

use std::fmt::Write as _;

use super::format::group_thousands;
use super::inputs::CurvePoint;

/// Width of the picture in user units (pixels at 100 %).
const WIDTH: f64 = 760.0;
/// Left edge of the plotting areas: room for the tick labels and the axis title.
const LEFT: f64 = 78.0;
/// Right edge of the plotting areas.
const RIGHT: f64 = WIDTH - 22.0;
/// Height of one plotting area.
const PANEL_HEIGHT: f64 = 170.0;
/// Top edges of the two plotting areas.
const TOPS: [f64; 2] = [34.0, 254.0];
/// Height of the picture: the step axis is below the second area.
const HEIGHT: f64 = 480.0;
/// The colours of both schemes (text, grid, loss, PSNR); contrast is at least 4.5:1 against white and against GitHub's dark grey.
const STYLE: &str = "text{font:12px system-ui,sans-serif;fill:#1f2328}.t{font-weight:600}.m{text-anchor:middle}.e{text-anchor:end}\
.g{stroke:#d1d9e0;stroke-width:1}.a{stroke:#59636e;stroke-width:1}.l{fill:none;stroke-width:2;stroke-linejoin:round}\
.c0{stroke:#0b62c4}.c1{stroke:#a03c00}.d0{fill:#0b62c4}.d1{fill:#a03c00}\
@media(prefers-color-scheme:dark){text{fill:#e6edf3}.g{stroke:#3d444d}.a{stroke:#9198a1}\
.c0{stroke:#6cb6ff}.c1{stroke:#f0883e}.d0{fill:#6cb6ff}.d1{fill:#f0883e}}";

/// Draws the curve. Points may come in any number, including none; each needs a step, loss and PSNR may be missing.
pub fn render_svg_curve(points: &[CurvePoint]) -> String {
    let series = |value: fn(&CurvePoint) -> Option<f64>| -> Vec<(f64, f64)> {
        let known = points.iter().filter_map(|point| Some((point.step as f64, value(point)?)));
        let mut known: Vec<_> = known.filter(|(_, value)| value.is_finite()).collect();
        known.sort_by(|a, b| a.0.total_cmp(&b.0));
        known
    };
    let panels = [
        ("Training loss", "mean L1 loss", series(|point| point.loss)),
        ("Validation", "PSNR (RGB), dB", series(|point| point.validation_psnr_db)),
    ];
    let last_step =
        panels.iter().flat_map(|(_, _, series)| series).map(|(step, _)| *step).fold(0.0, f64::max);
    let steps = Axis::new(0.0, last_step, LEFT, RIGHT);

    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" role=\"img\">\n\
         <title>Training loss and validation PSNR over optimiser steps</title>\n<style>{STYLE}</style>\n"
    );
    for ((index, (title, unit, series)), top) in panels.iter().enumerate().zip(TOPS) {
        panel(&mut svg, index, (title, unit), series, top, &steps);
    }
    let below = TOPS[1] + PANEL_HEIGHT;
    for step in &steps.ticks {
        text(
            &mut svg,
            "m",
            steps.place(*step),
            below + 18.0,
            &group_thousands(&format!("{step:.*}", steps.decimals)),
        );
    }
    text(&mut svg, "m", (LEFT + RIGHT) / 2.0, below + 42.0, "optimiser steps");
    svg.push_str("</svg>\n");
    svg
}

fn panel(
    svg: &mut String,
    index: usize,
    (title, unit): (&str, &str),
    series: &[(f64, f64)],
    top: f64,
    steps: &Axis,
) {
    let bottom = top + PANEL_HEIGHT;
    let middle = (top + bottom) / 2.0;
    text(svg, "t", LEFT, top - 12.0, title);
    line(svg, "a", [LEFT, top], [LEFT, bottom]);
    line(svg, "a", [LEFT, bottom], [RIGHT, bottom]);
    let _ =
        writeln!(svg, "<text class=\"m\" transform=\"translate(16 {middle:.1}) rotate(-90)\">{unit}</text>");
    if series.is_empty() {
        text(svg, "m", (LEFT + RIGHT) / 2.0, middle, "no values");
        return;
    }
    let values = || series.iter().map(|(_, value)| *value);
    let (low, high) = (values().fold(f64::INFINITY, f64::min), values().fold(f64::NEG_INFINITY, f64::max));
    let axis = Axis::new(low, high, bottom, top);
    for tick in &axis.ticks {
        let y = axis.place(*tick);
        line(svg, "g", [LEFT, y], [RIGHT, y]);
        text(svg, "e", LEFT - 8.0, y + 4.0, &format!("{tick:.*}", axis.decimals));
    }
    let place = |(step, value): &(f64, f64)| (steps.place(*step), axis.place(*value));
    let path: Vec<String> = series.iter().map(place).map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
    let _ = writeln!(svg, "<polyline class=\"l c{index}\" points=\"{}\"/>", path.join(" "));
    // The last value is what a reader looks for; a single value has no line and shows only as this dot.
    if let Some((x, y)) = series.last().map(place) {
        let _ = writeln!(svg, "<circle class=\"d{index}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\"/>");
    }
}

fn line(svg: &mut String, class: &str, [x1, y1]: [f64; 2], [x2, y2]: [f64; 2]) {
    let _ = writeln!(
        svg,
        "<line class=\"{class}\" x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\"/>"
    );
}

/// Text is ours alone (titles and digits), so nothing in it needs escaping.
fn text(svg: &mut String, class: &str, x: f64, y: f64, content: &str) {
    let _ = writeln!(svg, "<text class=\"{class}\" x=\"{x:.1}\" y=\"{y:.1}\">{content}</text>");
}

/// Maps values to positions, with round tick values inside the range.
struct Axis {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
    ticks: Vec<f64>,
    decimals: usize,
}

impl Axis {
    /// An axis whose ends are round values around `[low, high]`, from position `from` to position `to`.
    fn new(low: f64, high: f64, from: f64, to: f64) -> Self {
        // A single value, or values that differ by less than they can be told apart, get a range around them.
        let least = (low.abs().max(high.abs()) * 1e-6).max(1e-12);
        let (low, high) = if high - low > least {
            (low, high)
        } else {
            let half = if low == 0.0 { 0.5 } else { low.abs() * 0.05 };
            (low - if low == 0.0 { 0.0 } else { half }, high + half)
        };
        let step = round_step((high - low) / 4.0);
        let first = (low / step).floor();
        let last = (high / step).ceil();
        // At most some eight ticks by the choice of the step; the limit guards against rounding at the ends.
        let count = ((last - first).clamp(1.0, 16.0)) as usize;
        let ticks = (0..=count).map(|index| (first + index as f64) * step).collect();
        let decimals = (-step.log10().floor()).clamp(0.0, 12.0) as usize;
        Self { low: first * step, high: last * step, from, to, ticks, decimals }
    }

    fn place(&self, value: f64) -> f64 {
        self.from + (value - self.low) / (self.high - self.low) * (self.to - self.from)
    }
}

/// The next of 1, 2 and 5 times a power of ten that is not below `rough`.
fn round_step(rough: f64) -> f64 {
    let power = 10f64.powf(rough.log10().floor());
    let factors = [1.0, 2.0, 5.0];
    factors.into_iter().find(|factor| factor * power >= rough * (1.0 - 1e-9)).unwrap_or(10.0) * power
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every element is closed and every number is one: a plain check that needs no XML reader.
    fn assert_well_formed(svg: &str) {
        let mut open = Vec::new();
        for tag in svg.split('<').skip(1) {
            let (tag, _) = tag.split_once('>').expect("a tag ends");
            let name = tag.split([' ', '/']).find(|part| !part.is_empty()).unwrap();
            if tag.starts_with('/') {
                assert_eq!(open.pop(), Some(name), "closing tags match");
            } else if !tag.ends_with('/') {
                open.push(name);
            }
            assert_eq!(tag.matches('"').count() % 2, 0, "quotes are paired in {tag}");
        }
        assert!(open.is_empty(), "{open:?} are left open");
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }

    fn point(step: u64, loss: f64, psnr: Option<f64>) -> CurvePoint {
        CurvePoint { step, loss: Some(loss), validation_psnr_db: psnr }
    }

    #[test]
    fn no_points_one_point_and_many_are_well_formed() {
        let none = render_svg_curve(&[]);
        assert_well_formed(&none);
        assert_eq!(none.matches("no values").count(), 2);

        let one = render_svg_curve(&[point(10, 0.04, None)]);
        assert_well_formed(&one);
        assert_eq!((one.matches("<circle").count(), one.matches("no values").count()), (1, 1));

        let many: Vec<_> = (0..101)
            .map(|i| {
                point(
                    i * 100,
                    0.1 / (1.0 + i as f64 / 20.0),
                    (i % 10 == 0).then_some(28.0 - 40.0 / (10.0 + i as f64)),
                )
            })
            .collect();
        let many = render_svg_curve(&many);
        assert_well_formed(&many);
        insta::with_settings!({ omit_expression => true }, {
            insta::assert_snapshot!("curve", many);
        });
        assert!(
            many.contains("10,000") && many.contains("PSNR (RGB), dB") && many.contains("optimiser steps")
        );
    }

    #[test]
    fn values_that_are_not_numbers_are_left_out() {
        let clean = [point(0, 0.5, Some(20.0)), point(20, 0.25, Some(21.0))];
        let mut dirty = clean.to_vec();
        dirty.push(point(10, f64::NAN, Some(f64::INFINITY)));
        assert_eq!(render_svg_curve(&dirty), render_svg_curve(&clean));
        assert_well_formed(&render_svg_curve(&[point(0, f64::NAN, Some(f64::NEG_INFINITY))]));
    }

    #[test]
    fn extreme_values_stay_inside_the_panel() {
        for values in
            [[0.0, 0.0], [1e-9, 1e-9], [-5.0, 5.0], [1e9, 1e9 + 1.0], [3.0, 3.0 + 1e-7], [0.0, 1e300]]
        {
            let svg = render_svg_curve(&[point(0, values[0], None), point(u64::MAX, values[1], None)]);
            assert_well_formed(&svg);
            let line = svg.split("points=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
            for pair in line.split(' ') {
                let (x, y) = pair.split_once(',').unwrap();
                let (x, y): (f64, f64) = (x.parse().unwrap(), y.parse().unwrap());
                assert!((LEFT - 0.1..=RIGHT + 0.1).contains(&x), "{values:?}: x = {x}");
                assert!((TOPS[0] - 0.1..=TOPS[0] + PANEL_HEIGHT + 0.1).contains(&y), "{values:?}: y = {y}");
            }
        }
    }

    #[test]
    fn ticks_are_round() {
        let axis = Axis::new(0.0, 9_980.0, 0.0, 1.0);
        assert_eq!(axis.ticks, [0.0, 5000.0, 10000.0]);
        let axis = Axis::new(24.1, 28.9, 1.0, 0.0);
        assert_eq!((axis.ticks.first().copied(), axis.ticks.last().copied()), (Some(24.0), Some(30.0)));
    }
}
