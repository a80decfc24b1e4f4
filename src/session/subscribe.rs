//! SUBSCRIBE: the rows of a relation or query as of one epoch, then every later change of them.
//!
//! What keeps its rows is tapped where its changes are applied; any other query is maintained while the subscription lives.
//! A subscription is no part of its session's transaction: it begins with what is committed and goes on from there.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use arrow_array::{ArrayRef, BooleanArray, Int64Array, RecordBatch, StringArray, new_null_array};
use arrow_schema::{DataType, Field, FieldRef, Schema, SchemaRef};
use datafusion::logical_expr::LogicalPlan;
use datafusion::scalar::ScalarValue;
use futures::stream::{self, BoxStream, StreamExt};
use sqlparser::ast;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::resolver::{Names, Purpose};
use super::select::{check_types, named};
use super::{Outcome, Prepared, Session};
use crate::arrangement::Snapshot;
use crate::arrangement::feed::{Changed, FeedCounters, Limits, Taken};
use crate::arrangement::live::{LiveTable, Pin, ReadClock};
use crate::catalog::{Object, ObjectId, ObjectKind, Relation};
use crate::change::{ChangeBatch, batch_of, take_rows};
use crate::coordinator::subscriptions::{Subscribed, To};
use crate::coordinator::{Create, Runtime};
use crate::epoch::Epoch;
use crate::error::{Error, Result, SqlState};
use crate::plan::{Node, Op, lower};
use crate::query::errors::{canceled, from_arrow};
use crate::query::live_scan::check_poison;
use crate::query::params::{bind_params, prepare_params};
use crate::query::{canonicalise, output_fields, refuse_volatile};
use crate::sql::{self, Subscribe, SubscribeTo};

/// What a SUBSCRIBE is about.
enum Subject {
    /// Something that keeps its rows.
    Kept(Arc<Object>),
    Query(Box<ast::Query>),
}

impl Session {
    pub(super) fn describe_subscription(
        &self,
        subscribe: &Subscribe,
        given: &[Option<FieldRef>],
    ) -> Result<(Vec<FieldRef>, Option<Vec<FieldRef>>)> {
        let (params, columns) = match self.subject(subscribe)? {
            Subject::Kept(object) => (vec![], object.columns.fields().iter().cloned().collect()),
            Subject::Query(query) => {
                let (plan, names, params) = self.plan_changes(&query, given)?;
                let analyzed = self.engine.analyze(plan)?;
                let fields = output_fields(&analyzed);
                (params, under_names(fields, &names))
            }
        };
        Ok((params, Some(output_columns(subscribe, &columns))))
    }

    pub(super) async fn subscribe(
        &mut self,
        subscribe: &Subscribe,
        prepared: &Prepared,
        params: Vec<ScalarValue>,
        cancel: &CancellationToken,
    ) -> Result<Outcome> {
        let subscription =
            self.begin_subscription(subscribe, &prepared.params, params, cancel).await?;
        let columns = subscription.columns.clone();
        check_types(prepared, &columns)?;
        let batches = subscription.endless();
        Ok(Outcome::Rows { columns, batches, tag: "SUBSCRIBE", binary: false })
    }

    /// Begins a subscription; it can be read from when this returns.
    pub(super) async fn begin_subscription(
        &self,
        subscribe: &Subscribe,
        types: &[FieldRef],
        params: Vec<ScalarValue>,
        cancel: &CancellationToken,
    ) -> Result<Subscription> {
        let types: Vec<Option<FieldRef>> = types.iter().cloned().map(Some).collect();
        let subject = self.subject(subscribe)?;
        let (to, inputs, columns) = match subject {
            Subject::Kept(object) => {
                let columns = object.columns.fields().iter().cloned().collect();
                (To::Object(object.id), vec![object.id], columns)
            }
            Subject::Query(query) => {
                let (node, columns) = self.plan_maintained(subscribe, &query, &types, params)?;
                let inputs = node.imports();
                (To::Query(Box::new(self.query_of(subscribe, node))), inputs, columns)
            }
        };
        tokio::select! {
            biased;
            () = cancel.cancelled() => Err(canceled()),
            begun = self.start_subscription(subscribe, to, inputs, columns) => begun,
        }
    }

