//! Runs cases: on a server, whose live tables are read after every epoch, and in DataFusion over tables that the test keeps
//! itself, so that a fault in live tables cannot hide. Both answers are compared as multisets of rendered rows.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arrow_array::{ArrayRef, RecordBatch, StringArray};
use arrow_schema::{DataType, SchemaRef};
use datafusion::catalog::view::ViewTable;
use datafusion::common::TableReference;
use datafusion::datasource::{MemTable, provider_as_source};
use datafusion::logical_expr::{Expr, LogicalPlan, LogicalPlanBuilder, TableSource};
use futures::StreamExt;
use futures::future::BoxFuture;
use tidewater::arrangement::live::LiveTable;
use tidewater::catalog::ObjectId;
use tidewater::coordinator::{Image, Write};
use tidewater::error::{Error, Result, SqlState};
use tidewater::query::errors::from_datafusion;
use tidewater::query::{Engine, EngineOptions, Resolver, canonicalise, output_fields};
use tidewater::server::Server;
use tidewater::session::{Outcome, Session};
use tidewater::types::{TextStyle, cast_from_text, row_values};
use tokio_util::sync::CancellationToken;

use crate::case::{Case, Change, Item, Row, Table, View};
use crate::follower::Follower;

/// A case that takes longer hangs. Debug builds on a busy machine take tens of seconds for the largest views.
const CASE_TIMEOUT: Duration = Duration::from_secs(120);
/// Far more than a case needs.
const MEMORY_LIMIT: u64 = 4 << 30;

/// How often each row is there.
pub type Bag = BTreeMap<String, i64>;

/// What became of a case that did not fail.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    pub compared: usize,
    /// Comparisons with non-empty answers: a test of empty views tests nothing.
    pub filled: usize,
    /// The query itself raised, so that there is nothing to compare with.
    pub undecided: usize,
    /// Views refused with 0A000.
    pub refused: usize,
    pub checkpoints: usize,
    pub restarts: usize,
}

impl std::ops::AddAssign for Tally {
    fn add_assign(&mut self, other: Tally) {
        self.compared += other.compared;
        self.filled += other.filled;
        self.undecided += other.undecided;
        self.refused += other.refused;
        self.checkpoints += other.checkpoints;
        self.restarts += other.restarts;
    }
}

/// Where a case failed: the view and what is different.
#[derive(Clone, Debug)]
pub struct Failure {
    pub view: String,
    pub what: String,
}

fn failed(view: &str, what: impl ToString) -> Failure {
    Failure { view: view.to_owned(), what: what.to_string() }
}

/// A server with one session.
pub struct Bench {
    pub server: Arc<Server>,
    session: Session,
    /// How many workers a case begins with, and how many there are after its restarts.
    workers: usize,
    running: usize,
    batch: Engine,
}

pub fn session(server: &Arc<Server>) -> Result<Session> {
    Session::new(server.clone(), "tidewater", "tidewater", &BTreeMap::new())
}

/// Runs statements to their end; the rows of the last one.
pub async fn execute(session: &mut Session, sql: &str) -> Result<Vec<RecordBatch>> {
    let mut rows = vec![];
    for parsed in session.parse(sql)? {
        let prepared = session.prepare(parsed, vec![]).await?;
        let outcome = session.execute(&prepared, vec![], CancellationToken::new()).await?;
        rows.clear();
        if let Outcome::Rows { mut batches, .. } = outcome {
            while let Some(batch) = batches.next().await {
                rows.push(batch?);
            }
        }
    }
    Ok(rows)
}

pub fn bag(batches: &[RecordBatch]) -> Bag {
    let mut bag = Bag::new();
    for batch in batches {
        for row in 0..batch.num_rows() {
            *bag.entry(row_values(batch, row).join(" | ")).or_default() += 1;
        }
    }
    bag
}

