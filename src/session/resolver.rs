//! What the names in a statement stand for, while it is planned.

use std::cell::{OnceCell, RefCell};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use arrow_array::{ArrayRef, BooleanArray, Int64Array};
use datafusion::catalog::TableProvider;
use datafusion::catalog::view::ViewTable;
use datafusion::common::TableReference;
use datafusion::datasource::{MemTable, provider_as_source};
use datafusion::logical_expr::{LogicalPlan, ScalarUDF, TableSource};

use super::Session;
use super::functions::session_function;
use super::sequence_functions::sequence_function;
use super::settings::Settings;
use super::transaction::Own;
use crate::arrangement::live::LiveTable;
use crate::backends::Backend;
use crate::catalog::system::{self, Activity, Setting, SystemContext};
use crate::catalog::{CatalogSnapshot, Counter, Object, ObjectId, ObjectKind, Relation};
use crate::change::batch_of;
use crate::error::{Error, Result, SqlState};
use crate::ingest::bounded::BoundedScan;
use crate::plan::Properties;
use crate::plan::lower::{ObjectFacts, ObjectSource};
use crate::query::at_hand::AtHand;
use crate::query::engine::{Engine, Resolver};
use crate::query::errors::{from_arrow, from_datafusion};
use crate::query::live_scan::{DeadLetters, LiveScan, ReadAt};
use crate::server::Server;
use crate::sql::ObjectName;

/// How many rows a stream is taken to have, of which nothing is kept that could be counted.
const STREAM_ROWS: u64 = 1_000_000;

/// What a statement is planned for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// It is run once, at one epoch.
    Batch,
    /// Its result is maintained.
    Streaming,
}

/// The names of one statement, and what it turned out to read.
pub struct Names<'a> {
    server: &'a Server,
    engine: &'a Engine,
    settings: &'a Settings,
    /// Whose prepared statements, cursors and numbers they are.
    session: &'a Session,
    pub catalog: Arc<CatalogSnapshot>,
    search_path: RefCell<Vec<String>>,
    purpose: Purpose,
    /// Rows that the statement names besides relations.
    pub at_hand: AtHand,
    pub read_at: ReadAt,
    /// What the session's transaction has changed, by table.
    pub own: Own,
    /// Live tables that will be scanned.
    pub scanned: RefCell<Vec<Arc<LiveTable>>>,
    /// Objects read directly, views included: what a new view depends on.
    pub depends_on: RefCell<Vec<ObjectId>>,
    /// How deep in views we are: only the outermost names count as dependencies.
    depth: RefCell<usize>,
    /// What pg_catalog is made from, once somebody asks.
    system: OnceCell<Arc<SystemContext>>,
    functions: OnceCell<Vec<Arc<ScalarUDF>>>,
}