    async fn start_subscription(
        &self,
        subscribe: &Subscribe,
        to: To,
        inputs: Vec<ObjectId>,
        columns: Vec<FieldRef>,
    ) -> Result<Subscription> {
        let coordinator = &self.server.coordinator;
        let as_of = subscribe.as_of.map(Epoch);
        let inputs: Vec<Arc<LiveTable>> =
            inputs.into_iter().filter_map(|id| coordinator.live(id)).collect();
        let is_query = matches!(to, To::Query(_));
        let limits = Limits {
            rows: self.settings.count("subscribe_buffer_rows"),
            bytes: self.settings.bytes("subscribe_buffer_size"),
        };
        let mut subscribed = coordinator.subscribe(to, limits, as_of).await?;
        let (began, after) = (subscribed.began, subscribed.after);
        if let Some(epoch) = as_of.filter(|epoch| *epoch < began) {
            check_unchanged(&inputs, epoch, began).await?;
        }
        let reached = subscribed.live.wait_for(after).await;
        reached.map_err(|error| ended_by(&error, &subscribed.live, is_query))?;
        let versions = subscribed.live.versions(after);
        check_poison(&subscribed.live.names().object, &versions)?;
        let pin = subscribed.pin.take();
        let shards = versions.into_iter().filter_map(|version| version.rows).collect();
        let epoch = as_of.unwrap_or(after);
        let first = FirstLook { epoch, shards, chunk: 0, _pin: pin };
        let columns = output_columns(subscribe, &columns);
        Ok(Subscription {
            schema: Arc::new(Schema::new(columns.clone())),
            columns,
            progress: subscribe.progress,
            first: subscribe.snapshot.then_some(first),
            ready: VecDeque::new(),
            complete: after,
            told: None,
            clock: coordinator.shared.clock.clone(),
            counters: coordinator.shared.feeds.clone(),
            subscribed,
            is_query,
            until: Epoch::ZERO,
            deadline: None,
        })
    }

    /// What the workers are to maintain.
    fn query_of(&self, subscribe: &Subscribe, node: Node) -> Create {
        let (id, _) = self.server.catalog.allocate();
        let (name, schema) = (format!("subscription {}", id.0), node.schema.clone());
        // Rows that are only ever added are changes already; nobody asks for them once more.
        let stored = subscribe.snapshot || !node.properties.append_only;
        let runtime = Runtime::Query { plan: Arc::new(node), stored };
        Create { change: None, id, name, schema, runtime, spare_ids: vec![] }
    }

    fn subject(&self, subscribe: &Subscribe) -> Result<Subject> {
        let name = match &subscribe.to {
            SubscribeTo::Query(query) => return Ok(Subject::Query(query.clone())),
            SubscribeTo::Relation(name) => name,
        };
        let catalog = self.server.catalog.snapshot();
        let object = match catalog.relation(&self.settings.search_path(), name)? {
            Relation::Object(object) => object,
            Relation::System { schema, name } => {
                let message = format!("cannot subscribe to system relation {schema}.{name}");
                return Err(Error::unsupported(message));
            }
        };
        let kept = match &object.kind {
            ObjectKind::Table { .. } | ObjectKind::MaterializedView { .. } => true,
            ObjectKind::Source { primary_key, .. } => !primary_key.is_empty(),
            ObjectKind::View { .. }
            | ObjectKind::Sink { .. }
            | ObjectKind::Index { .. }
            | ObjectKind::Sequence { .. } => false,
        };
        match kept {
            true => Ok(Subject::Kept(object)),
            false => sql::parse_query(&format!("SELECT * FROM {name}")).map(Subject::Query),
        }
    }

