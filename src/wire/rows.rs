//! Rows of a record batch as DataRow messages, written straight into the output buffer.

use arrow_array::RecordBatch;
use arrow_schema::FieldRef;
use bytes::{BufMut, BytesMut};

use super::portal::Format;
use crate::error::{Error, Result, SqlState};
use crate::types::{ColumnWriter, TextStyle};

/// PostgreSQL's clients take a message of up to 1 GiB.
const ROW_BYTES_MAX: usize = 0x3fff_ffff;

/// A batch on its way out, with the place up to which it is sent.
pub struct BatchRows {
    writers: Vec<(ColumnWriter, Format)>,
    rows: usize,
    next: usize,
}

impl BatchRows {
    /// Errors when a column's values have no PostgreSQL form, or the batch is not as its columns were announced.
    pub fn try_new(
        batch: &RecordBatch,
        columns: &[FieldRef],
        formats: &[Format],
    ) -> Result<BatchRows> {
        if batch.num_columns() != columns.len() {
            let message = format!(
                "{} columns came where {} were announced",
                batch.num_columns(),
                columns.len()
            );
            return Err(Error::internal(message));
        }
        let writers = batch.columns().iter().zip(columns).enumerate();
        let writers = writers
            .map(|(i, (array, field))| {
                Ok((ColumnWriter::try_new(array, field)?, Format::of_column(formats, i)))
            })
            .collect::<Result<_>>()?;
        Ok(BatchRows { writers, rows: batch.num_rows(), next: 0 })
    }

    pub fn is_done(&self) -> bool {
        self.next == self.rows
    }

    /// Passes over rows, `rows_max` at most; returns how many.
    pub fn skip(&mut self, rows_max: u64) -> u64 {
        let count = rows_max.min((self.rows - self.next) as u64);
        self.next += count as usize;
        count
    }

    /// Writes rows until `rows_max` of them are written or the buffer has `bytes_max` bytes; returns how many.
    /// After an error the buffer still holds whole messages only.
    pub fn put(
        &mut self,
        rows_max: u64,
        bytes_max: usize,
        style: &TextStyle,
        out: &mut BytesMut,
    ) -> Result<u64> {
        let mut count = 0;
        while !self.is_done() && count < rows_max && out.len() < bytes_max {
            let start = out.len();
            if let Err(e) = self.put_row(self.next, style, out) {
                out.truncate(start);
                return Err(e);
            }
            self.next += 1;
            count += 1;
        }
        Ok(count)
    }

    fn put_row(&self, row: usize, style: &TextStyle, out: &mut BytesMut) -> Result<()> {
        let start = out.len();
        out.put_u8(b'D');
        out.put_i32(0);
        out.put_i16(self.writers.len() as i16);
        for (writer, format) in &self.writers {
            if writer.is_null(row) {
                out.put_i32(-1);
                continue;
            }
            let at = out.len();
            out.put_i32(0);
            match format {
                Format::Text => writer.write_text(row, style, out),
                Format::Binary => writer.write_binary(row, out)?,
            }
            set_length(out, at, out.len() - at - 4)?;
        }
        set_length(out, start + 1, out.len() - start - 1)
    }
}

/// Puts a length where room was left for it.
fn set_length(out: &mut BytesMut, at: usize, length: usize) -> Result<()> {
    if length > ROW_BYTES_MAX {
        return Err(Error::new(SqlState("54000"), "row is too large to be sent")
            .with_detail(format!("It has more than {ROW_BYTES_MAX} bytes.")));
    }
    out[at..at + 4].copy_from_slice(&(length as i32).to_be_bytes());
    Ok(())
}