/// Rows as a table of `schema`.
fn batch_of(schema: &SchemaRef, rows: &[&Row]) -> RecordBatch {
    let style = TextStyle::default();
    let column = |i: usize| -> ArrayRef {
        let text: StringArray = rows.iter().map(|row| row[i].as_deref()).collect();
        let (array, errors) = cast_from_text(&text, schema.field(i), &style);
        assert!(errors.is_empty(), "values of a case fit their columns");
        array
    };
    let columns = (0..schema.fields().len()).map(column).collect();
    RecordBatch::try_new(schema.clone(), columns).expect("columns as declared")
}

impl Bench {
    pub fn start(workers: usize) -> Result<Bench> {
        let server = Server::start(workers, MEMORY_LIMIT)?;
        let session = session(&server)?;
        let batch = Engine::new(EngineOptions::default())?;
        Ok(Bench { server, session, workers, running: workers, batch })
    }

    /// Runs a case; afterwards nothing of it is left. A bench on which a case has failed may hang and is to be replaced.
    pub async fn run(&mut self, case: &Case) -> std::result::Result<Tally, Failure> {
        if self.running != self.workers {
            let server = Server::start(self.workers, MEMORY_LIMIT);
            let replaced = server.and_then(|server| self.replace(server, self.workers));
            replaced.map_err(|e| failed("", e))?;
        }
        let mut at = (String::new(), String::new());
        let outcome = tokio::time::timeout(CASE_TIMEOUT, self.items(case, &mut at)).await;
        let outcome = match outcome {
            Ok(outcome) => outcome,
            Err(_) => {
                let what = format!("nothing happens for {CASE_TIMEOUT:?}, {}", at.1);
                return Err(failed(&at.0, what));
            }
        };
        let tally = outcome?;
        execute(&mut self.session, "close all").await.map_err(|e| failed("", e))?;
        for table in &case.tables {
            let sql = format!("drop table {} cascade", table.name);
            execute(&mut self.session, &sql).await.map_err(|e| failed(&table.name, e))?;
        }
        Ok(tally)
    }

    fn replace(&mut self, server: Arc<Server>, workers: usize) -> Result<()> {
        self.session = session(&server)?;
        self.server.shutdown();
        (self.server, self.running) = (server, workers);
        Ok(())
    }

    /// Goes on with another number of workers from the checkpoints so far, and does again what came after them.
    async fn restart(
        &mut self,
        workers: usize,
        history: &mut History,
        views: &mut [Watched],
    ) -> Result<()> {
        if history.image.is_none() && history.asked.is_none() {
            history.checkpoint(&self.server).await?;
        }
        history.settle().await?;
        let image = history.image.clone().expect("settled above");
        // First the old one ends: nothing that it does later may matter.
        self.server.shutdown();
        let server = Server::restore(image, workers, MEMORY_LIMIT)?;
        self.replace(server, workers)?;
        for event in &history.since {
            match event {
                Event::Write(writes) => self.write(writes.clone()).await?,
                Event::Create(sql) => drop(execute(&mut self.session, sql).await?),
            }
        }
        for watched in views {
            let live = self.live(&watched.view.name);
            watched.live = live.ok_or_else(|| Error::internal("a view is not there"))?.1;
            watched.follower = None;
        }
        Ok(())
    }

    /// Tables are found by name: ALTER gives them other numbers.
    async fn write(&self, writes: Vec<(String, Write)>) -> Result<()> {
        let found = writes.into_iter().map(|(name, write)| {
            let there = self.live(&name).map(|(id, _)| (id, write));
            there.ok_or_else(|| Error::internal(format!("table {name} is not there")))
        });
        self.server.coordinator.write(found.collect::<Result<_>>()?).await.map(drop)
    }

    fn live(&self, name: &str) -> Option<(ObjectId, Arc<LiveTable>)> {
        let id = self.server.catalog.snapshot().find("public", name)?.id;
        Some((id, self.server.coordinator.live(id)?))
    }