    /// A query to be maintained, with the names that its columns have and the types of its parameters.
    fn plan_changes(
        &self,
        query: &ast::Query,
        given: &[Option<FieldRef>],
    ) -> Result<(LogicalPlan, Vec<sql::OutputName>, Vec<FieldRef>)> {
        let (query, names) = self.prepared_query(query);
        let resolver = Names::new(self, Purpose::Streaming);
        let plan = self.engine.plan(&query, &resolver, given)?;
        let params = prepare_params(&plan, given)?;
        // Columns whose type follows a parameter's are known only once that is.
        let known: Vec<Option<FieldRef>> = params.iter().cloned().map(Some).collect();
        let plan = match params.is_empty() {
            true => plan,
            false => self.engine.plan(&query, &resolver, &known)?,
        };
        Ok((plan, names, params))
    }

    fn plan_maintained(
        &self,
        subscribe: &Subscribe,
        query: &ast::Query,
        types: &[Option<FieldRef>],
        params: Vec<ScalarValue>,
    ) -> Result<(Node, Vec<FieldRef>)> {
        let (plan, names, _) = self.plan_changes(query, types)?;
        refuse_volatile(&plan)?;
        let plan = if params.is_empty() { plan } else { bind_params(plan, params)? };
        let plan = self.engine.optimize_streaming(canonicalise(plan)?)?;
        let columns = under_names(output_fields(&plan), &names);
        let nullable = |field: &FieldRef| field.as_ref().clone().with_nullable(true);
        let mut node = lower(&self.engine.props(), &plan)?;
        node.rename(Arc::new(Schema::new(columns.iter().map(nullable).collect::<Vec<Field>>())));
        check_sources(subscribe, &node)?;
        Ok((node, columns))
    }
}

fn under_names(fields: Vec<FieldRef>, names: &[sql::OutputName]) -> Vec<FieldRef> {
    let planned: Vec<String> = fields.iter().map(|field| field.name().clone()).collect();
    named(&fields.into(), &sql::expand_names(names, &planned))
}

/// Of a source that keeps no rows there are only those to come: no rows to begin with, and nothing that needs earlier ones.
fn check_sources(subscribe: &Subscribe, node: &Node) -> Result<()> {
    let (mut source, mut stateless) = (None, true);
    node.visit(&mut |node| match &node.op {
        Op::Import { name, stored, .. } => source = source.or((!stored).then_some(name)),
        Op::Values { .. }
        | Op::Project { .. }
        | Op::Filter { .. }
        | Op::Unnest { .. }
        | Op::Union => {}
        Op::Distinct
        | Op::Aggregate { .. }
        | Op::Join { .. }
        | Op::TopN { .. }
        | Op::Ranked { .. }
        | Op::Window { .. } => stateless = false,
    });
    let Some(source) = source else { return Ok(()) };
    if !stateless {
        let message = format!("the result depends on earlier rows of source \"{source}\"");
        return Err(Error::unsupported(message)
            .with_detail("A source keeps no rows.")
            .with_hint("Create a materialized view with the query and subscribe to that."));
    }
    if subscribe.snapshot {
        let message = format!("there is no snapshot of source \"{source}\"");
        return Err(Error::unsupported(message).with_detail("A source keeps no rows.").with_hint(
            "Use WITH (SNAPSHOT = false) for the rows to come, or subscribe to a materialized view over the source.",
        ));
    }
    Ok(())
}

/// An epoch that is past can be begun with where what is read has not changed since.
async fn check_unchanged(inputs: &[Arc<LiveTable>], epoch: Epoch, began: Epoch) -> Result<()> {
    for live in inputs {
        live.wait_for(began).await?;
        let changed = live.versions(began).iter().map(|version| version.epoch).max();
        if let Some(changed) = changed.filter(|changed| *changed > epoch) {
            let message =
                format!("\"{}\" is not kept as of epoch {epoch} any more", live.names().object);
            return Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, message)
                .with_detail(format!("It has changed since, last in epoch {changed}."))
                .with_hint("Subscribe without AS OF, for a new snapshot."));
        }
    }
    Ok(())
}

