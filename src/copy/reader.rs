//! COPY FROM: bytes as they come, to batches of the columns that are copied.

use std::sync::Arc;

use arrow_array::builder::{BinaryBuilder, StringBuilder};
use arrow_array::{Array, ArrayRef, RecordBatch};
use arrow_schema::{Field, Schema, SchemaRef};

use super::binary::{self, Head};
use super::csv::Force;
use super::lines::Lines;
use super::{bad_format, csv, shown, text};
use crate::change::batch_of;
use crate::error::{Error, Result, SqlState};
use crate::sql::{CopyFormat, CopyHeader, CopyOptions};
use crate::types::{TextStyle, cast_from_text, column_from_binary, utf8_text};

/// Rows of a batch: enough to be read column by column, few enough that many copies may run side by side.
const BATCH_ROWS: usize = 16 * 1024;

/// Bytes of fields after which a batch is cut, whatever its rows.
const BATCH_BYTES: usize = 8 << 20;

/// The longest row, as the longest message: beyond it is a quote that was never closed.
const ROW_BYTES_MAX: usize = 64 << 20;

/// A column's fields as they came.
enum Cells {
    Text(StringBuilder),
    Binary(BinaryBuilder),
}

/// Reads the data of one COPY FROM.
pub struct CopyReader {
    /// For CONTEXT lines.
    table: String,
    schema: SchemaRef,
    options: CopyOptions,
    force: Vec<Force>,
    style: TextStyle,
    lines: Lines,
    /// Bytes that are no whole row yet.
    rest: Vec<u8>,
    cells: Vec<Cells>,
    /// The line number of each row in `cells`.
    rows: Vec<u64>,
    bytes: usize,
    line: u64,
    /// The header has not come yet.
    begins: bool,
    /// The end of the data was marked; what follows is not read.
    ended: bool,
    scratch: Vec<u8>,
}

impl CopyReader {
    /// Reads `columns` of `table`, in the order of the data. 42703 where an option names another column.
    pub fn try_new(
        table: &str,
        columns: Vec<Field>,
        options: CopyOptions,
        style: TextStyle,
    ) -> Result<CopyReader> {
        let position = |name: &String, option: &str| {
            columns.iter().position(|field| field.name() == name).ok_or_else(|| {
                let message = format!("{option} column \"{name}\" not referenced by COPY");
                Error::new(SqlState::INVALID_COLUMN_REFERENCE, message)
            })
        };
        let mut force = vec![Force::default(); columns.len()];
        for name in &options.force_not_null {
            force[position(name, "FORCE_NOT_NULL")?].not_null = true;
        }
        for name in &options.force_null {
            force[position(name, "FORCE_NULL")?].null = true;
        }
        let csv = options.format == CopyFormat::Csv;
        let begins = options.header != CopyHeader::None || options.format == CopyFormat::Binary;
        let mut reader = CopyReader {
            table: table.to_owned(),
            schema: Arc::new(Schema::new(columns)),
            force,
            style,
            lines: Lines::new(csv, options.quote, options.escape),
            options,
            rest: vec![],
            cells: vec![],
            rows: vec![],
            bytes: 0,
            line: 0,
            begins,
            ended: false,
            scratch: vec![],
        };
        reader.cells = reader.empty_cells();
        Ok(reader)
    }

    /// Whether the data is in the binary format.
    pub fn is_binary(&self) -> bool {
        self.options.format == CopyFormat::Binary
    }

    pub fn columns(&self) -> usize {
        self.schema.fields().len()
    }

    /// Bytes held for the batch and the row under way.
    pub fn bytes(&self) -> usize {
        self.rest.capacity() + self.bytes
    }

    /// Takes the next bytes and appends the batches that are whole to `out`.
    pub fn feed(&mut self, data: &[u8], out: &mut Vec<RecordBatch>) -> Result<()> {
        if self.ended {
            return Ok(());
        }
        self.rest.extend_from_slice(data);
        self.read(false, out)?;
        if self.rest.len() > ROW_BYTES_MAX {
            let message = format!("a row of COPY data has more than {ROW_BYTES_MAX} bytes");
            return Err(Error::new(SqlState("54000"), message).with_context(self.place()));
        }
        Ok(())
    }

