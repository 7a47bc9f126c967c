//! A line chart as SVG: time a pod against nodes, both axes logarithmic, so that a straight line with a slope of one
//! means "grows as the cluster does" and a flat one "does not grow".

use std::fmt::Write as _;

/// One workload.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub name: &'static str,
    /// Nodes and microseconds a pod, by nodes.
    pub points: Vec<(f64, f64)>,
}

/// Pixels: the picture, and around the chart.
const WIDTH: f64 = 980.0;
const HEIGHT: f64 = 600.0;
const LEFT: f64 = 80.0;
const RIGHT: f64 = 300.0;
const TOP: f64 = 50.0;
const BOTTOM: f64 = 60.0;
/// Pixels between two names in the legend.
const LEGEND_STEP: f64 = 22.0;
/// Colours that differ also for those who see red and green alike, with two strokes each.
const COLOURS: [&str; 8] =
    ["#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#56b4e9", "#000000", "#8c6d1f"];
/// Dots of the second stroke.
const DASHES: &str = "6 4";

/// Where values go.
struct Axes {
    x: (f64, f64),
    y: (f64, f64),
}

/// Draws the chart.
pub(crate) fn svg(lines: &[Line]) -> String {
    let axes = Axes::around(lines);
    let mut out = String::new();
    let _ = writeln!(
        out,
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="13">"#
    );
    let _ = writeln!(out, r#"<rect width="100%" height="100%" fill="white"/>"#);
    text(&mut out, LEFT, TOP - 20.0, "start", "Time a pod, end to end, by the number of nodes");
    grid(&mut out, &axes, lines);
    for (at, line) in lines.iter().enumerate() {
        draw(&mut out, &axes, at, line);
    }
    out.push_str("</svg>\n");
    out
}

impl Axes {
    fn around(lines: &[Line]) -> Self {
        let points = || lines.iter().flat_map(|line| &line.points);
        let range = |values: &mut dyn Iterator<Item = f64>| {
            values.fold((f64::INFINITY, 0.0), |(least, most), value| (value.min(least), value.max(most)))
        };
        let (least, most) = range(&mut points().map(|point| point.1));
        // Whole powers of ten.
        let y = (10f64.powf(least.log10().floor()), 10f64.powf((most * 1.01).log10().ceil()));
        Self { x: range(&mut points().map(|point| point.0)), y }
    }

    fn x(&self, value: f64) -> f64 {
        LEFT + share(value, self.x) * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, value: f64) -> f64 {
        HEIGHT - BOTTOM - share(value, self.y) * (HEIGHT - TOP - BOTTOM)
    }
}

/// How far along a logarithmic axis a value lies, 0 to 1.
fn share(value: f64, (least, most): (f64, f64)) -> f64 {
    if most > least { (value / least).ln() / (most / least).ln() } else { 0.5 }
}

fn grid(out: &mut String, axes: &Axes, lines: &[Line]) {
    let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
    let mut value = axes.y.0;
    while value <= axes.y.1 * 1.001 {
        let y = axes.y(value);
        stroke(out, (LEFT, y), (right, y));
        text(out, LEFT - 8.0, y + 4.0, "end", &format!("{value} us"));
        value *= 10.0;
    }
    let mut sizes: Vec<f64> = lines.iter().flat_map(|line| &line.points).map(|point| point.0).collect();
    sizes.sort_by(f64::total_cmp);
    sizes.dedup();
    let mut free_from = 0.0;
    for nodes in sizes {
        let x = axes.x(nodes);
        stroke(out, (x, TOP), (x, bottom));
        if x >= free_from {
            text(out, x, bottom + 20.0, "middle", &format!("{nodes}"));
            free_from = x + 50.0;
        }
    }
    text(out, f64::midpoint(LEFT, right), HEIGHT - 15.0, "middle", "nodes");
}

fn draw(out: &mut String, axes: &Axes, at: usize, line: &Line) {
    let colour = COLOURS[at % COLOURS.len()];
    let dashes = if at < COLOURS.len() { "" } else { DASHES };
    let style = format!(r#"fill="none" stroke="{colour}" stroke-width="2" stroke-dasharray="{dashes}""#);
    let points: Vec<String> =
        line.points.iter().map(|(x, y)| format!("{:.1},{:.1}", axes.x(*x), axes.y(*y))).collect();
    let _ = writeln!(out, r#"<polyline points="{}" {style}/>"#, points.join(" "));
    for (nodes, time) in &line.points {
        let (x, y) = (axes.x(*nodes), axes.y(*time));
        let _ = writeln!(out, r#"<circle cx="{x:.1}" cy="{y:.1}" r="3.5" fill="{colour}"/>"#);
    }
    let (x, y) = (WIDTH - RIGHT + 20.0, TOP + at as f64 * LEGEND_STEP);
    let _ = writeln!(out, r#"<polyline points="{x:.1},{y:.1} {:.1},{y:.1}" {style}/>"#, x + 28.0);
    text(out, x + 36.0, y + 4.0, "start", line.name);
}

fn stroke(out: &mut String, from: (f64, f64), to: (f64, f64)) {
    let _ = writeln!(
        out,
        r##"<line x1="{:.1}" y1="{:.1}" x2="{:.1}" y2="{:.1}" stroke="#dddddd"/>"##,
        from.0, from.1, to.0, to.1
    );
}

fn text(out: &mut String, x: f64, y: f64, anchor: &str, text: &str) {
    let escaped = text.replace('&', "&amp;").replace('<', "&lt;");
    let _ = writeln!(out, r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}">{escaped}</text>"#);
}
