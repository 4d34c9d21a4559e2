//! Tables of text: aligned columns that fit the width of a terminal, or that are whole where there is none.

use super::text::{columns, cut, plain};

/// The columns between two cells.
const GAP: usize = 2;
/// The columns that a text keeps while other columns can give way.
const TEXT_MIN: usize = 6;

/// The meaning of a cell, which a terminal shows as its colour.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Tint {
    #[default]
    Usual,
    Good,
    Warning,
    Bad,
}

impl Tint {
    /// Returns the text in this colour.
    pub(super) fn paint(self, text: &str) -> String {
        match self {
            Tint::Usual => text.to_owned(),
            Tint::Good => format!("\x1b[32m{text}\x1b[0m"),
            Tint::Warning => format!("\x1b[33m{text}\x1b[0m"),
            Tint::Bad => format!("\x1b[31m{text}\x1b[0m"),
        }
    }
}

/// A cell of a table. Its text is escaped.
#[derive(Clone, Debug)]
pub(super) struct Cell {
    text: String,
    tint: Tint,
}

impl Cell {
    pub(super) fn new(text: impl AsRef<str>) -> Self {
        Self { text: plain(text.as_ref()), tint: Tint::Usual }
    }

    pub(super) fn tinted(text: impl AsRef<str>, tint: Tint) -> Self {
        Self { tint, ..Self::new(text) }
    }
}

/// The sides of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    /// For texts, which are cut where the terminal is too narrow.
    Left,
    /// For texts that say nothing when they are cut, such as times.
    Whole,
    /// For numbers.
    Right,
}

/// A table without its rows: the columns by name.
pub(super) type Heads = [(&'static str, Side)];

/// The form of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TableForm {
    /// The columns of the terminal; `None` where nothing is cut.
    pub(super) width: Option<usize>,
    pub(super) color: bool,
}

/// Returns the lines of a table, with its heads if `with_heads`.
pub(super) fn table(heads: &Heads, rows: &[Vec<Cell>], form: TableForm, with_heads: bool) -> String {
    let widths = widths(heads, rows, form.width);
    let mut text = String::new();
    if with_heads {
        let cells: Vec<Cell> = heads.iter().map(|(name, _)| Cell::new(name)).collect();
        text += &line(heads, &cells, &widths, form);
    }
    for row in rows {
        text += &line(heads, row, &widths, form);
    }
    text
}

fn line(heads: &Heads, cells: &[Cell], widths: &[usize], form: TableForm) -> String {
    let mut text = String::new();
    for ((cell, width), (_, side)) in cells.iter().zip(widths).zip(heads) {
        let shown = if form.width.is_some() { cut(&cell.text, *width) } else { cell.text.clone() };
        let space = " ".repeat(width.saturating_sub(columns(&shown)));
        let shown = if form.color { cell.tint.paint(&shown) } else { shown };
        text += &match side {
            Side::Left | Side::Whole => format!("{shown}{space}"),
            Side::Right => format!("{space}{shown}"),
        };
        text += &" ".repeat(GAP);
    }
    text.truncate(text.trim_end_matches(' ').len());
    text + "\n"
}

/// Returns the widths of the columns. If they do not fit, the widest texts give way first.
fn widths(heads: &Heads, rows: &[Vec<Cell>], most: Option<usize>) -> Vec<usize> {
    let mut widths: Vec<usize> = heads.iter().map(|(name, _)| columns(name)).collect();
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(columns(&cell.text));
        }
    }
    let Some(most) = most else { return widths };
    let room = most.saturating_sub(GAP * widths.len().saturating_sub(1));
    let over = widths.iter().sum::<usize>().saturating_sub(room);
    // A number, a time or an id that is cut says nothing, so texts give way first.
    let is_text = |at: usize| heads.get(at).is_some_and(|(_, side)| *side == Side::Left);
    let over = shrink(&mut widths, over, TEXT_MIN, is_text);
    shrink(&mut widths, over, 1, |_| true);
    widths
}

/// Makes columns narrower by `over` in all, the widest ones first and none below `least`. Returns what is left of `over`.
fn shrink(widths: &mut [usize], mut over: usize, least: usize, may: impl Fn(usize) -> bool) -> usize {
    while over > 0 {
        let shrinkable = || widths.iter().enumerate().filter(|(at, width)| may(*at) && **width > least);
        let Some(widest) = shrinkable().map(|(_, width)| *width).max() else { break };
        let next = shrinkable().map(|(_, width)| *width).filter(|width| *width < widest).max().unwrap_or(least);
        let tied = shrinkable().filter(|(_, width)| **width == widest).count();
        // They shrink to the next one at once, so that a text of any length takes few steps.
        let step = over.div_ceil(tied).min(widest - next);
        for (_, width) in widths.iter_mut().enumerate().filter(|(at, width)| may(*at) && **width == widest) {
            let cut = step.min(over);
            *width -= cut;
            over -= cut;
        }
    }
    over
}

