//! Draws tables and the changes to them: inserts, updates, deletes, duplicates, NULLs and extreme values.

use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

use crate::case::{Change, Row, Table, Type};

/// Tables stay about this small, so that joins of three do not drown the rest.
const TABLE_ROWS: usize = 12;

pub fn tables(rng: &mut StdRng) -> Vec<Table> {
    let count = rng.random_range(1..=3);
    (0..count).map(|i| table(rng, i)).collect()
}

fn table(rng: &mut StdRng, number: usize) -> Table {
    let keyed = rng.random_bool(0.4);
    let key = if rng.random_bool(0.8) { Type::Int } else { any(rng) };
    // -0 and 0 are one key and two rows: nothing that a kept table of texts could tell.
    let zeros = matches!(key, Type::Float | Type::Real | Type::Pair);
    let key = if keyed && zeros { Type::Big } else { key };
    let mut columns = vec![("k".to_owned(), key)];
    for i in 0..rng.random_range(1..=4) {
        let t = if rng.random_bool(0.5) { [Type::Int, Type::Text][i % 2] } else { any(rng) };
        columns.push((format!("{}{i}", &t.sql()[..1]), t));
    }
    Table { name: format!("t{number}"), columns, keyed }
}

fn any(rng: &mut StdRng) -> Type {
    *Type::ALL.choose(rng).expect("there are types")
}

/// The values that columns of a type hold: few, so that they meet, and the ends of the range.
pub fn pool(t: Type) -> &'static [&'static str] {
    match t {
        Type::Bool => &["true", "false"],
        Type::Int => &["-3", "-1", "0", "1", "2", "3", "4", "5", "6", "7"],
        Type::Big => &[
            "0",
            "1",
            "-1",
            "7",
            "9223372036854775807",
            "9223372036854775806",
            "-9223372036854775808",
        ],
        Type::Text => &["", "a", "b", "ab", "B", "zz", "é", "a b", "%", "o'x", "12"],
        Type::Float => &[
            "0",
            "-0",
            "1.5",
            "-2.25",
            "NaN",
            "Infinity",
            "-Infinity",
            "1e300",
            "-1e300",
            "1e-300",
            "0.1",
            "0.2",
        ],
        Type::Real => {
            &["0", "-0", "1.5", "NaN", "Infinity", "-Infinity", "3e38", "0.1", "16777217"]
        }
        Type::Num => &["0", "0.01", "-1.50", "2", "99999999.99", "-99999999.99", "10.10"],
        Type::Date => &["1970-01-01", "2024-02-29", "2024-12-31", "0001-01-01", "9999-12-31"],
        Type::Timestamp => &[
            "2024-02-29 12:34:56.789",
            "1999-12-31 23:59:59.999999",
            "1970-01-01 00:00:00",
            "1969-12-31 23:00:00",
        ],
        Type::Uuid => &[
            "00000000-0000-0000-0000-000000000000",
            "ffffffff-ffff-ffff-ffff-ffffffffffff",
            "12345678-1234-1234-1234-123456789abc",
        ],
        Type::Bytea => &["\\x", "\\x00", "\\xff00", "\\x61"],
        Type::Pair => &[
            "(1,a,)",
            "(1,b,0)",
            "(1,,-0)",
            "(,a,NaN)",
            "(,,)",
            "(2,\"\",1e300)",
            "(2,\"a b\",0.1)",
        ],
        Type::Grid => &["{}", "{{1,2},{3,4}}", "{{1,2},{3,NULL}}", "{{1}}", "{{NULL}}", "{{1,2}}"],
        Type::Dict => &["{}", "{a:1}", "{b:2,a:1}", "{a:1,b:NULL}", "{\"\":7}", "{c:3}"],
        Type::Other => &[],
    }
}

fn value(rng: &mut StdRng, t: Type) -> Option<String> {
    if rng.random_bool(0.15) {
        return None;
    }
    pool(t).choose(rng).map(|v| (*v).to_owned())
}

fn row(rng: &mut StdRng, table: &Table) -> Row {
    let mut row: Row = table.columns.iter().map(|(_, t)| value(rng, *t)).collect();
    if table.keyed && row[0].is_none() {
        row[0] = pool(table.columns[0].1).choose(rng).map(|v| (*v).to_owned());
    }
    row
}

/// The changes of one epoch; `contents` follows them.
pub fn epoch(rng: &mut StdRng, tables: &[Table], contents: &mut [Vec<Row>]) -> Vec<Change> {
    let mut changes = vec![];
    for (table, rows) in tables.iter().zip(contents) {
        if rng.random_bool(0.6) {
            let mut drawn = Drawn { rng: &mut *rng, table, rows, changes: &mut changes };
            drawn.draw();
        }
    }
    changes
}

struct Drawn<'a> {
    rng: &'a mut StdRng,
    table: &'a Table,
    rows: &'a mut Vec<Row>,
    changes: &'a mut Vec<Change>,
}

impl Drawn<'_> {
    fn draw(&mut self) {
        if self.rng.random_bool(0.06) {
            while !self.rows.is_empty() {
                self.delete();
            }
            return;
        }
        let many = if self.rng.random_bool(0.1) { 8 } else { 3 };
        for _ in 0..self.rng.random_range(1..=many) {
            let full = self.rows.len() > TABLE_ROWS;
            match self.rng.random_range(0..10) {
                0..=4 if !full => {
                    let row = row(self.rng, self.table);
                    self.insert(row);
                }
                5 if !full && !self.rows.is_empty() => {
                    let again = self.rows[self.rng.random_range(0..self.rows.len())].clone();
                    self.insert(again);
                }
                6 | 7 => self.update(),
                _ => {
                    self.delete();
                }
            }
        }
    }

    fn insert(&mut self, row: Row) {
        if self.table.keyed && self.rows.iter().any(|r| r[0] == row[0]) {
            return;
        }
        self.rows.push(row.clone());
        self.changes.push(Change { table: self.table.name.clone(), insert: true, row });
    }

    fn delete(&mut self) -> Option<Row> {
        if self.rows.is_empty() {
            return None;
        }
        let row = self.rows.swap_remove(self.rng.random_range(0..self.rows.len()));
        let (table, gone) = (self.table.name.clone(), row.clone());
        // A row that came in this epoch never was there for the table.
        let here = |c: &Change| c.insert && c.table == table && c.row == gone;
        match self.changes.iter().rposition(here) {
            Some(at) => drop(self.changes.remove(at)),
            None => self.changes.push(Change { table, insert: false, row: gone }),
        }
        Some(row)
    }

    fn update(&mut self) {
        let Some(mut new) = self.delete() else { return };
        let first = usize::from(self.table.keyed && self.rng.random_bool(0.8));
        let column = self.rng.random_range(first..new.len());
        new[column] = row(self.rng, self.table)[column].clone();
        self.insert(new);
    }
}
