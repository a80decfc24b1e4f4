//! COPY TO: rows as bytes of the text, CSV or binary format.

use arrow_array::RecordBatch;
use arrow_schema::FieldRef;
use bytes::{BufMut, BytesMut};

use super::binary::SIGNATURE;
use crate::error::{Error, Result, SqlState};
use crate::sql::{CopyColumns, CopyFormat, CopyHeader, CopyOptions};
use crate::types::{ColumnWriter, TextStyle};

/// Writes the data of one COPY TO, a row at a time.
pub struct CopyWriter {
    columns: Vec<FieldRef>,
    options: CopyOptions,
    /// Columns whose values are quoted whatever they are.
    forced: Vec<bool>,
    /// A value before it is escaped.
    value: BytesMut,
}

impl CopyWriter {
    /// 42P10 where FORCE_QUOTE names a column that is not copied.
    pub fn try_new(columns: Vec<FieldRef>, options: CopyOptions) -> Result<CopyWriter> {
        let forced = match &options.force_quote {
            CopyColumns::None => vec![false; columns.len()],
            CopyColumns::All => vec![true; columns.len()],
            CopyColumns::Named(names) => {
                let known = |name: &&String| !columns.iter().any(|column| column.name() == *name);
                if let Some(name) = names.iter().find(known) {
                    let message = format!("FORCE_QUOTE column \"{name}\" not referenced by COPY");
                    return Err(Error::new(SqlState::INVALID_COLUMN_REFERENCE, message));
                }
                columns.iter().map(|column| names.contains(column.name())).collect()
            }
        };
        Ok(CopyWriter { columns, options, forced, value: BytesMut::new() })
    }

    pub fn is_binary(&self) -> bool {
        self.options.format == CopyFormat::Binary
    }

    pub fn columns(&self) -> usize {
        self.columns.len()
    }

    /// What comes before the first row; nothing for most.
    pub fn begin(&mut self, out: &mut BytesMut) {
        if self.is_binary() {
            out.put_slice(SIGNATURE);
            out.put_u64(0);
        } else if self.options.header != CopyHeader::None {
            for i in 0..self.columns.len() {
                let name = self.columns[i].name().clone();
                self.put_field(i, name.as_bytes(), false, out);
            }
            out.put_u8(b'\n');
        }
    }

    /// What comes behind the last row; nothing for most.
    pub fn end(&self, out: &mut BytesMut) {
        if self.is_binary() {
            out.put_i16(-1);
        }
    }

    /// The columns of a batch, to be passed to [`CopyWriter::row`].
    pub fn writers(&self, batch: &RecordBatch) -> Result<Vec<ColumnWriter>> {
        let columns = batch.columns().iter().zip(&self.columns);
        columns.map(|(array, field)| ColumnWriter::try_new(array, field)).collect()
    }

    /// Appends a row.
    pub fn row(
        &mut self,
        writers: &[ColumnWriter],
        row: usize,
        style: &TextStyle,
        out: &mut BytesMut,
    ) -> Result<()> {
        if self.is_binary() {
            return put_binary_row(writers, row, out);
        }
        for (i, writer) in writers.iter().enumerate() {
            if writer.is_null(row) {
                self.put_delimiter(i, out);
                out.put_slice(self.options.null.as_bytes());
                continue;
            }
            let mut value = std::mem::take(&mut self.value);
            value.clear();
            writer.write_text(row, style, &mut value);
            self.put_field(i, &value, self.forced[i], out);
            self.value = value;
        }
        out.put_u8(b'\n');
        Ok(())
    }

    fn put_delimiter(&self, column: usize, out: &mut BytesMut) {
        if column > 0 {
            out.put_u8(self.options.delimiter);
        }
    }

    fn put_field(&self, column: usize, value: &[u8], forced: bool, out: &mut BytesMut) {
        self.put_delimiter(column, out);
        match self.options.format {
            CopyFormat::Csv => self.put_csv(value, forced, out),
            CopyFormat::Text | CopyFormat::Binary => {
                put_escaped(value, self.options.delimiter, out)
            }
        }
    }

    fn put_csv(&self, value: &[u8], forced: bool, out: &mut BytesMut) {
        let options = &self.options;
        let special =
            |b: &u8| *b == options.delimiter || *b == options.quote || matches!(*b, b'\n' | b'\r');
        let end_mark = self.columns.len() == 1 && value == b"\\.";
        if !(forced || end_mark || value == options.null.as_bytes() || value.iter().any(special)) {
            out.put_slice(value);
            return;
        }
        out.put_u8(options.quote);
        for &byte in value {
            if byte == options.quote || byte == options.escape {
                out.put_u8(options.escape);
            }
            out.put_u8(byte);
        }
        out.put_u8(options.quote);
    }
}

fn put_escaped(value: &[u8], delimiter: u8, out: &mut BytesMut) {
    for &byte in value {
        let code = match byte {
            8 => b'b',
            9 => b't',
            10 => b'n',
            11 => b'v',
            12 => b'f',
            13 => b'r',
            b'\\' => b'\\',
            _ if byte == delimiter => delimiter,
            _ => {
                out.put_u8(byte);
                continue;
            }
        };
        out.put_slice(&[b'\\', code]);
    }
}

fn put_binary_row(writers: &[ColumnWriter], row: usize, out: &mut BytesMut) -> Result<()> {
    out.put_i16(writers.len() as i16);
    for writer in writers {
        if writer.is_null(row) {
            out.put_i32(-1);
            continue;
        }
        let at = out.len();
        out.put_i32(0);
        writer.write_binary(row, out)?;
        let length = (out.len() - at - 4) as i32;
        out[at..at + 4].copy_from_slice(&length.to_be_bytes());
    }
    Ok(())
}
