//! COPY FROM STDIN and TO STDOUT, between the wire that carries the bytes and the tables.
//!
//! What comes in is read into whole rows batch by batch, on the memory account as rows to write, and written at the end in one
//! write: all rows or none, in one epoch. The table is locked only then, so a slow client holds nobody up.

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{Field, FieldRef};
use futures::stream::BoxStream;
use sqlparser::ast;
use tokio_util::sync::CancellationToken;

use crate::catalog::{Generation, Object};
use crate::coordinator::Write;
use crate::coordinator::locks::Access;
use crate::copy::{CopyReader, CopyWriter};
use crate::error::{Error, Result, SqlState};
use crate::memory::{self, Holder, Reservation};
use crate::session::select::{at_leisure, named};
use crate::session::{Outcome, Session, command};
use crate::sql::{self, CopySubject, ObjectName, quote_identifier};

/// Bytes from which reading them is work that other connections should not wait for.
const LONG_DATA_BYTES: usize = 64 * 1024;

/// A COPY FROM under way.
pub struct CopyIn {
    table: Arc<Object>,
    /// The columns of the table that the data has, in its order.
    columns: Vec<usize>,
    reader: CopyReader,
    /// Whole rows of the table.
    rows: Vec<RecordBatch>,
    held: Reservation,
    /// What the reader held when the account was told last.
    reading: u64,
}

impl CopyIn {
    pub fn is_binary(&self) -> bool {
        self.reader.is_binary()
    }

    pub fn columns(&self) -> usize {
        self.reader.columns()
    }
}

/// A COPY TO: rows, and who writes them.
pub struct CopyOut {
    pub writer: CopyWriter,
    pub batches: BoxStream<'static, Result<RecordBatch>>,
}

impl Session {
    pub(in crate::session) async fn copy(
        &mut self,
        copy: &sql::Copy,
        cancel: &CancellationToken,
    ) -> Result<Outcome> {
        match copy.to {
            true => self.copy_out(copy, cancel).await,
            false => self.copy_in(copy),
        }
    }

    fn copy_in(&self, copy: &sql::Copy) -> Result<Outcome> {
        let CopySubject::Relation { name, columns } = &copy.subject else {
            return Err(Error::internal("COPY FROM has a table"));
        };
        let table = self.writable(&written_name(name))?;
        let columns = self.copied_columns(&table, columns)?;
        let fields: Vec<Field> =
            columns.iter().map(|&i| table.columns.field(i).clone().with_nullable(true)).collect();
        let reader =
            CopyReader::try_new(&table.name, fields, copy.options.clone(), self.text_style())?;
        let held = self.server.coordinator.shared.memory.reserve(Holder::Query, "COPY");
        let rows = vec![];
        let copy = CopyIn { table, columns, reader, rows, held, reading: 0 };
        Ok(Outcome::CopyIn(Box::new(copy)))
    }

    /// The columns named, or all but the generated ones, which no COPY has.
    fn copied_columns(&self, table: &Object, names: &[String]) -> Result<Vec<usize>> {
        let stored = |i: &usize| matches!(table.generation(*i), Some(Generation::Stored(_)));
        if names.is_empty() {
            return Ok((0..table.columns.fields().len()).filter(|i| !stored(i)).collect());
        }
        let columns = self.columns_named(table, names)?;
        match columns.iter().find(|i| stored(i)) {
            None => Ok(columns),
            Some(i) => {
                let name = table.columns.field(*i).name();
                let message = format!("column \"{name}\" is a generated column");
                Err(Error::new(SqlState::INVALID_COLUMN_REFERENCE, message)
                    .with_detail("Generated columns cannot be used in COPY."))
            }
        }
    }

    /// Takes the next bytes of a COPY FROM.
    pub async fn copy_data(
        &mut self,
        copy: &mut CopyIn,
        data: &[u8],
        cancel: &CancellationToken,
    ) -> Result<()> {
        let mut batches = vec![];
        let bytes = if data.len() >= LONG_DATA_BYTES { usize::MAX } else { 0 };
        at_leisure(bytes, || copy.reader.feed(data, &mut batches))?;
        self.take_copied(copy, batches, cancel).await
    }