    async fn items(
        &mut self,
        case: &Case,
        at: &mut (String, String),
    ) -> std::result::Result<Tally, Failure> {
        let mut kept = self.tables(case).await?;
        let mut history = History::default();
        let mut tally = Tally::default();
        let mut views: Vec<Watched> = vec![];
        let mut refused: Vec<&str> = vec![];
        let epochs = case.items.iter().filter(|item| matches!(item, Item::Epoch(_))).count();
        let mut epoch = 0;
        for item in &case.items {
            match item {
                Item::View(view) => {
                    *at = (view.name.clone(), format!("CREATE after epoch {epoch}"));
                    if refused.iter().any(|name| view.sql.contains(name)) {
                        continue;
                    }
                    match self.create(view, &kept).await? {
                        Some(watched) => {
                            kept.views.borrow_mut().insert(view.name.clone(), watched.plan.clone());
                            views.push(watched);
                            history.since.push(Event::Create(view.create()));
                        }
                        None => {
                            tally.refused += 1;
                            refused.push(&view.name);
                        }
                    }
                }
                Item::Index(on) => {
                    let sql = format!("create index on {on}");
                    at.1 = format!("{sql} after epoch {epoch}");
                    execute(&mut self.session, &sql).await.map_err(|e| failed("", e))?;
                    history.since.push(Event::Create(sql));
                }
                Item::Alter(table) => {
                    let Some(altered) = kept.tables.get_mut(table) else { continue };
                    let sql = self.alter(table, altered).await.map_err(|e| failed(table, e))?;
                    history.since.extend(sql.map(Event::Create));
                }
                Item::Epoch(changes) => {
                    epoch += 1;
                    at.1 = format!("writing epoch {epoch}");
                    let writes = kept.apply(changes).await;
                    let written = self.write(writes.clone()).await;
                    written.map_err(|e| failed("", format!("a write was refused: {e}")))?;
                    history.since.push(Event::Write(writes));
                }
                Item::Checkpoint => {
                    at.1 = format!("a checkpoint after epoch {epoch}");
                    history.checkpoint(&self.server).await.map_err(|e| failed(&at.1, e))?;
                    tally.checkpoints += 1;
                    continue;
                }
                Item::Restart(workers) => {
                    at.1 = format!("a restart after epoch {epoch}");
                    let restarted = self.restart(*workers, &mut history, &mut views).await;
                    restarted.map_err(|e| failed(&at.1, e))?;
                    tally.restarts += 1;
                }
            }
            for watched in &mut views {
                *at = (watched.view.name.clone(), format!("reading after epoch {epoch}"));
                tally += self.compare(watched, epoch == epochs).await?;
            }
        }
        Ok(tally)
    }

    /// The statement that has altered the table; `None` where a view that breaks ties by whole rows keeps the column.
    async fn alter(&mut self, name: &str, table: &mut KeptTable) -> Result<Option<String>> {
        let sql = table.alter(name);
        match execute(&mut self.session, &sql).await {
            Ok(_) => {}
            Err(error) if error.code == SqlState::DEPENDENT_OBJECTS_STILL_EXIST => {
                table.alters -= 1;
                return Ok(None);
            }
            Err(error) => return Err(error),
        }
        let live = self.live(name).ok_or_else(|| Error::internal("the table is not there"))?.1;
        table.written = live.schema.clone();
        Ok(Some(sql))
    }

    async fn tables(&mut self, case: &Case) -> std::result::Result<Kept, Failure> {
        let mut kept = Kept::default();
        for table in &case.tables {
            let sql = format!("create {table}");
            execute(&mut self.session, &sql).await.map_err(|e| failed(&table.name, e))?;
            let live = self.live(&table.name).ok_or_else(|| failed(&table.name, "not there"))?;
            kept.add(table, live);
        }
        Ok(kept)
    }

