//! What is owed as whole files: the rows that came, one a line, or as Parquet.

use tidewater_connectors::sink::Outgoing;

use super::encode::{RowEncoding, Rows, Shape};
use super::parquet;
use crate::change::ChangeBatch;
use crate::error::Result;
use crate::types::TextStyle;

impl Shape {
    /// Files of the rows that came, each as often as its weight says. A file ends behind the row with which it has `bytes`.
    pub fn files(&self, change: &ChangeBatch, bytes: usize) -> Result<Outgoing> {
        match self.encoding {
            RowEncoding::Json | RowEncoding::Csv => self.lines(change, bytes),
            RowEncoding::Parquet(compression) => {
                parquet::files(&self.schema, change, bytes, compression)
            }
        }
    }

    fn lines(&self, change: &ChangeBatch, bytes: usize) -> Result<Outgoing> {
        let (rows, style) = (Rows::new(self, change.rows())?, TextStyle::default());
        let mut out = Outgoing::default();
        let (mut file, mut count) = (vec![], 0);
        for row in came(change) {
            rows.put_row(row as usize, &style, &mut file);
            file.push(b'\n');
            count += 1;
            if file.len() >= bytes {
                out.push_file(&file, count);
                (file, count) = (vec![], 0);
            }
        }
        if count > 0 {
            out.push_file(&file, count);
        }
        Ok(out)
    }
}

/// The numbers of the rows that came, in order, each as often as its weight says.
pub(super) fn came(change: &ChangeBatch) -> impl Iterator<Item = u32> + '_ {
    let weights = change.weights.iter().enumerate();
    weights.flat_map(|(row, &weight)| {
        std::iter::repeat_n(row as u32, usize::try_from(weight).unwrap_or(0))
    })
}
