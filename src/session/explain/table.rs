//! Numbers in columns for somebody at a prompt: right-aligned, with units, as short as they may be.

use std::time::Duration;

/// Rows of cells under a head, then a text of any length behind them.
pub struct Table {
    rows: Vec<(Vec<String>, String)>,
}

impl Table {
    pub fn new(head: &[&str], last: &str) -> Table {
        let head = head.iter().map(|cell| (*cell).to_owned()).collect();
        Table { rows: vec![(head, last.to_owned())] }
    }

    pub fn push(&mut self, cells: Vec<String>, last: String) {
        self.rows.push((cells, last));
    }

    /// A line a row; each column is as wide as its widest cell.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        let count = self.rows.first().map_or(0, |(cells, _)| cells.len());
        let width = |column: usize| {
            self.rows.iter().map(|(cells, _)| cells[column].chars().count()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..count).map(width).collect();
        self.rows.iter().map(move |(cells, last)| {
            let cells = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:>width$}  "));
            format!("{}{last}", cells.collect::<String>())
        })
    }
}

/// `17.3 ms`, `4.2 s`.
pub fn time(nanoseconds: u64) -> String {
    let time = Duration::from_nanos(nanoseconds);
    match time.as_secs_f64() {
        0.0 => String::new(),
        s if s < 0.1 => format!("{:.2} ms", s * 1e3),
        s if s < 1.0 => format!("{:.0} ms", s * 1e3),
        s => format!("{s:.1} s"),
    }
}

/// As pg_size_pretty: `512 bytes`, `24 kB`.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["bytes", "kB", "MB", "GB", "TB"];
    let (mut size, mut unit) = (bytes, 0);
    while size >= 10 * 1024 && unit + 1 < UNITS.len() {
        size = (size + 512) / 1024;
        unit += 1;
    }
    format!("{size} {}", UNITS[unit])
}

/// The number; nothing for none.
pub fn count(n: u64) -> String {
    if n == 0 { String::new() } else { n.to_string() }
}

/// At most that many characters of a text.
pub fn cut(text: &str, characters: usize) -> String {
    match text.char_indices().nth(characters) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_their_columns_aligned() {
        let mut table = Table::new(&["rows", "time"], "operator");
        table.push(vec![count(1_234), time(12_340_000)], "Filter".to_owned());
        table.push(vec![count(0), time(4_200_000_000)], "  Import t".to_owned());
        let lines: Vec<String> = table.lines().collect();
        let expected =
            ["rows      time  operator", "1234  12.34 ms  Filter", "         4.2 s    Import t"];
        assert_eq!(lines, expected);
        assert_eq!([512, 20_480, 1 << 30].map(size), ["512 bytes", "20 kB", "1024 MB"]);
        assert_eq!((cut("größer", 3), cut("abc", 3)), ("grö…".to_owned(), "abc".to_owned()));
    }
}