    /// Creates the view and plans the query it is compared with; `None` when it is refused as not maintained.
    async fn create(
        &mut self,
        view: &View,
        kept: &Kept,
    ) -> std::result::Result<Option<Watched>, Failure> {
        let wrong = |e: Error| failed(&view.name, format!("the query cannot be planned: {e}"));
        let planned = kept.plan(&self.batch, &view.reference()).and_then(|plan| {
            let optimized = self.batch.optimize_batch(plan.clone())?;
            Ok((plan, optimized))
        });
        let planned = match planned {
            // Views in the query are maintained ones to the server, and queries to be planned with it here.
            Err(error) if error.code == SqlState::FEATURE_NOT_SUPPORTED => return Ok(None),
            // What is not there any more after shrinking is told below.
            planned => planned,
        };
        match execute(&mut self.session, &view.create()).await {
            Ok(_) => {}
            // After shrinking, a view may read one that is no longer there.
            Err(error)
                if [SqlState::FEATURE_NOT_SUPPORTED, SqlState::UNDEFINED_TABLE]
                    .contains(&error.code) =>
            {
                return Ok(None);
            }
            Err(error) => return Err(failed(&view.name, format!("CREATE: {error}"))),
        }
        let (plan, optimized) = planned.map_err(wrong)?;
        let (_, live) = self.live(&view.name).ok_or_else(|| failed(&view.name, "not there"))?;
        let types = |schema: &SchemaRef| -> Vec<DataType> {
            schema.fields().iter().map(|f| f.data_type().clone()).collect()
        };
        let fields = output_fields(&optimized);
        let expected: Vec<DataType> = fields.iter().map(|f| f.data_type().clone()).collect();
        let found = types(&live.schema);
        if expected != found {
            return Err(failed(&view.name, format!("types: {found:?}, its query's: {expected:?}")));
        }
        Ok(Some(Watched { view: view.clone(), plan, optimized, live, follower: None }))
    }

    /// The view against its query; at the end also what a SELECT says of both.
    async fn compare(
        &mut self,
        watched: &mut Watched,
        last: bool,
    ) -> std::result::Result<Tally, Failure> {
        let view = &watched.view;
        let expected = self.batch.collect(&watched.optimized, CancellationToken::new()).await;
        let expected = match expected {
            Ok(batches) => bag(&batches),
            Err(error) => {
                eprintln!("oracle: undecided, the query of {} raises: {error}", view.name);
                if let Some(follower) = watched.follower.take() {
                    follower.end(&mut self.session).await.map_err(|e| failed(&view.name, e))?;
                }
                return Ok(Tally { undecided: 1, ..Tally::default() });
            }
        };
        let (found, errors) =
            self.read(&watched.live).await.map_err(|e| failed(&view.name, format!("read: {e}")))?;
        if errors > 0 && !view.fallible {
            let what = format!("{errors} dead letters though its query does not fail");
            return Err(failed(&view.name, what));
        }
        differ("its query", &expected, &found).map_err(|what| failed(&view.name, what))?;
        let told = follow(&mut watched.follower, view, &mut self.session).await;
        let told = told.map_err(|e| failed(&view.name, format!("SUBSCRIBE: {e}")))?;
        differ("what SUBSCRIBE tells", told, &found).map_err(|w| failed(&view.name, w))?;
        if last {
            let sql = format!("select * from {}", view.name);
            let read = execute(&mut self.session, &sql).await.map_err(|e| failed(&view.name, e))?;
            differ("SELECT of it", &bag(&read), &found).map_err(|w| failed(&view.name, w))?;
            let again = execute(&mut self.session, &view.reference()).await;
            if let Ok(again) = again {
                differ("SELECT of its query", &bag(&again), &found)
                    .map_err(|what| failed(&view.name, what))?;
            }
        }
        let filled = usize::from(!found.is_empty());
        Ok(Tally { compared: 1, filled, ..Tally::default() })
    }