/// The columns a client sees.
fn output_columns(subscribe: &Subscribe, columns: &[FieldRef]) -> Vec<FieldRef> {
    let field = |name, data_type| Arc::new(Field::new(name, data_type, true));
    let mut all = vec![
        field("tw_epoch", DataType::Int64),
        field("tw_operation", DataType::Utf8),
        field("tw_weight", DataType::Int64),
    ];
    if subscribe.progress {
        all.push(field("tw_progressed", DataType::Boolean));
    }
    // Where there is a row that only tells of progress, they are NULL.
    all.extend(columns.iter().map(|f| Arc::new(f.as_ref().clone().with_nullable(true))));
    all
}

/// Why a subscription cannot go on, in words about the subscription.
fn ended_by(error: &Error, live: &LiveTable, is_query: bool) -> Error {
    let names = live.names();
    let name = &names.object;
    if is_query {
        let prefix = format!("\"{name}\" has failed: ");
        return match error.message.strip_prefix(&prefix) {
            Some(message) => Error::new(error.code, message),
            None => error.clone(),
        };
    }
    match error.code {
        SqlState::UNDEFINED_TABLE => {
            Error::new(error.code, format!("relation \"{name}\" has been dropped"))
        }
        _ => error.clone(),
    }
}

/// The rows to begin with, not yet all told.
struct FirstLook {
    epoch: Epoch,
    shards: VecDeque<Snapshot>,
    /// The next slice of the first shard.
    chunk: usize,
    /// Keeps them while they are read.
    _pin: Option<Pin>,
}

/// A subscription under way. Dropped, it ends.
pub(super) struct Subscription {
    pub columns: Vec<FieldRef>,
    schema: SchemaRef,
    progress: bool,
    first: Option<FirstLook>,
    /// Rows of an epoch that is being told.
    ready: VecDeque<RecordBatch>,
    /// All changes up to here have been told.
    complete: Epoch,
    /// The last epoch that the client knows to be complete.
    told: Option<Epoch>,
    clock: Arc<ReadClock>,
    counters: Arc<FeedCounters>,
    subscribed: Subscribed,
    is_query: bool,
    /// How far a FETCH goes, and how long it waits for the first row.
    until: Epoch,
    deadline: Option<Instant>,
}