    /// There is no more data.
    pub fn finish(&mut self, out: &mut Vec<RecordBatch>) -> Result<()> {
        if !self.ended {
            self.read(true, out)?;
        }
        self.flush(out)
    }

    fn read(&mut self, last: bool, out: &mut Vec<RecordBatch>) -> Result<()> {
        let rest = std::mem::take(&mut self.rest);
        let mut taken = 0;
        let outcome = loop {
            match self.next_row(&rest[taken..], last) {
                Ok(0) => break Ok(()),
                Ok(bytes) => taken += bytes,
                // What is wrong with earlier rows is told first.
                Err(error) => break self.flush(out).and(Err(error)),
            }
            if self.ended {
                break Ok(());
            }
            if (self.rows.len() >= BATCH_ROWS || self.bytes >= BATCH_BYTES)
                && let Err(error) = self.flush(out)
            {
                break Err(error);
            }
        };
        self.rest = rest;
        self.rest.drain(..taken);
        outcome
    }

    /// Reads the row that `bytes` begin with; returns how many it takes, 0 where it is not whole.
    fn next_row(&mut self, bytes: &[u8], last: bool) -> Result<usize> {
        match self.options.format {
            CopyFormat::Binary => self.next_binary(bytes, last),
            CopyFormat::Text | CopyFormat::Csv => self.next_line(bytes, last),
        }
    }

    fn next_line(&mut self, bytes: &[u8], last: bool) -> Result<usize> {
        let found = self.lines.next(bytes, last).map_err(|error| {
            self.line += 1;
            error.with_context(self.place())
        })?;
        let Some(line) = found else { return Ok(0) };
        self.line += 1 + std::mem::take(&mut self.lines.inner_newlines);
        let data = &bytes[..line.length];
        if data == b"\\." {
            self.ended = true;
            return Ok(line.taken);
        }
        let data = utf8_text(data).map_err(|error| error.with_context(self.place()))?;
        let begins = std::mem::take(&mut self.begins);
        let read = match (begins, self.options.header) {
            (true, CopyHeader::Match) => self.match_header(data),
            (true, _) => Ok(()),
            (false, _) => self.put_row(data),
        };
        read.map_err(|error| match error.context {
            Some(_) => error,
            None => {
                let context = format!("{}: \"{}\"", self.place(), shown(data));
                error.with_context(context)
            }
        })?;
        Ok(line.taken.max(1))
    }

    fn put_row(&mut self, line: &str) -> Result<()> {
        let (cells, bytes) = (&mut self.cells, &mut self.bytes);
        let mut column = 0;
        let mut put = |value: Option<&str>| {
            let Some(Cells::Text(cell)) = cells.get_mut(column) else {
                return Err(bad_format("extra data after last expected column"));
            };
            cell.append_option(value);
            *bytes += value.map_or(1, str::len);
            column += 1;
            Ok(())
        };
        match self.options.format {
            CopyFormat::Csv => {
                csv::fields(line, &self.options, &self.force, &mut self.scratch, &mut put)?;
            }
            _ => {
                let (delimiter, null) = (self.options.delimiter, &self.options.null);
                text::fields(line, delimiter, null, &mut self.scratch, &mut put)?;
            }
        }
        if column < self.cells.len() {
            return Err(text::missing(self.schema.field(column).name()));
        }
        self.rows.push(self.line);
        Ok(())
    }

    /// HEADER MATCH: the first line has the columns' names.
    fn match_header(&mut self, line: &str) -> Result<()> {
        let mut names: Vec<Option<String>> = vec![];
        let mut put = |value: Option<&str>| {
            names.push(value.map(str::to_owned));
            Ok(())
        };
        match self.options.format {
            CopyFormat::Csv => {
                csv::fields(line, &self.options, &[], &mut self.scratch, &mut put)?;
            }
            _ => {
                let (delimiter, null) = (self.options.delimiter, &self.options.null);
                text::fields(line, delimiter, null, &mut self.scratch, &mut put)?;
            }
        }
        let (given, expected) = (names.len(), self.schema.fields().len());
        if given != expected {
            let message =
                format!("wrong number of fields in header line: got {given}, expected {expected}");
            return Err(bad_format(message));
        }
        for (i, (name, field)) in names.iter().zip(self.schema.fields()).enumerate() {
            let (number, expected) = (i + 1, field.name());
            let got = match name {
                Some(name) if name == expected => continue,
                Some(name) => format!("got \"{name}\""),
                None => format!("got null value (\"{}\")", self.options.null),
            };
            return Err(bad_format(format!(
                "column name mismatch in header line field {number}: {got}, expected \"{expected}\""
            )));
        }
        Ok(())
    }