/// Returns lines of names with their values, which wrap below themselves.
pub(super) fn details(entries: &[(&str, String)], form: TableForm) -> String {
    let name_width = entries.iter().map(|(name, _)| columns(name)).max().unwrap_or(0);
    let mut text = String::new();
    for (name, value) in entries {
        let value = plain(value);
        let lines = match form.width {
            Some(width) => super::text::wrapped(&value, width.saturating_sub(name_width + GAP)),
            None => vec![value],
        };
        for (at, line) in lines.iter().enumerate() {
            let name = if at == 0 { *name } else { "" };
            let line = format!("{name:name_width$}{}{line}", " ".repeat(GAP));
            text += line.trim_end_matches(' ');
            text.push('\n');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::text::is_hidden;
    use super::*;

    const HEADS: &Heads = &[("INSTANCE", Side::Left), ("STATE", Side::Left), ("REQUESTS", Side::Right)];
    const TERMINAL: TableForm = TableForm { width: Some(80), color: true };
    const FILE: TableForm = TableForm { width: None, color: false };

    fn rows(texts: &[&str]) -> Vec<Vec<Cell>> {
        let row = |text: &&str| vec![Cell::new(text), Cell::tinted(text, Tint::Bad), Cell::new("12")];
        texts.iter().map(row).collect()
    }

    fn uncolored(text: &str) -> String {
        text.replace("\x1b[31m", "").replace("\x1b[0m", "")
    }

    #[test]
    fn a_table_on_a_terminal_fits_its_columns_whatever_the_cells_are() {
        let long = "x".repeat(100_000);
        let hostile = "\u{1b}]0;title\u{7}\u{1b}[2J".repeat(10);
        for texts in [&["a"][..], &[&long, "名前".repeat(60).as_str()], &[&hostile, "🚀🚀"], &[]] {
            for width in [30, 80, 200] {
                let text = table(HEADS, &rows(texts), TableForm { width: Some(width), color: true }, true);
                for line in uncolored(&text).lines() {
                    assert!(columns(line) <= width, "{width}: {line}");
                    assert!(!line.chars().any(is_hidden), "{line:?}");
                }
            }
        }
    }

    #[test]
    fn without_a_terminal_nothing_is_cut_and_nothing_is_coloured() {
        let long = "x".repeat(300);
        let text = table(HEADS, &rows(&[&long]), FILE, true);
        assert!(text.contains(&long) && !text.contains('\x1b'), "{text}");
        let details = details(&[("reason", long.clone())], FILE);
        assert_eq!(details, format!("reason  {long}\n"));
    }

    #[test]
    fn texts_give_way_before_numbers_and_times_and_the_widest_ones_alike() {
        let heads: &Heads = &[("TIME", Side::Whole), ("A", Side::Left), ("B", Side::Left), ("N", Side::Right)];
        let cells = ["2026-11-30 08:00:00Z", &"a".repeat(30), &"b".repeat(90), "1234567"].map(Cell::new).to_vec();
        let rows = [cells];
        assert_eq!(widths(heads, &rows, Some(80)), [20, 23, 24, 7]);
        assert_eq!(widths(heads, &rows, Some(95)), [20, 30, 32, 7]);
        assert_eq!(widths(heads, &rows, Some(30)), [6, 6, 6, 6]);
    }

    #[test]
    fn columns_are_aligned_and_numbers_stand_right() {
        let text = table(HEADS, &rows(&["ab", "名"]), FILE, true);
        assert_eq!(text, "INSTANCE  STATE  REQUESTS\nab        ab           12\n名        名           12\n");
        assert_eq!(table(HEADS, &rows(&["ab"]), TERMINAL, false), "ab        \x1b[31mab\x1b[0m           12\n");
    }

    #[test]
    fn details_wrap_below_their_values() {
        let form = TableForm { width: Some(20), color: false };
        let text = details(&[("a", "one two three four five".to_owned()), ("name", "b".to_owned())], form);
        assert_eq!(text, "a     one two three\n      four five\nname  b\n");
    }
}