impl Subscription {
    /// All there is and will be. It ends where nothing can change any more.
    pub fn endless(self) -> BoxStream<'static, Result<RecordBatch>> {
        let next = |state: Option<Subscription>| async move {
            let mut subscription = state?;
            loop {
                match subscription.take(Epoch::FINISHED) {
                    Ok(Some(batch)) => return Some((Ok(batch), Some(subscription))),
                    Ok(None) if subscription.complete == Epoch::FINISHED => return None,
                    Ok(None) => {}
                    Err(error) => return Some((Err(error), None)),
                }
                if let Err(error) = subscription.wait_for_more().await {
                    return Some((Err(error), None));
                }
            }
        };
        stream::unfold(Some(self), next).boxed()
    }

    /// A FETCH begins: it gets what has been acknowledged to anybody by now and what else there is; only where that is nothing
    /// it waits for so long.
    pub fn begin_fetch(&mut self, timeout: Option<Duration>) {
        self.until = self.clock.floor().max(self.subscribed.feed.complete());
        self.deadline = timeout.map(|timeout| Instant::now() + timeout);
    }

    /// The next rows of a FETCH.
    pub async fn fetched(&mut self) -> Result<Option<RecordBatch>> {
        loop {
            if let Some(batch) = self.take(self.until)? {
                self.deadline = None;
                return Ok(Some(batch));
            }
            if self.complete < self.until {
                self.wait(self.subscribed.feed.wait_complete(self.until)).await?;
                continue;
            }
            let Some(deadline) = self.deadline.filter(|_| self.complete < Epoch::FINISHED) else {
                return self.failure().map_or(Ok(None), Err);
            };
            match tokio::time::timeout_at(deadline, self.wait_for_more()).await {
                Ok(waited) => waited?,
                Err(_) => return Ok(None),
            }
            self.until = self.subscribed.feed.complete();
        }
    }

    async fn wait_for_more(&self) -> Result<()> {
        let seen = self.progress.then_some(self.complete);
        self.wait(self.subscribed.feed.wait_for_more(seen)).await
    }

    /// Waits for the feed, but not for an object that has failed or gone.
    async fn wait(&self, feed: impl Future<Output = ()>) -> Result<()> {
        let live = &self.subscribed.live;
        tokio::select! {
            biased;
            () = feed => Ok(()),
            error = live.failed() => Err(ended_by(&error, live, self.is_query)),
        }
    }

    fn failure(&self) -> Option<Error> {
        let live = &self.subscribed.live;
        live.failure().map(|error| ended_by(error, live, self.is_query))
    }

    /// The next rows, up to an epoch, as far as they are there.
    fn take(&mut self, until: Epoch) -> Result<Option<RecordBatch>> {
        loop {
            if let Err(error) = self.subscribed.feed.check() {
                // Nothing more is told, so nothing more is kept either.
                self.first = None;
                self.ready.clear();
                return Err(error);
            }
            if let Some(batch) = self.ready.pop_front() {
                return Ok(Some(batch));
            }
            if let Some(batch) = self.take_first()? {
                return Ok(Some(batch));
            }
            match self.subscribed.feed.take(until)? {
                Taken::Changed(changed) => self.tell(changed)?,
                Taken::Nothing { complete } => {
                    self.complete = self.complete.max(complete);
                    return self.tell_progress();
                }
            }
        }
    }

    /// The next of the rows to begin with.
    fn take_first(&mut self) -> Result<Option<RecordBatch>> {
        while let Some(first) = &mut self.first {
            let Some(shard) = first.shards.front() else {
                self.first = None;
                break;
            };
            if first.chunk == shard.chunks() {
                first.shards.pop_front();
                first.chunk = 0;
                continue;
            }
            first.chunk += 1;
            if let Some(rows) = shard.scan_chunk(first.chunk - 1, None) {
                let epoch = first.epoch;
                self.counters.rows.fetch_add(rows.num_rows() as u64, Ordering::Relaxed);
                return self.rows(epoch, "insert", &vec![1; rows.num_rows()], &rows).map(Some);
            }
        }
        Ok(None)
    }

    /// An epoch's changes, deletes before inserts, so that who keeps rows by key never has one too many.
    fn tell(&mut self, changed: Changed) -> Result<()> {
        let Changed { epoch, changes, poisoned } = changed;
        if let Some(version) = poisoned {
            check_poison(&self.subscribed.live.names().object, &[version])?;
        }
        if !self.subscribed.live.is_as_of(epoch) {
            let message = "the relation has been altered, and has other columns now";
            return Err(
                Error::new(SqlState::SERIALIZATION_FAILURE, message).with_hint("Subscribe again.")
            );
        }
        // From now on nobody may read anything older.
        self.clock.raise(epoch);
        self.complete = epoch;
        let mut inserts = vec![];
        for change in &changes {
            let (deleted, inserted) = halves(change)?;
            if let Some(deleted) = deleted {
                let batch = self.rows(epoch, "delete", &deleted.weights, deleted.rows())?;
                self.ready.push_back(batch);
            }
            if let Some(inserted) = inserted {
                inserts.push(self.rows(epoch, "insert", &inserted.weights, inserted.rows())?);
            }
        }
        self.ready.extend(inserts);
        Ok(())
    }

    fn rows(
        &self,
        epoch: Epoch,
        operation: &str,
        weights: &[i64],
        rows: &RecordBatch,
    ) -> Result<RecordBatch> {
        let n = rows.num_rows();
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(Int64Array::from_value(epoch.0 as i64, n)),
            Arc::new(StringArray::from_iter_values(std::iter::repeat_n(operation, n))),
            Arc::new(Int64Array::from(weights.to_vec())),
        ];
        if self.progress {
            columns.push(Arc::new(BooleanArray::from(vec![false; n])));
        }
        columns.extend(rows.columns().iter().cloned());
        batch_of(self.schema.clone(), columns, n).map_err(from_arrow)
    }

    /// A row that says that all epochs before its own have been told, where that is wanted and news.
    fn tell_progress(&mut self) -> Result<Option<RecordBatch>> {
        let news = self.told.is_none_or(|told| told < self.complete);
        if !self.progress || !news || self.complete == Epoch::FINISHED {
            return Ok(None);
        }
        self.told = Some(self.complete);
        self.clock.raise(self.complete);
        let fields = self.schema.fields().iter();
        let mut columns: Vec<ArrayRef> = fields.map(|f| new_null_array(f.data_type(), 1)).collect();
        columns[0] = Arc::new(Int64Array::from_value(self.complete.next().0 as i64, 1));
        columns[3] = Arc::new(BooleanArray::from(vec![true]));
        batch_of(self.schema.clone(), columns, 1).map(Some).map_err(from_arrow)
    }
}