impl<'a> Names<'a> {
    pub fn new(session: &'a Session, purpose: Purpose) -> Names<'a> {
        Names {
            server: &session.server,
            engine: &session.engine,
            settings: &session.settings,
            session,
            catalog: session.server.catalog.snapshot(),
            search_path: RefCell::new(session.settings.search_path()),
            purpose,
            at_hand: AtHand::default(),
            read_at: ReadAt::default(),
            own: Own::new(),
            scanned: RefCell::default(),
            depends_on: RefCell::default(),
            depth: RefCell::new(0),
            system: OnceCell::new(),
            functions: OnceCell::new(),
        }
    }

    fn object(&self, object: &Arc<Object>) -> Result<Arc<dyn TableSource>> {
        if *self.depth.borrow() == 0 && !self.depends_on.borrow().contains(&object.id) {
            self.depends_on.borrow_mut().push(object.id);
        }
        match &object.kind {
            ObjectKind::View { query, context, .. } => {
                self.view(object, query, &context.search_path)
            }
            ObjectKind::Table { .. }
            | ObjectKind::MaterializedView { .. }
            | ObjectKind::Source { .. }
                if self.purpose == Purpose::Streaming =>
            {
                Ok(Arc::new(ObjectSource::new(self.facts(object)?)))
            }
            ObjectKind::Source { connector, .. } if connector.stand_in => self.live_scan(object),
            ObjectKind::Source { .. } => {
                let source = self.server.coordinator.source(object.id);
                let source = source.ok_or_else(|| Error::internal("the source is not running"))?;
                if source.upsert {
                    // Its rows are what its messages come to, which its arrangement holds.
                    return self.live_scan(object);
                }
                Ok(provider_as_source(Arc::new(BoundedScan::new(
                    source.source,
                    source.starts,
                    object.columns.clone(),
                    source.fail_on_error,
                ))))
            }
            ObjectKind::Table { .. } | ObjectKind::MaterializedView { .. } => {
                self.live_scan(object)
            }
            ObjectKind::Index { .. } => {
                let message = format!("\"{}\" is an index", object.name);
                Err(Error::new(SqlState::WRONG_OBJECT_TYPE, message)
                    .with_hint("Read the table: lookups by the index's columns use it."))
            }
            ObjectKind::Sequence { counter, .. } if self.purpose == Purpose::Batch => {
                Ok(provider_as_source(sequence_row(object, counter)?))
            }
            ObjectKind::Sequence { .. } => {
                let message =
                    format!("sequence \"{}\" cannot be read in a materialized view", object.name);
                Err(Error::unsupported(message)
                    .with_hint("Its numbers are taken without a view being told."))
            }
            // In a test: what the place outside would have.
            ObjectKind::Sink { connector, .. }
                if connector.stand_in && self.purpose == Purpose::Batch =>
            {
                self.live_scan(object)
            }
            ObjectKind::Sink { .. } => {
                let message = format!("cannot read from sink \"{}\"", object.name);
                Err(Error::new(crate::error::SqlState::WRONG_OBJECT_TYPE, message))
            }
        }
    }

    /// What a maintained query may count on of an object that it reads.
    fn facts(&self, object: &Object) -> Result<ObjectFacts> {
        let live = self.server.live(object)?;
        let append_only = match &object.kind {
            ObjectKind::Table { append_only, .. } => *append_only,
            // Of sources those whose messages replace rows are not.
            ObjectKind::Source { .. } | ObjectKind::MaterializedView { .. } => live.append_only,
            ObjectKind::View { .. }
            | ObjectKind::Sink { .. }
            | ObjectKind::Index { .. }
            | ObjectKind::Sequence { .. } => false,
        };
        // Of a source only where its messages replace rows.
        let stored = match &object.kind {
            ObjectKind::Source { primary_key, .. } => !primary_key.is_empty(),
            ObjectKind::Table { .. } | ObjectKind::MaterializedView { .. } => true,
            ObjectKind::View { .. }
            | ObjectKind::Sink { .. }
            | ObjectKind::Index { .. }
            | ObjectKind::Sequence { .. } => false,
        };
        let keys = if live.key_is_unique { vec![live.key.clone()] } else { vec![] };
        Ok(ObjectFacts {
            id: object.id,
            name: object.name.clone(),
            schema: object.columns.clone(),
            properties: Properties { append_only, keys },
            stored,
            rows: if stored { live.rows() } else { STREAM_ROWS },
        })
    }

    /// What is kept of an object, as of the statement's epoch.
    fn live_scan(&self, object: &Object) -> Result<Arc<dyn TableSource>> {
        let live = self.server.live(object)?;
        self.scanned.borrow_mut().push(live.clone());
        let indexes = self.server.coordinator.indexes(object.id);
        let scan = LiveScan::new(live, object.columns.clone(), indexes, self.read_at.clone())
            .with_own_rows(self.own.get(&object.id).cloned());
        Ok(provider_as_source(Arc::new(scan)))
    }

    /// A view is its query, planned with the names it was created with.
    fn view(
        &self,
        object: &Object,
        query: &sqlparser::ast::Query,
        search_path: &[String],
    ) -> Result<Arc<dyn TableSource>> {
        let plan = self.plan_as(query, search_path)?;
        let plan = super::select::renamed(plan, object.columns.fields())?;
        Ok(provider_as_source(Arc::new(ViewTable::new(plan, None))))
    }

    /// The plan of a view's query, whose names were found by this search path.
    pub fn plan_as(
        &self,
        query: &sqlparser::ast::Query,
        search_path: &[String],
    ) -> Result<LogicalPlan> {
        let outer = self.search_path.replace(search_path.to_vec());
        *self.depth.borrow_mut() += 1;
        let plan = self.engine.plan(query, self, &[]);
        *self.depth.borrow_mut() -= 1;
        self.search_path.replace(outer);
        plan
    }

    fn system_context(&self) -> Arc<SystemContext> {
        let make = || {
            let path = self.settings.search_path();
            let mut context = SystemContext::new(self.catalog.clone(), self.settings.user(), path);
            let live = self.server.coordinator.shared.live.load();
            context.sizes = live
                .iter()
                .map(|(id, live)| {
                    (*id, live.counters.state_bytes.load(Ordering::Relaxed).max(0) as u64)
                })
                .collect();
            let setting =
                |(name, value): (String, String)| Setting { name, value, ..Setting::default() };
            context.cursors = self.session.cursors.rows();
            context.prepared = self.session.statements.rows();
            // 0 for sessions inside the process.
            context.backend_pid = self.session.backend.as_ref().map_or(0, |backend| backend.pid);
            context.sessions = self.server.backends.all().iter().map(|b| activity(b)).collect();
            context.jobs = super::jobs::jobs(self.server, &self.catalog);
            context.settings = self.settings.all().into_iter().map(setting).collect();
            Arc::new(context)
        };
        self.system.get_or_init(make).clone()
    }

    fn system(&self, schema: &str, name: &str) -> Result<Arc<dyn TableProvider>> {
        if schema == crate::catalog::TIDEWATER_SCHEMA && name == "dead_letters" {
            let live = self.server.coordinator.shared.live.load_full();
            let running = live.iter().filter(|(_, l)| l.failure().is_none() && l.is_attached());
            let name = |id: &ObjectId| self.catalog.get(*id).map(|object| object.display_name());
            let objects: Vec<(String, Arc<LiveTable>)> =
                running.filter_map(|(id, live)| Some((name(id)?, live.clone()))).collect();
            self.scanned.borrow_mut().extend(objects.iter().map(|(_, live)| live.clone()));
            return Ok(Arc::new(DeadLetters { objects, read_at: self.read_at.clone() }));
        }
        system::system_table(&self.system_context(), schema, name)
            .ok_or_else(|| Error::internal(format!("no system table {schema}.{name}")))?
    }
}

impl Resolver for Names<'_> {
    fn table(&self, reference: &TableReference) -> Result<Arc<dyn TableSource>> {
        if let TableReference::Bare { table } = reference
            && let Some(source) = self.at_hand.source(table)
        {
            return Ok(source);
        }
        let name = ObjectName {
            database: reference.catalog().map(str::to_owned),
            schema: reference.schema().map(str::to_owned),
            name: reference.table().to_owned(),
        };
        let path = self.search_path.borrow().clone();
        match self.catalog.relation(&path, &name)? {
            Relation::Object(object) => self.object(&object),
            Relation::System { schema, name } if self.purpose == Purpose::Streaming => {
                let message = format!("{schema}.{name} cannot be read in a materialized view");
                Err(Error::unsupported(message).with_hint("Read it with a plain view or a query."))
            }
            Relation::System { schema, name } => {
                Ok(provider_as_source(self.system(schema, &name)?))
            }
        }
    }

