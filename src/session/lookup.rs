//! Prepared lookups: a statement that turns out to read the row under a key is compiled when it is run again, and then neither
//! planned nor optimized any more, until the catalog or a setting is another.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use arrow_schema::FieldRef;
use datafusion::scalar::ScalarValue;
use futures::stream::{self, StreamExt};
use parking_lot::Mutex;
use sqlparser::ast;
use tokio_util::sync::CancellationToken;

use super::select::{check_types, named};
use super::settings::Kept;
use super::{Outcome, Prepared, Session};
use crate::catalog::CatalogSnapshot;
use crate::error::Result;
use crate::query::compile::volatile_function;
use crate::query::errors::canceled;
use crate::query::output::canonicalise;
use crate::query::point::Point;

/// What a prepared statement has been compiled to.
#[derive(Debug, Default)]
pub struct Compiled {
    /// Statements that are run once are not worth it.
    was_run: AtomicBool,
    lookup: Mutex<Option<Arc<Lookup>>>,
}

struct Lookup {
    /// For which it holds.
    catalog: Arc<CatalogSnapshot>,
    settings: Kept,
    /// `None`: it is no lookup.
    point: Option<(Point, Vec<FieldRef>)>,
}

impl std::fmt::Debug for Lookup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lookup").field("is_lookup", &self.point.is_some()).finish_non_exhaustive()
    }
}

impl Session {
    /// Runs a query that is a compiled lookup; `None` for all others.
    pub(super) async fn look_up(
        &self,
        query: &ast::Query,
        prepared: &Prepared,
        values: &[ScalarValue],
        cancel: &CancellationToken,
    ) -> Result<Option<Outcome>> {
        // A block sees its own rows beside those that are there.
        if !prepared.compiled.was_run.swap(true, Ordering::Relaxed) || self.has_own_rows() {
            return Ok(None);
        }
        let lookup = self.lookup(query, prepared);
        let Some((point, columns)) = &lookup.point else { return Ok(None) };
        if !point.takes(values) {
            return Ok(None);
        }
        let pin = tokio::select! {
            biased;
            () = cancel.cancelled() => return Err(canceled()),
            pin = self.pin(std::slice::from_ref(&point.live)) => pin?,
        };
        let rows = point.read(pin.epoch, values)?;
        check_types(prepared, columns)?;
        let batches = stream::once(async { Ok(rows) }).boxed();
        let columns = columns.clone();
        Ok(Some(Outcome::Rows { columns, batches, tag: "SELECT", binary: false }))
    }

    fn lookup(&self, query: &ast::Query, prepared: &Prepared) -> Arc<Lookup> {
        let catalog = self.server.catalog.snapshot();
        let mut kept = prepared.compiled.lookup.lock();
        if let Some(lookup) = kept.as_ref()
            && Arc::ptr_eq(&lookup.catalog, &catalog)
            && self.settings.are(&lookup.settings)
        {
            return Arc::clone(lookup);
        }
        // What cannot be compiled is told when it is run as any other query.
        let point = self.compile_lookup(query, prepared).ok().flatten();
        let lookup = Arc::new(Lookup { catalog, settings: self.settings.kept(), point });
        *kept = Some(Arc::clone(&lookup));
        lookup
    }

    fn compile_lookup(
        &self,
        query: &ast::Query,
        prepared: &Prepared,
    ) -> Result<Option<(Point, Vec<FieldRef>)>> {
        let types: Vec<Option<FieldRef>> = prepared.params.iter().cloned().map(Some).collect();
        let planned = self.plan_batch(query, &types)?;
        if planned.scanned.len() != 1 || volatile_function(&planned.plan).is_some() {
            return Ok(None);
        }
        let plan = self.engine.optimize_batch(canonicalise(planned.plan)?)?;
        let point = Point::of(&self.engine, &plan, &prepared.params);
        Ok(point.map(|point| {
            let columns = named(point.schema().fields(), &planned.names);
            (point, columns)
        }))
    }
}