    /// The client has sent everything: the rows are written.
    pub async fn copy_done(
        &mut self,
        mut copy: CopyIn,
        cancel: &CancellationToken,
    ) -> Result<Outcome> {
        let mut batches = vec![];
        copy.reader.finish(&mut batches)?;
        self.take_copied(&mut copy, batches, cancel).await?;
        let guards = self.lock(&copy.table, &[], Access::Shared, cancel).await?;
        let write = Write { inserts: copy.rows, ..Write::default() };
        let rows =
            self.write(&copy.table, write, guards).await.map_err(|error| match error.context {
                Some(_) => error,
                None => error.with_context(format!("COPY {}", copy.table.name)),
            })?;
        command(format!("COPY {rows}"))
    }

    /// Completes batches to whole rows and keeps them.
    async fn take_copied(
        &self,
        copy: &mut CopyIn,
        batches: Vec<RecordBatch>,
        cancel: &CancellationToken,
    ) -> Result<()> {
        let reading = copy.reader.bytes() as u64;
        match reading > copy.reading {
            true => copy.held.try_grow(memory::Purpose::Write, reading - copy.reading)?,
            false => copy.held.shrink(copy.reading - reading),
        }
        copy.reading = reading;
        for batch in batches {
            let given = copy.columns.iter().copied().zip(batch.columns().iter().cloned());
            let rows =
                self.completed(&copy.table, given.collect(), batch.num_rows(), cancel).await?;
            let rows = self
                .settled(&copy.table, rows)
                .map_err(|error| error.with_context(format!("COPY {}", copy.table.name)))?;
            copy.held.try_grow(memory::Purpose::Write, rows.get_array_memory_size() as u64)?;
            copy.rows.push(rows);
        }
        Ok(())
    }

    async fn copy_out(&mut self, copy: &sql::Copy, cancel: &CancellationToken) -> Result<Outcome> {
        let query = match &copy.subject {
            CopySubject::Query(query) => query.clone(),
            CopySubject::Subscribe(subscribe) => {
                let begun = self.begin_subscription(subscribe, &[], vec![], cancel).await?;
                let writer = CopyWriter::try_new(begun.columns.clone(), copy.options.clone())?;
                let batches = begun.endless();
                return Ok(Outcome::CopyOut(Box::new(CopyOut { writer, batches })));
            }
            CopySubject::Relation { name, columns } => {
                let catalog = self.server.catalog.snapshot();
                let list: Vec<String> = match catalog.resolve(&self.settings.search_path(), name) {
                    Ok(table) if table.rules().is_some() => {
                        let columns = self.copied_columns(&table, columns)?.into_iter();
                        columns.map(|i| quote_identifier(table.columns.field(i).name())).collect()
                    }
                    _ if columns.is_empty() => vec!["*".to_owned()],
                    _ => columns.iter().map(|c| quote_identifier(c)).collect(),
                };
                let list = list.join(", ");
                sql::parse_query(&format!("SELECT {list} FROM {name}"))?
            }
        };
        let planned = self.plan_batch(&query, &[])?;
        let names = planned.names.clone();
        let rows = self.run(planned, vec![], cancel).await?;
        let columns: Vec<FieldRef> = named(rows.schema.fields(), &names);
        let writer = CopyWriter::try_new(columns, copy.options.clone())?;
        Ok(Outcome::CopyOut(Box::new(CopyOut { writer, batches: rows.batches })))
    }
}

/// A name as the parser has it.
pub(super) fn written_name(name: &ObjectName) -> ast::ObjectName {
    let parts = [&name.database, &name.schema].into_iter().flatten().cloned();
    let parts = parts.chain([name.name.clone()]);
    ast::ObjectName::from(parts.map(|part| ast::Ident::with_quote('"', part)).collect::<Vec<_>>())
}