    fn function(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        // Casts and operators, which every statement has: no name that a user can write is like theirs.
        if name.contains(':') {
            return None;
        }
        let sequences = || self.session.sequences(self.catalog.clone());
        if let Some(function) = sequence_function(name, sequences) {
            return Some(function);
        }
        if let Some(function) = session_function(name, self.settings, &self.server.backends) {
            return Some(function);
        }
        let make =
            || system::system_functions(&self.system_context()).into_iter().map(Arc::new).collect();
        let functions: &Vec<Arc<ScalarUDF>> = self.functions.get_or_init(make);
        functions
            .iter()
            .find(|f| f.name() == name || f.aliases().iter().any(|a| a == name))
            .cloned()
    }

    fn setting(&self, name: &str) -> Option<String> {
        self.settings.get(name)
    }
}

/// A sequence as a relation: how far it has counted by now.
fn sequence_row(object: &Object, counter: &Counter) -> Result<Arc<dyn TableProvider>> {
    let counted = counter.counted();
    let columns: Vec<ArrayRef> = vec![
        Arc::new(Int64Array::from(vec![counted.last_value])),
        Arc::new(Int64Array::from(vec![counted.log_cnt])),
        Arc::new(BooleanArray::from(vec![counted.is_called])),
    ];
    let rows = batch_of(object.columns.clone(), columns, 1).map_err(from_arrow)?;
    let table = MemTable::try_new(object.columns.clone(), vec![vec![rows]]);
    Ok(Arc::new(table.map_err(from_datafusion)?))
}

/// A row of pg_stat_activity.
fn activity(backend: &Backend) -> Activity {
    let doing = backend.doing();
    Activity {
        pid: backend.pid,
        user: backend.user.clone(),
        application_name: doing.application_name,
        client_addr: backend.client_addr.map(|addr| addr.to_string()),
        backend_start: Some(backend.started),
        query_start: doing.query_started,
        state: doing.state.to_owned(),
        query: doing.query.to_string(),
    }
}