/// A change's deletes and inserts.
fn halves(change: &ChangeBatch) -> Result<(Option<ChangeBatch>, Option<ChangeBatch>)> {
    if change.weights.iter().all(|weight| *weight > 0) {
        return Ok((None, Some(change.clone())));
    }
    let half = |deletes: bool| {
        let rows =
            (0..change.len() as u32).filter(|i| (change.weights[*i as usize] < 0) == deletes);
        let rows: Vec<u32> = rows.collect();
        let weights: Vec<i64> = rows.iter().map(|i| change.weights[*i as usize]).collect();
        let batch = take_rows(change.rows(), &rows).map_err(from_arrow)?;
        Ok::<_, Error>((!rows.is_empty()).then(|| ChangeBatch::new(batch, weights)))
    };
    Ok((half(true)?, half(false)?))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::server::Server;

    async fn begin(session: &mut Session, sql: &str) -> Result<Outcome> {
        let parsed = session.parse(sql)?.remove(0);
        let prepared = session.prepare(parsed, vec![]).await?;
        session.execute(&prepared, vec![], CancellationToken::new()).await
    }

    /// Waits until nothing is left of subscriptions: neither a feed nor a dataflow.
    async fn all_gone(server: &Server, objects: usize) {
        let shared = &server.coordinator.shared;
        let ended = async {
            while shared.feeds.active.load(Ordering::Relaxed) > 0
                || shared.live.load().len() > objects
            {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), ended).await.unwrap();
    }

    #[tokio::test]
    async fn a_subscription_that_is_dropped_leaves_nothing_behind() {
        let server = Server::start(2, 1 << 30).unwrap();
        let user = crate::catalog::OWNER;
        let mut session = Session::new(server.clone(), user, "", &BTreeMap::new()).unwrap();
        session.run_script("create table t (a integer); insert into t values (1)").await.unwrap();
        let objects = server.coordinator.shared.live.load().len();
        for sql in ["subscribe t", "subscribe (select count(*) from t)", "subscribe t as of 1000"] {
            let begun =
                tokio::time::timeout(Duration::from_secs(2), begin(&mut session, sql)).await;
            if let Ok(outcome) = begun {
                let Outcome::Rows { mut batches, .. } = outcome.unwrap() else { unreachable!() };
                assert_eq!(batches.next().await.unwrap().unwrap().num_rows(), 1, "{sql}");
                session.run_script("insert into t values (2)").await.unwrap();
                assert!(batches.next().await.unwrap().unwrap().num_rows() > 0, "{sql}");
                session.run_script("truncate t; insert into t values (1)").await.unwrap();
            }
            all_gone(&server, objects).await;
        }
        assert_eq!(server.memory.used_by(crate::memory::Holder::Session), 0);
        server.shutdown();
    }
}
