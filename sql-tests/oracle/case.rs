//! A case: tables, views and epochs of changes, with a text form that a failure prints and `regressions/` keeps.
//!
//! One line an item, in the order in which things happen:
//!
//! ```text
//! table t0 (k integer primary key, a text)
//! view v0 select ...          compared with its query after every epoch from here on
//! fallible view v1 select ... the same, but rows may fail: they are absent and stand in dead_letters
//! index t0 (a, k)             by which rows are looked up and joined from here on
//! alter t0                    the table gets a column that no view knows, or loses it again
//! epoch                       the changes below are one epoch
//! + t0 ('1', null)
//! - t0 ('1', null)
//! checkpoint                  asked for here, taken while what follows goes on
//! restart 2                   on 2 workers, from the checkpoints so far (one is taken if there is none); then what came
//!                             after the last of them again
//! ```
//!
//! What stands between `/*|` and `|*/` in a view's text is a comment to the view and part of the query it is compared with: the
//! order that breaks a LIMIT's ties, the guard that leaves failing rows out.

use std::fmt;

/// Column types that cases are drawn from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    Bool,
    /// Small values, so that arithmetic cannot overflow.
    Int,
    /// Extreme values, so no arithmetic.
    Big,
    Text,
    Float,
    Real,
    Num,
    Date,
    Timestamp,
    Uuid,
    Bytea,
    /// A struct.
    Pair,
    /// An array of arrays.
    Grid,
    Dict,
    /// Anything else that a query gives: carried along, never computed with.
    Other,
}

impl Type {
    pub const ALL: [Type; 14] = [
        Type::Bool,
        Type::Int,
        Type::Big,
        Type::Text,
        Type::Float,
        Type::Real,
        Type::Num,
        Type::Date,
        Type::Timestamp,
        Type::Uuid,
        Type::Bytea,
        Type::Pair,
        Type::Grid,
        Type::Dict,
    ];

    pub fn sql(self) -> &'static str {
        match self {
            Type::Bool => "boolean",
            Type::Int => "integer",
            Type::Big => "bigint",
            Type::Text => "text",
            Type::Float => "double precision",
            Type::Real => "real",
            Type::Num => "numeric(10,2)",
            Type::Date => "date",
            Type::Timestamp => "timestamp",
            Type::Uuid => "uuid",
            Type::Bytea => "bytea",
            // Without a blank behind the comma, by which a case's columns are told apart.
            Type::Pair => "struct<n integer,t text,f double precision>",
            Type::Grid => "integer[][]",
            Type::Dict => "map(text,integer)",
            Type::Other => "?",
        }
    }

    /// Whether there are extremes of it.
    pub fn has_extremes(self) -> bool {
        let nested = matches!(self, Type::Pair | Type::Grid | Type::Dict);
        !nested && !matches!(self, Type::Bool | Type::Uuid | Type::Bytea)
    }
}

/// Values as PostgreSQL's text.
pub type Row = Vec<Option<String>>;

#[derive(Clone, Debug)]
pub struct Table {
    pub name: String,
    pub columns: Vec<(String, Type)>,
    /// The first column is the primary key.
    pub keyed: bool,
}

#[derive(Clone, Debug)]
pub struct View {
    pub name: String,
    pub sql: String,
    pub fallible: bool,
}

impl View {
    pub fn create(&self) -> String {
        format!("create materialized view {} as {}", self.name, self.sql)
    }

    /// The query that the view is compared with.
    pub fn reference(&self) -> String {
        self.sql.replace("/*|", "").replace("|*/", "")
    }
}

#[derive(Clone, Debug)]
pub struct Change {
    pub table: String,
    pub insert: bool,
    pub row: Row,
}

#[derive(Clone, Debug)]
pub enum Item {
    View(View),
    /// A table and its columns in parentheses.
    Index(String),
    /// This table gets a column beside those of the case, or loses the one that it got.
    Alter(String),
    Epoch(Vec<Change>),
    Checkpoint,
    /// With this many workers.
    Restart(usize),
}

