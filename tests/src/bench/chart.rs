//! A bar for each case, as SVG.

use std::path::Path;

use anyhow::{Result, anyhow};
use plotters::{
    backend::SVGBackend,
    coord::Shift,
    drawing::{DrawingArea, IntoDrawingArea},
    element::{PathElement, Rectangle, Text},
    style::{Color, IntoFont, RGBColor, WHITE},
};

/// A bar.
#[derive(Clone, Debug)]
pub struct Bar {
    /// What people read.
    pub name: String,
    /// How long it is.
    pub value: f64,
    /// Where a mark stands: what the value may be at most.
    pub mark: Option<f64>,
}

const WIDTH: i32 = 900;
const NAMES: i32 = 290;
const ROW: i32 = 20;
const HEAD: i32 = 40;
/// Room behind the longest bar for its number.
const NUMBER: i32 = 70;
const HELD: RGBColor = RGBColor(70, 130, 180);
const MISSED: RGBColor = RGBColor(200, 120, 60);
const DARK: RGBColor = RGBColor(40, 40, 40);

/// Draws bars below each other, under a title.
///
/// # Errors
/// The file cannot be written.
pub fn draw(file: &Path, title: &str, bars: &[Bar]) -> Result<()> {
    let height = HEAD + ROW * (bars.len() as i32 + 1);
    let area = SVGBackend::new(file, (WIDTH as u32, height as u32)).into_drawing_area();
    paint(&area, title, bars).map_err(|error| anyhow!("{}: {error}", file.display()))
}

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

fn paint(area: &Area<'_>, title: &str, bars: &[Bar]) -> Result<(), Box<dyn std::error::Error>> {
    area.fill(&WHITE)?;
    let font = |size: i32| ("sans-serif", size).into_font().color(&DARK);
    area.draw(&Text::new(title.to_owned(), (8, 10), font(17)))?;
    let values = bars.iter().flat_map(|bar| [bar.value, bar.mark.unwrap_or(0.0)]);
    let longest = values.fold(1.0, f64::max);
    let x = |value: f64| {
        NAMES + (value.max(0.0) / longest * f64::from(WIDTH - NAMES - NUMBER)).round() as i32
    };
    for (row, bar) in bars.iter().enumerate() {
        let (top, end) = (HEAD + ROW * row as i32, x(bar.value));
        let missed = bar.mark.is_some_and(|mark| bar.value > mark);
        let color = if missed { MISSED } else { HELD };
        area.draw(&Text::new(bar.name.clone(), (8, top + 2), font(13)))?;
        area.draw(&Rectangle::new([(NAMES, top + 2), (end, top + ROW - 4)], color.filled()))?;
        let number = format!("{:.1}", bar.value);
        let behind = end.max(bar.mark.map_or(0, x)) + 6;
        area.draw(&Text::new(number, (behind, top + 2), font(13)))?;
        if let Some(mark) = bar.mark.map(x) {
            let line = vec![(mark, top), (mark, top + ROW - 2)];
            area.draw(&PathElement::new(line, DARK.stroke_width(2)))?;
        }
    }
    Ok(area.present()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_as_long_as_their_values() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let bar = |name: &str, value, mark| Bar { name: name.to_owned(), value, mark };
        let bars = [bar("short & held", 10.0, Some(20.0)), bar("long", 40.0, Some(20.0))];
        draw(file.path(), "a title", &bars).expect("it is drawn");
        let text = std::fs::read_to_string(file.path()).expect("it is there");
        let room = WIDTH - NAMES - NUMBER;
        for (length, color) in [(room / 4, "#4682B4"), (room, "#C8783C")] {
            let width = format!("width=\"{length}\"");
            let found = text.lines().any(|line| line.contains(&width) && line.contains(color));
            assert!(found, "no bar of {width} in {color}:\n{text}");
        }
        assert!(text.contains("short &amp; held"), "{text}");
    }
}