    fn next_binary(&mut self, bytes: &[u8], last: bool) -> Result<usize> {
        let head = match self.begins {
            true => binary::header(bytes)?,
            false => {
                let (cells, size) = (&mut self.cells, &mut self.bytes);
                let mut put = |column: usize, value: Option<&[u8]>| {
                    if let Cells::Binary(cell) = &mut cells[column] {
                        cell.append_option(value);
                    }
                    *size += value.map_or(1, <[u8]>::len);
                };
                binary::row(bytes, self.schema.fields().len(), &mut put).map_err(|error| {
                    self.line += 1;
                    error.with_context(self.place())
                })?
            }
        };
        match head {
            Head::Partial if last && (!bytes.is_empty() || self.begins) => {
                Err(bad_format("unexpected EOF in COPY data"))
            }
            Head::Partial => Ok(0),
            Head::Taken(taken) if self.begins => {
                self.begins = false;
                Ok(taken)
            }
            Head::Taken(taken) => {
                self.line += 1;
                self.rows.push(self.line);
                Ok(taken)
            }
            Head::Trailer(taken) => {
                self.ended = true;
                Ok(taken)
            }
        }
    }

    fn empty_cells(&self) -> Vec<Cells> {
        let cells = |_: &Arc<Field>| match self.is_binary() {
            true => Cells::Binary(BinaryBuilder::new()),
            false => Cells::Text(StringBuilder::new()),
        };
        self.schema.fields().iter().map(cells).collect()
    }

    /// Reads the fields gathered so far as values of their columns.
    fn flush(&mut self, out: &mut Vec<RecordBatch>) -> Result<()> {
        if self.rows.is_empty() {
            return Ok(());
        }
        let empty = self.empty_cells();
        let cells = std::mem::replace(&mut self.cells, empty);
        let rows = std::mem::take(&mut self.rows);
        self.bytes = 0;
        let mut columns: Vec<ArrayRef> = vec![];
        let mut first: Option<(usize, Error)> = None;
        for (cells, field) in cells.into_iter().zip(self.schema.fields()) {
            let (column, errors, context): (_, Vec<(usize, Error)>, _) = match cells {
                Cells::Text(mut text) => {
                    // A row that broke off may have left fields behind.
                    let text = text.finish().slice(0, rows.len());
                    let (column, errors) = cast_from_text(&text, field, &self.style);
                    let row = errors.first().map(|(row, _)| *row).filter(|r| *r < text.len());
                    (column, errors, row.map(|row| format!(": \"{}\"", shown(text.value(row)))))
                }
                Cells::Binary(mut bytes) => {
                    let (column, errors) =
                        column_from_binary(&bytes.finish().slice(0, rows.len()), field);
                    (column, errors, None)
                }
            };
            if let Some((row, error)) = errors.into_iter().next()
                && first.as_ref().is_none_or(|(other, _)| row < *other)
            {
                let (table, line) = (&self.table, rows.get(row).copied().unwrap_or(self.line));
                let place = format!("COPY {table}, line {line}, column {}", field.name());
                let context = format!("{place}{}", context.unwrap_or_default());
                first = Some((row, error.with_context(context)));
            }
            columns.push(column);
        }
        if let Some((_, error)) = first {
            return Err(error);
        }
        let batch = batch_of(self.schema.clone(), columns, rows.len());
        out.push(batch.map_err(|e| Error::internal(e.to_string()))?);
        Ok(())
    }

    fn place(&self) -> String {
        format!("COPY {}, line {}", self.table, self.line)
    }
}