#[derive(Clone, Debug, Default)]
pub struct Case {
    pub tables: Vec<Table>,
    pub items: Vec<Item>,
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let column = |(i, (name, t)): (usize, &(String, Type))| {
            let key = if i == 0 && self.keyed { " primary key" } else { "" };
            format!("{name} {}{key}", t.sql())
        };
        let columns: Vec<String> = self.columns.iter().enumerate().map(column).collect();
        write!(f, "table {} ({})", self.name, columns.join(", "))
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = |v: &Option<String>| match v {
            None => "null".to_owned(),
            Some(text) => format!("'{}'", text.replace('\'', "''")),
        };
        let values: Vec<String> = self.row.iter().map(value).collect();
        write!(f, "{} {} ({})", if self.insert { '+' } else { '-' }, self.table, values.join(", "))
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for table in &self.tables {
            writeln!(f, "{table}")?;
        }
        for item in &self.items {
            match item {
                Item::View(view) => {
                    let kind = if view.fallible { "fallible view" } else { "view" };
                    writeln!(f, "{kind} {} {}", view.name, view.sql)?;
                }
                Item::Index(on) => writeln!(f, "index {on}")?,
                Item::Alter(table) => writeln!(f, "alter {table}")?,
                Item::Epoch(changes) => {
                    writeln!(f, "epoch")?;
                    changes.iter().try_for_each(|change| writeln!(f, "{change}"))?;
                }
                Item::Checkpoint => writeln!(f, "checkpoint")?,
                Item::Restart(workers) => writeln!(f, "restart {workers}")?,
            }
        }
        Ok(())
    }
}

impl Case {
    /// Reads the text form. Lines that are empty or begin with `#` say nothing.
    pub fn parse(text: &str) -> Result<Case, String> {
        let mut case = Case::default();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            case.line(line).map_err(|what| format!("line {}: {what}: {line}", number + 1))?;
        }
        Ok(case)
    }

    fn line(&mut self, line: &str) -> Result<(), String> {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        match word {
            "table" => self.tables.push(table(rest).ok_or("no table")?),
            "view" => self.items.push(Item::View(view(rest, false).ok_or("no view")?)),
            "fallible" => {
                let rest = rest.strip_prefix("view ").ok_or("expected: fallible view")?;
                self.items.push(Item::View(view(rest, true).ok_or("no view")?));
            }
            "index" => self.items.push(Item::Index(rest.to_owned())),
            "alter" => self.items.push(Item::Alter(rest.to_owned())),
            "epoch" => self.items.push(Item::Epoch(vec![])),
            "checkpoint" => self.items.push(Item::Checkpoint),
            "restart" => {
                let workers = rest.parse().ok().filter(|&n| n > 0);
                self.items.push(Item::Restart(workers.ok_or("no number of workers")?));
            }
            "+" | "-" => {
                let change = change(rest, word == "+").ok_or("no row")?;
                match self.items.last_mut() {
                    Some(Item::Epoch(changes)) => changes.push(change),
                    _ => return Err("a row outside of an epoch".to_owned()),
                }
            }
            _ => return Err("unknown word".to_owned()),
        }
        Ok(())
    }
}

fn table(text: &str) -> Option<Table> {
    let (name, columns) = text.split_once(' ')?;
    let columns = columns.strip_prefix('(')?.strip_suffix(')')?;
    let keyed = columns.contains(" primary key");
    let column = |text: &str| {
        let (name, sql) = text.split_once(' ')?;
        let sql = sql.trim_end_matches(" primary key");
        let t = Type::ALL.into_iter().find(|t| t.sql() == sql)?;
        Some((name.to_owned(), t))
    };
    let columns = columns.split(", ").map(column).collect::<Option<_>>()?;
    Some(Table { name: name.to_owned(), columns, keyed })
}

fn view(text: &str, fallible: bool) -> Option<View> {
    let (name, sql) = text.split_once(' ')?;
    Some(View { name: name.to_owned(), sql: sql.to_owned(), fallible })
}

fn change(text: &str, insert: bool) -> Option<Change> {
    let (table, values) = text.split_once(' ')?;
    let mut rest = values.strip_prefix('(')?.strip_suffix(')')?;
    let mut row = vec![];
    loop {
        if let Some(after) = rest.strip_prefix("null") {
            row.push(None);
            rest = after;
        } else {
            let (value, after) = quoted(rest.strip_prefix('\'')?)?;
            row.push(Some(value));
            rest = after;
        }
        match rest.strip_prefix(", ") {
            Some(after) => rest = after,
            None => break,
        }
    }
    rest.is_empty().then(|| Change { table: table.to_owned(), insert, row })
}

/// The text up to the closing quote, and what follows it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut rest = text;
    loop {
        let (before, after) = rest.split_once('\'')?;
        value.push_str(before);
        match after.strip_prefix('\'') {
            Some(after) => {
                value.push('\'');
                rest = after;
            }
            None => return Some((value, after)),
        }
    }
}

#[test]
fn a_case_reads_back_as_it_was_printed() {
    let text = "table t0 (k integer primary key, n numeric(10,2))\nview v0 select 1\nindex t0 (n)\nalter t0\nepoch\n+ t0 ('it''s', null)\n- t0 (null, '')\ncheckpoint\nrestart 3\n";
    assert_eq!(Case::parse(text).map(|case| case.to_string()), Ok(text.to_owned()));
}