    /// The live table's rows now, and how many errors stand.
    async fn read(&self, live: &Arc<LiveTable>) -> Result<(Bag, usize)> {
        let pin = self.server.coordinator.pin(std::slice::from_ref(live)).await?;
        let (mut batches, mut errors) = (vec![], 0);
        for version in live.versions(pin.epoch) {
            batches.extend(version.rows.iter().flat_map(|rows| rows.scan()));
            errors += version.errors.len();
        }
        Ok((bag(&batches), errors))
    }

    pub fn workers(&self) -> usize {
        self.workers
    }
}

/// What a case has done since the last checkpoint that was asked for.
enum Event {
    Write(Vec<(String, Write)>),
    Create(String),
}

/// The checkpoints of a case.
#[derive(Default)]
struct History {
    /// All that have been answered, put together.
    image: Option<Image>,
    /// The last one, which may still be under way.
    asked: Option<BoxFuture<'static, Result<Image>>>,
    since: Vec<Event>,
}

impl History {
    /// Asks for a checkpoint and does not wait for it.
    async fn checkpoint(&mut self, server: &Server) -> Result<()> {
        self.settle().await?;
        self.asked = Some(Box::pin(server.coordinator.checkpoint()));
        self.since.clear();
        Ok(())
    }

    /// Waits for the checkpoint that is under way.
    async fn settle(&mut self) -> Result<()> {
        let Some(asked) = self.asked.take() else { return Ok(()) };
        let later = asked.await?;
        match &mut self.image {
            Some(image) => image.extend(later),
            None => {
                self.image = Some(later);
                Ok(())
            }
        }
    }
}

/// A view that is compared with its query.
struct Watched {
    view: View,
    plan: LogicalPlan,
    optimized: LogicalPlan,
    live: Arc<LiveTable>,
    follower: Option<Follower>,
}

/// What the view's follower has been told so far; it begins now where there is none.
async fn follow<'a>(
    follower: &'a mut Option<Follower>,
    view: &View,
    session: &mut Session,
) -> Result<&'a Bag> {
    if let Some(begun) = follower.as_mut()
        // A query that tells rows apart by all their columns has lost one of them.
        && let Err(error) = begun.rows(session).await
    {
        let ended = follower.take().expect("it has told an error");
        ended.end(session).await?;
        if error.code != SqlState::SERIALIZATION_FAILURE {
            return Err(error);
        }
    }
    if follower.is_none() {
        *follower = Some(Follower::begin(session, view).await?);
    }
    follower.as_mut().expect("it has just begun").rows(session).await
}

fn differ(of: &str, expected: &Bag, found: &Bag) -> std::result::Result<(), String> {
    if expected == found {
        return Ok(());
    }
    let mut lines = vec![format!("the view differs from {of} (+ only in the view):")];
    let rows: std::collections::BTreeSet<&String> = expected.keys().chain(found.keys()).collect();
    for row in rows {
        let times = |bag: &Bag| bag.get(row).copied().unwrap_or(0);
        let (expected, found) = (times(expected), times(found));
        if expected != found {
            lines.push(format!("  {:+} {row}", found - expected));
        }
    }
    Err(lines.join("\n"))
}

/// One table as the test keeps it.
struct KeptTable {
    schema: SchemaRef,
    /// The columns of the server's table: those of the case and, sometimes, one more.
    written: SchemaRef,
    /// How often the table was altered; after an odd number it has one column more, which holds that number.
    alters: usize,
    keyed: bool,
    rows: Vec<Row>,
    mem: Arc<MemTable>,
}

/// The accumulated input, and the names that queries over it use.
#[derive(Default)]
struct Kept {
    tables: BTreeMap<String, KeptTable>,
    views: RefCell<BTreeMap<String, LogicalPlan>>,
}

impl KeptTable {
    /// The statement that is the next ALTER.
    fn alter(&mut self, name: &str) -> String {
        self.alters += 1;
        match self.alters % 2 {
            1 => format!("alter table {name} add column x{name} integer default {}", self.alters),
            _ => format!("alter table {name} drop column x{name}"),
        }
    }

    /// Rows as the server's table has them.
    fn batch(&self, rows: &[&Row]) -> Vec<RecordBatch> {
        if rows.is_empty() {
            return vec![];
        }
        let more = (self.alters % 2 == 1).then(|| Some(self.alters.to_string()));
        let whole = |row: &&Row| row.iter().cloned().chain(more.clone()).collect();
        let rows: Vec<Row> = rows.iter().map(whole).collect();
        vec![batch_of(&self.written, &rows.iter().collect::<Vec<_>>())]
    }
}

impl Kept {
    fn add(&mut self, table: &Table, (_, live): (ObjectId, Arc<LiveTable>)) {
        let schema = live.schema.clone();
        let mem = Arc::new(MemTable::try_new(schema.clone(), vec![vec![]]).expect("no batches"));
        let (written, keyed) = (schema.clone(), table.keyed);
        let kept = KeptTable { schema, written, alters: 0, keyed, rows: vec![], mem };
        self.tables.insert(table.name.clone(), kept);
    }

    /// Applies an epoch's changes; what makes no sense any more after shrinking is left out.
    async fn apply(&mut self, changes: &[Change]) -> Vec<(String, Write)> {
        let mut writes = vec![];
        for (name, kept) in &mut self.tables {
            let of_table = |insert: bool| {
                changes.iter().filter(move |c| c.table == *name && c.insert == insert)
            };
            let (mut deletes, mut inserts) = (vec![], vec![]);
            for change in of_table(false) {
                if let Some(at) = kept.rows.iter().position(|row| *row == change.row) {
                    kept.rows.swap_remove(at);
                    deletes.push(&change.row);
                }
            }
            for change in of_table(true) {
                if !kept.keyed || kept.rows.iter().all(|row| row[0] != change.row[0]) {
                    kept.rows.push(change.row.clone());
                    inserts.push(&change.row);
                }
            }
            let (deletes, inserts) = (kept.batch(&deletes), kept.batch(&inserts));
            let write = Write { deletes, inserts, ..Write::default() };
            if !write.deletes.is_empty() || !write.inserts.is_empty() {
                let all: Vec<&Row> = kept.rows.iter().collect();
                *kept.mem.batches[0].write().await = vec![batch_of(&kept.schema, &all)];
                writes.push((name.clone(), write));
            }
        }
        writes
    }

    /// The query's plan with its columns under their own names.
    fn plan(&self, engine: &Engine, sql: &str) -> Result<LogicalPlan> {
        let mut query = tidewater::sql::parse_query(sql)?;
        tidewater::sql::name_derived_columns(&mut query);
        let plan = canonicalise(engine.plan(&query, self, &[])?)?;
        let fields = output_fields(&plan);
        let columns = plan.schema().columns().into_iter().zip(&fields);
        let columns: Vec<Expr> =
            columns.map(|(c, field)| Expr::Column(c).alias(field.name())).collect();
        LogicalPlanBuilder::from(plan)
            .project(columns)
            .and_then(LogicalPlanBuilder::build)
            .map_err(from_datafusion)
    }
}

impl Resolver for Kept {
    fn table(&self, reference: &TableReference) -> Result<Arc<dyn TableSource>> {
        let name = reference.table();
        if let Some(table) = self.tables.get(name) {
            return Ok(provider_as_source(table.mem.clone()));
        }
        let views = self.views.borrow();
        let plan = views.get(name).ok_or_else(|| {
            Error::new(SqlState::UNDEFINED_TABLE, format!("relation \"{name}\" does not exist"))
        })?;
        Ok(provider_as_source(Arc::new(ViewTable::new(plan.clone(), None))))
    }

    fn setting(&self, _name: &str) -> Option<String> {
        None
    }
}
