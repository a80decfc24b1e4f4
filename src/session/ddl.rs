//! CREATE: what a definition means is found out here, the coordinator gives it its place in time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arrow_schema::{Field, FieldRef, Schema, SchemaRef};
use sqlparser::ast;
use tidewater_connectors::contract::{ConnectorError, Source};
use tidewater_connectors::options::Options as ConnectorOptions;
use tidewater_connectors::registry::{self, Encode, Format, Include, IncludeKind, SourceSpec};
use tokio_util::sync::CancellationToken;

use super::resolver::{Names, Purpose};
use super::rules::sequence_of;
use super::select::named;
use super::{Outcome, Session, command};
use crate::catalog::{
    self, CatalogChange, ConnectorSpec, CreationContext, Object, ObjectId, ObjectKind, Oid,
    TableRules,
};
use crate::coordinator::locks::Access;
use crate::coordinator::{Create, Feed, Runtime, Stream};
use crate::epoch::Epoch;
use crate::error::{Error, Result, SqlState};
use crate::plan::{Node, lower};
use crate::query::compile::{refuse_sequences, refuse_volatile};
use crate::query::errors::canceled;
use crate::query::output::{canonicalise, output_fields};
use crate::query::{assign, assignable_column};
use crate::sql::{self, DropKind, ObjectName, Statement};
use crate::types::field_of_sql_type;

/// How long CREATE SOURCE waits for the outside to answer.
pub(super) const DISCOVER_TIMEOUT: Duration = Duration::from_secs(10);

/// What a definition comes to, before it has a number.
pub(super) struct Definition {
    pub name: ObjectName,
    pub columns: SchemaRef,
    pub kind: ObjectKind,
    pub depends_on: Vec<ObjectId>,
    pub create_sql: String,
    pub runtime: Runtime,
}

/// How a view's query is maintained.
pub(super) struct PlannedView {
    /// With the view's columns as its schema.
    pub node: Node,
    /// As the catalog keeps it.
    pub query: ast::Query,
    pub depends_on: Vec<ObjectId>,
    /// In which order it joins, a line for each set of inner joins.
    pub join_orders: Vec<String>,
}

/// A connector opened and asked for its splits.
struct Opened {
    stream: Stream,
    columns: SchemaRef,
    spec: ConnectorSpec,
    redacted: Vec<(String, String)>,
}

impl Opened {
    /// What feeds the object; `upsert`: rows replace their key's older row.
    fn feed(&self, upsert: bool) -> Feed {
        match self.spec.stand_in {
            true => Feed::StandIn { upsert },
            false => Feed::Connector(Stream { upsert, ..self.stream.clone() }),
        }
    }
}

impl Session {
    /// IF NOT EXISTS: true, with a notice, when the name is taken.
    pub(super) fn exists_already(
        &mut self,
        name: &ObjectName,
        if_not_exists: bool,
    ) -> Result<bool> {
        let snapshot = self.server.catalog.snapshot();
        let schema = snapshot.creation_schema(&self.settings.search_path(), name)?;
        match snapshot.check_creatable(&schema, &name.name) {
            Ok(()) => Ok(false),
            Err(error) if if_not_exists && error.code == SqlState::DUPLICATE_TABLE => {
                self.notices.push(catalog::already_exists_notice(&name.name));
                Ok(true)
            }
            Err(error) => Err(error),
        }
    }

    pub(super) async fn define(&mut self, definition: Definition) -> Result<(ObjectId, Epoch)> {
        self.define_with(definition, None, vec![]).await
    }

    /// As [`Self::define`], under a number that it has already, with the sequences that come with it.
    async fn define_with(
        &mut self,
        definition: Definition,
        number: Option<(ObjectId, Oid)>,
        sequences: Vec<Object>,
    ) -> Result<(ObjectId, Epoch)> {
        let snapshot = self.server.catalog.snapshot();
        let schema = snapshot.creation_schema(&self.settings.search_path(), &definition.name)?;
        // Before its own number: nothing may depend on what comes after it.
        let allocate = |_| self.server.catalog.allocate().0;
        let spare_ids = definition.runtime.arrangements().iter().map(allocate).collect();
        let (id, oid) = number.unwrap_or_else(|| self.server.catalog.allocate());
        let name = definition.name.name.clone();
        let object = Object {
            id,
            oid,
            schema,
            name: name.clone(),
            columns: definition.columns.clone(),
            kind: definition.kind,
            depends_on: definition.depends_on,
            create_sql: definition.create_sql,
            created_at: SystemTime::now(),
            owner: catalog::OWNER.to_owned(),
            comments: BTreeMap::new(),
        };
        let objects = sequences.into_iter().chain([object]);
        let change = objects.map(|object| CatalogChange::Create(Arc::new(object))).collect();
        let change = Some(CatalogChange::All(change));
        let (schema, runtime) = (definition.columns, definition.runtime);
        let create = Create { change, id, name, schema, runtime, spare_ids };
        let epoch = self.server.coordinator.create(create).await?;
        Ok((id, epoch))
    }

    pub(super) async fn create_table(
        &mut self,
        table: &sql::CreateTable,
        statement: &Statement,
        cancel: &CancellationToken,
    ) -> Result<Outcome> {
        self.outside_of_block("CREATE TABLE")?;
        if table.name.schema.as_deref() == Some(sql::TEMPORARY_SCHEMA) {
            let table = self.in_own_schema(table).await?;
            let statement = Statement::CreateTable(Box::new(table.clone()));
            return self.create_named_table(&table, &statement, cancel).await;
        }
        self.create_named_table(table, statement, cancel).await
    }

    async fn create_named_table(
        &mut self,
        table: &sql::CreateTable,
        statement: &Statement,
        cancel: &CancellationToken,
    ) -> Result<Outcome> {
        if self.exists_already(&table.name, table.if_not_exists)? {
            return command("CREATE TABLE");
        }
        if let Some(query) = &table.query {
            return self.create_table_as(table, query, cancel).await;
        }
        if !table.like.is_empty() {
            let table = self.like_others(table)?;
            let statement = Statement::CreateTable(Box::new(table.clone()));
            self.define_table(&table, &statement, cancel).await?;
        } else {
            self.define_table(table, statement, cancel).await?;
        }
        command("CREATE TABLE")
    }

    /// Creates a table of declared columns; returns its number.
    pub(super) async fn define_table(
        &mut self,
        table: &sql::CreateTable,
        statement: &Statement,
        cancel: &CancellationToken,
    ) -> Result<ObjectId> {
        let fields = declared_columns(&table.columns)?;
        let mut columns = Arc::new(Schema::new(fields));
        let declared = Declared::from(table);
        let (opened, primary_key) = if table.options.is_empty() {
            let primary_key = key_columns(&columns, &table.primary_key)?;
            columns = not_null(&columns, &primary_key);
            (None, primary_key)
        } else {
            refuse_in_fed_table(table)?;
            let primary_key = declared.key_columns(&columns, &table.primary_key)?;
            columns = not_null(&columns, &primary_key);
            let opened = self.open(&table.name.name, &columns, &primary_key, declared, cancel);
            (Some(opened.await?), primary_key)
        };
        let feed = match &opened {
            None => Feed::Statements,
            // Whatever the format, a table has one row of a key: the newest.
            Some(opened) => opened.feed(!primary_key.is_empty()),
        };
        let columns = opened.as_ref().map_or(columns, |o| o.columns.clone());
        let number = self.server.catalog.allocate();
        let sequences = self.own_sequences(table, number.1, &columns)?;
        let mut defaults = vec![];
        for column in &table.columns {
            defaults.push(column.default.as_ref().map(|d| self.bound_default(d)).transpose()?);
        }
        self.check_defaults(&columns, &defaults)?;
        number_serials(table, &sequences, &mut defaults);
        let rules = match table.options.is_empty() {
            true => self.table_rules(table, &columns, &sequences)?,
            false => TableRules::default(),
        };
        let depends_on = self.called(&defaults, &sequences);
        let redacted = opened.as_ref().map(|o| o.redacted.clone()).unwrap_or_default();
        let key = (!primary_key.is_empty()).then(|| primary_key.clone());
        let definition = Definition {
            name: table.name.clone(),
            columns,
            kind: ObjectKind::Table {
                primary_key,
                defaults,
                rules,
                append_only: table.append_only,
                connector: opened.as_ref().map(|o| o.spec.clone()),
            },
            depends_on,
            create_sql: without_uniques(&create_sql(statement, &redacted))?,
            runtime: Runtime::Table { key, feed },
        };
        // Nobody writes to the table before its rows are judged by all keys.
        let alone = BTreeMap::from([(number.0, Access::Alone)]);
        let _guards = self.server.coordinator.locks.acquire(&alone).await;
        let (id, _) = self.define_with(definition, Some(number), sequences).await?;
        if !table.uniques.is_empty() {
            self.define_uniques(id, table, cancel).await?;
        }
        Ok(id)
    }

    /// A table that cannot have its UNIQUE constraints does not stay behind without them.
    async fn define_uniques(
        &mut self,
        id: ObjectId,
        table: &sql::CreateTable,
        cancel: &CancellationToken,
    ) -> Result<()> {
        let created = self.server.catalog.snapshot().get(id).cloned();
        let created = created.ok_or_else(|| Error::internal("it has just been created"))?;
        let begun = self.begin_uniques(&created, &table.uniques, cancel).await;
        if begun.is_err() {
            let plan = self.server.catalog.snapshot().plan_drop(&[id], true)?;
            self.apply_drop(plan).await?;
        }
        begun
    }

    /// The sequences of a new table's columns; what a connector feeds has none.
    fn own_sequences(
        &self,
        table: &sql::CreateTable,
        oid: Oid,
        columns: &SchemaRef,
    ) -> Result<Vec<Object>> {
        if !table.options.is_empty() {
            return Ok(vec![]);
        }
        let (snapshot, path) = (self.server.catalog.snapshot(), self.settings.search_path());
        let schema = snapshot.creation_schema(&path, &table.name)?;
        let name = (schema.as_str(), table.name.name.as_str(), oid);
        self.column_sequences(name, &table.columns, columns)
    }

    /// The sequences that a new table's defaults call; those that its columns own are counted with them.
    fn called(&self, defaults: &[Option<String>], own: &[Object]) -> Vec<ObjectId> {
        let snapshot = self.server.catalog.snapshot();
        let mut ids: Vec<ObjectId> = own.iter().map(|sequence| sequence.id).collect();
        for oid in defaults.iter().flatten().flat_map(|text| sql::sequences_called(text)) {
            let there = snapshot.get_by_oid(Oid(oid)).map(|sequence| sequence.id);
            ids.extend(there.filter(|id| !ids.contains(id)));
        }
        ids
    }

    /// A default that cannot be computed is refused now, not at the first INSERT.
    pub(super) fn check_defaults(
        &self,
        columns: &Schema,
        defaults: &[Option<String>],
    ) -> Result<()> {
        let names = Names::new(self, Purpose::Batch);
        for (field, default) in columns.fields().iter().zip(defaults) {
            let Some(text) = default else { continue };
            let query = sql::parse_query(&format!("SELECT {text}"))?;
            let plan = self.engine.plan(&query, &names, &[])?;
            let plan = self.engine.analyze(plan)?;
            assign(assignable_column(&plan, 0), plan.schema(), field).map_err(|mut error| {
                error.message = error.message.replace("but expression", "but default expression");
                error
            })?;
        }
        Ok(())
    }

    pub(super) async fn create_source(
        &mut self,
        source: &sql::CreateSource,
        statement: &Statement,
        cancel: &CancellationToken,
    ) -> Result<Outcome> {
        self.outside_of_block("CREATE SOURCE")?;
        if self.exists_already(&source.name, source.if_not_exists)? {
            return command("CREATE SOURCE");
        }
        let columns = Arc::new(Schema::new(declared_columns(&source.columns)?));
        let declared = Declared::from(source);
        let primary_key = declared.key_columns(&columns, &source.primary_key)?;
        let opened = self.open(&source.name.name, &columns, &primary_key, declared, cancel).await?;
        if !primary_key.is_empty() && !opened.stream.upsert {
            let message = "a PRIMARY KEY of a source needs FORMAT UPSERT or DEBEZIUM";
            return Err(Error::new(SqlState::INVALID_TABLE_DEFINITION, message).with_hint(
                "CREATE TABLE with the same options keeps the newest row of each key.",
            ));
        }
        let columns = opened.columns.clone();
        let watermark = source
            .watermark
            .as_ref()
            .map(|w| {
                Ok::<_, Error>((
                    key_columns(&columns, std::slice::from_ref(&w.column))?[0],
                    w.expr.to_string(),
                ))
            })
            .transpose()?;
        // A keyed source owns an arrangement: it is kept as a table is, and read like one. So is what statements feed.
        let key = (!primary_key.is_empty()).then(|| primary_key.clone());
        let runtime = match opened.feed(key.is_some()) {
            Feed::Connector(stream) if key.is_none() => Runtime::Source(stream),
            feed => Runtime::Table { key, feed },
        };
        let definition = Definition {
            name: source.name.clone(),
            columns,
            kind: ObjectKind::Source { primary_key, connector: opened.spec, watermark },
            depends_on: vec![],
            create_sql: create_sql(statement, &opened.redacted),
            runtime,
        };
        self.define(definition).await?;
        command("CREATE SOURCE")
    }

    /// Opens a connector and asks it for its splits: what is wrong outside is told now.
    async fn open(
        &self,
        name: &str,
        columns: &SchemaRef,
        primary_key: &[usize],
        declared: Declared<'_>,
        cancel: &CancellationToken,
    ) -> Result<Opened> {
        let mut pairs = declared.options.0.clone();
        let fail_on_error = take_on_error(&mut pairs)?;
        let options = ConnectorOptions::new(pairs)?;
        let (format, encode) = formats(declared.format)?;
        let redacted = options.redacted();
        let upsert = match format {
            Some(Format::Upsert | Format::Debezium) => true,
            Some(Format::Plain) | None => false,
        };
        if upsert && primary_key.is_empty() {
            let (name, hint) = match format {
                Some(Format::Debezium) => {
                    ("DEBEZIUM", "Declare the primary key of the table that the events are of.")
                }
                _ => ("UPSERT", "Declare which columns the message key stands for."),
            };
            let message = format!("FORMAT {name} needs a PRIMARY KEY");
            return Err(Error::new(SqlState::INVALID_TABLE_DEFINITION, message).with_hint(hint));
        }
        let spec = SourceSpec {
            name: name.to_owned(),
            options,
            format,
            encode,
            columns: columns.clone(),
            primary_key: primary_key.to_vec(),
            include: declared.included(),
        };
        let stand_in = self.server.test_mode && !registry::generates(&spec);
        let opening = tokio::task::spawn_blocking(move || {
            let source = registry::open(&spec)?;
            let starts = if stand_in { vec![] } else { source.discover(DISCOVER_TIMEOUT)? };
            Ok::<_, ConnectorError>((source, starts))
        });
        let (source, starts) = tokio::select! {
            biased;
            () = cancel.cancelled() => return Err(canceled()),
            opened = opening => opened.map_err(|e| Error::internal(e.to_string()))??,
        };
        let spec = ConnectorSpec {
            options: declared.options.clone(),
            format: declared.format.cloned(),
            include: declared.include.to_vec(),
            start: starts.clone(),
            stand_in,
        };
        let columns = source.schema();
        let stream = Stream { source, starts, upsert, fail_on_error };
        Ok(Opened { stream, columns, spec, redacted })
    }

    /// The connector of an object, opened anew for the columns that its definition has.
    pub(super) async fn opened_for(
        &self,
        object: &Object,
        cancel: &CancellationToken,
    ) -> Result<Arc<dyn Source>> {
        let spec = object.kind.connector();
        let spec = spec.ok_or_else(|| Error::internal("no connector feeds it"))?;
        let fields = object.columns.fields();
        let fields = fields[..fields.len() - spec.include.len()].to_vec();
        let declared = Declared {
            options: &spec.options,
            format: spec.format.as_ref(),
            include: &spec.include,
        };
        let (columns, key) = (Arc::new(Schema::new(fields)), object.kind.primary_key());
        let opened = self.open(&object.name, &columns, key, declared, cancel).await?;
        Ok(opened.stream.source)
    }

    pub(super) async fn create_view(
        &mut self,
        view: &sql::CreateView,
        statement: &Statement,
    ) -> Result<Outcome> {
        self.outside_of_block("CREATE VIEW")?;
        let replaced = if view.or_replace { self.view_to_replace(&view.name)? } else { None };
        if replaced.is_none() && self.exists_already(&view.name, view.if_not_exists)? {
            return command("CREATE VIEW");
        }
        let (query, names) = self.prepared_query(&view.query);
        let resolver = Names::new(self, Purpose::Batch);
        let plan = self.engine.analyze(self.engine.plan(&query, &resolver, &[])?)?;
        refuse_sequences(&plan)?;
        let columns = view_columns(output_fields(&plan), &names, &view.columns)?;
        let definition = Definition {
            name: view.name.clone(),
            columns,
            kind: ObjectKind::View {
                sql: view.query.to_string(),
                query: Arc::new(query),
                context: self.context(),
            },
            depends_on: resolver.depends_on.take(),
            create_sql: create_sql(statement, &[]),
            runtime: Runtime::None,
        };
        match replaced {
            Some(old) => self.replace_view(&old, definition).await?,
            None => drop(self.define(definition).await?),
        }
        command("CREATE VIEW")
    }

    /// What OR REPLACE is about; `None` where the name is free.
    fn view_to_replace(&self, name: &ObjectName) -> Result<Option<Arc<Object>>> {
        let snapshot = self.server.catalog.snapshot();
        let schema = snapshot.creation_schema(&self.settings.search_path(), name)?;
        let old = snapshot.objects_in(&schema).find(|object| object.name == name.name).cloned();
        match old {
            Some(old) if old.kind.drop_kind() != DropKind::View => {
                let message = format!("\"{}\" is not a view", name.name);
                Err(Error::new(SqlState::WRONG_OBJECT_TYPE, message))
            }
            old => Ok(old),
        }
    }

    async fn replace_view(&self, old: &Arc<Object>, new: Definition) -> Result<()> {
        let object = Object {
            columns: new.columns,
            kind: new.kind,
            depends_on: new.depends_on,
            create_sql: new.create_sql,
            ..old.as_ref().clone()
        };
        self.server.coordinator.define(CatalogChange::Replace(Arc::new(object))).await?;
        Ok(())
    }

    fn context(&self) -> CreationContext {
        CreationContext {
            time_zone: self.settings.get("TimeZone").unwrap_or_default(),
            search_path: self.settings.search_path(),
        }
    }

    pub(super) async fn create_materialized_view(
        &mut self,
        view: &sql::CreateMaterializedView,
        statement: &Statement,
        cancel: &CancellationToken,
    ) -> Result<Outcome> {
        const TAG: &str = "CREATE MATERIALIZED VIEW";
        self.outside_of_block(TAG)?;
        if view.or_replace || view.emit_on_window_close {
            return Err(Error::unsupported(
                "OR REPLACE and EMIT ON WINDOW CLOSE are not supported yet",
            ));
        }
        if self.exists_already(&view.name, view.if_not_exists)? {
            return command(TAG);
        }
        let mut options = view.options.0.clone();
        let fail_on_error = take_on_error(&mut options)?;
        if let Some((option, _)) = options.first() {
            let message = format!("unrecognized option \"{option}\" of a materialized view");
            return Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, message)
                .with_hint("The option is on_error."));
        }
        let PlannedView { node: plan, query, depends_on, .. } =
            self.plan_view(&view.query, &view.columns)?;
        let key = plan.key().unwrap_or_default();
        let definition = Definition {
            name: view.name.clone(),
            columns: plan.schema.clone(),
            kind: ObjectKind::MaterializedView {
                sql: view.query.to_string(),
                query: Arc::new(query),
                context: self.context(),
                key,
                options: view.options.clone(),
            },
            depends_on,
            create_sql: create_sql(statement, &[]),
            runtime: Runtime::View { plan: Arc::new(plan), fail_on_error },
        };
        let (id, epoch) = self.define(definition).await?;
        let hydrated = tokio::select! {
            biased;
            () = cancel.cancelled() => Err(canceled()),
            hydrated = self.server.coordinator.hydrated(id, epoch) => hydrated,
        };
        if let Err(error) = hydrated {
            // A view that could not be filled does not stay behind half done.
            let _ =
                self.server.coordinator.drop_objects(CatalogChange::Drop(vec![id]), vec![id]).await;
            return Err(error);
        }
        self.still_there(id)?;
        command(TAG)
    }

    /// How a view's query is maintained.
    pub(super) fn plan_view(&self, query: &ast::Query, renames: &[String]) -> Result<PlannedView> {
        let (query, names) = self.prepared_query(query);
        let resolver = Names::new(self, Purpose::Streaming);
        let plan = self.engine.plan(&query, &resolver, &[])?;
        refuse_volatile(&plan)?;
        let plan = self.engine.optimize_streaming(canonicalise(plan)?)?;
        let columns = view_columns(output_fields(&plan), &names, renames)?;
        let mut node = lower(&self.engine.props(), &plan)?;
        node.rename(columns);
        let depends_on = resolver.depends_on.take();
        Ok(PlannedView { node, query, depends_on, join_orders: self.engine.join_orders(&plan)? })
    }

    pub(super) async fn create_schema(
        &mut self,
        name: &str,
        if_not_exists: bool,
    ) -> Result<Outcome> {
        self.outside_of_block("CREATE SCHEMA")?;
        if if_not_exists && self.server.catalog.snapshot().schema(name).is_some() {
            let message = format!("schema \"{name}\" already exists, skipping");
            self.notices.push(Error::new(SqlState::DUPLICATE_SCHEMA, message));
            return command("CREATE SCHEMA");
        }
        let (id, _) = self.server.catalog.allocate();
        let change = CatalogChange::CreateSchema {
            id,
            name: name.to_owned(),
            owner: catalog::OWNER.to_owned(),
        };
        self.server.coordinator.define(change).await?;
        command("CREATE SCHEMA")
    }
}

/// The parts of CREATE TABLE and CREATE SOURCE that say where rows come from.
struct Declared<'a> {
    options: &'a sql::Options,
    format: Option<&'a sql::FormatEncode>,
    include: &'a [sql::IncludeColumn],
}

impl Declared<'_> {
    fn included(&self) -> Vec<Include> {
        let connector = self.options.get("connector").unwrap_or_default();
        self.include.iter().map(|include| included(include, connector)).collect()
    }

    /// A key may also be of INCLUDE columns, which come after those declared.
    fn key_columns(&self, declared: &Schema, names: &[String]) -> Result<Vec<usize>> {
        let included = self.included().into_iter().map(|include| Arc::new(include.field()));
        let fields: Vec<FieldRef> = declared.fields().iter().cloned().chain(included).collect();
        key_columns(&Schema::new(fields), names)
    }
}

/// UNIQUE constraints are objects of their own, which know their names.
fn without_uniques(create_sql: &str) -> Result<String> {
    if !create_sql.contains("UNIQUE") {
        return Ok(create_sql.to_owned());
    }
    sql::rewritten(create_sql, |statement| {
        if let Statement::CreateTable(table) = statement {
            table.uniques.clear();
        }
        Ok(())
    })
}

/// SERIAL is a default that calls the column's sequence.
fn number_serials(table: &sql::CreateTable, sequences: &[Object], defaults: &mut [Option<String>]) {
    for (at, column) in table.columns.iter().enumerate() {
        if matches!(column.generated, Some(sql::Generated::Serial)) {
            defaults[at] = sequence_of(sequences, at).map(|oid| format!("nextval({oid})"));
        }
    }
}

/// What a table that a connector feeds cannot have.
fn refuse_in_fed_table(table: &sql::CreateTable) -> Result<()> {
    if let Some(column) = table.columns.iter().find(|column| column.default.is_some()) {
        let message = format!("a default of column \"{}\" is not supported", column.name);
        return Err(Error::unsupported(message)
            .with_detail("A connector feeds the table, and sets every column.")
            .with_hint("Leave the default out, and use coalesce() where the table is read."));
    }
    let generated = table.columns.iter().any(|column| column.generated.is_some());
    if generated || !table.checks.is_empty() || !table.uniques.is_empty() {
        let message = "UNIQUE and CHECK constraints and generated columns are not supported in a table with a connector";
        return Err(Error::unsupported(message).with_hint(
            "A materialized view over the table can leave rows out and compute columns.",
        ));
    }
    if table.append_only && !table.primary_key.is_empty() {
        let message = "a table with a connector is either APPEND ONLY or has a PRIMARY KEY";
        return Err(Error::new(SqlState::INVALID_TABLE_DEFINITION, message)
            .with_detail("A new row of a key takes the place of the older one."));
    }
    Ok(())
}

impl<'a> From<&'a sql::CreateTable> for Declared<'a> {
    fn from(table: &'a sql::CreateTable) -> Self {
        Declared { options: &table.options, format: table.format.as_ref(), include: &table.include }
    }
}

impl<'a> From<&'a sql::CreateSource> for Declared<'a> {
    fn from(source: &'a sql::CreateSource) -> Self {
        Declared {
            options: &source.options,
            format: source.format.as_ref(),
            include: &source.include,
        }
    }
}

fn declared_columns(columns: &[sql::ColumnDef]) -> Result<Vec<Field>> {
    let mut fields: Vec<Field> = vec![];
    for column in columns {
        if fields.iter().any(|field| *field.name() == column.name) {
            let message = format!("column \"{}\" specified more than once", column.name);
            return Err(Error::new(SqlState::DUPLICATE_COLUMN, message));
        }
        fields.push(
            field_of_sql_type(&column.name, &column.data_type)?.with_nullable(column.nullable),
        );
    }
    Ok(fields)
}

pub(super) fn key_columns(columns: &Schema, names: &[String]) -> Result<Vec<usize>> {
    let find = |name: &String| {
        columns.index_of(name).map_err(|_| {
            let message = format!("column \"{name}\" named in key does not exist");
            Error::new(SqlState::UNDEFINED_COLUMN, message)
        })
    };
    names.iter().map(find).collect()
}

pub(super) fn not_null(columns: &Schema, key: &[usize]) -> SchemaRef {
    let field = |(i, field): (usize, &FieldRef)| match key.contains(&i) {
        true => field.as_ref().clone().with_nullable(false),
        false => field.as_ref().clone(),
    };
    Arc::new(Schema::new(columns.fields().iter().enumerate().map(field).collect::<Vec<_>>()))
}

/// A view's columns: the query's under the names given first, then its own; no name twice.
fn view_columns(
    fields: Vec<FieldRef>,
    names: &[sql::OutputName],
    renames: &[String],
) -> Result<SchemaRef> {
    if renames.len() > fields.len() {
        return Err(Error::syntax("CREATE VIEW specifies more column names than columns"));
    }
    let planned: Vec<String> = fields.iter().map(|field| field.name().clone()).collect();
    let mut names = sql::expand_names(names, &planned);
    for (name, rename) in names.iter_mut().zip(renames) {
        *name = rename.clone();
    }
    for (i, name) in names.iter().enumerate() {
        if names[..i].contains(name) {
            let message = format!("column \"{name}\" specified more than once");
            return Err(Error::new(SqlState::DUPLICATE_COLUMN, message));
        }
    }
    let fields = named(&fields.into(), &names);
    // Whether a view's value can be NULL is not promised to anybody.
    let fields: Vec<Field> =
        fields.iter().map(|f| f.as_ref().clone().with_nullable(true)).collect();
    Ok(Arc::new(Schema::new(fields)))
}

pub(super) fn create_sql(statement: &Statement, redacted: &[(String, String)]) -> String {
    let format = match statement {
        Statement::CreateTable(table) => table.format.as_ref(),
        Statement::CreateSource(source) => source.format.as_ref(),
        Statement::CreateSink(sink) => sink.format.as_ref(),
        _ => None,
    };
    let pairs = format.map(|format| format.options.0.clone()).unwrap_or_default();
    let encode = ConnectorOptions::new(pairs).map(|o| o.redacted()).unwrap_or_default();
    let options = sql::RedactedOptions { with: redacted, encode: &encode };
    sql::create_sql(statement, options).unwrap_or_default()
}

/// on_error = 'dead_letter' (the default) or 'fail': ours, not the connector's.
pub(super) fn take_on_error(pairs: &mut Vec<(String, String)>) -> Result<bool> {
    let Some(position) = pairs.iter().position(|(key, _)| key == "on_error") else {
        return Ok(false);
    };
    let (_, value) = pairs.remove(position);
    match value.to_lowercase().as_str() {
        "fail" => Ok(true),
        "dead_letter" => Ok(false),
        _ => {
            let message = format!("invalid value for option \"on_error\": \"{value}\"");
            Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, message)
                .with_hint("Use 'dead_letter' or 'fail'."))
        }
    }
}

fn formats(format: Option<&sql::FormatEncode>) -> Result<(Option<Format>, Option<Encode>)> {
    let Some(format) = format else { return Ok((None, None)) };
    if format.key_encode.is_some() {
        return Err(Error::unsupported("KEY ENCODE of a source is not supported yet")
            .with_hint("A key is read as JSON, or as the plain value of a single column."));
    }
    let unsupported = |what: &str, value: &str, known: &str| {
        Error::unsupported(format!("{what} {value} is not supported yet"))
            .with_hint(format!("Use {known}."))
    };
    let kind = match format.format.as_str() {
        "PLAIN" => Format::Plain,
        "UPSERT" => Format::Upsert,
        "DEBEZIUM" => Format::Debezium,
        other => return Err(unsupported("FORMAT", other, "PLAIN, UPSERT or DEBEZIUM")),
    };
    let encode = match format.encode.as_str() {
        "JSON" => Encode::Json(ConnectorOptions::new(format.options.0.clone())?),
        other => return Err(unsupported("ENCODE", other, "JSON")),
    };
    Ok((Some(kind), Some(encode)))
}

fn included(include: &sql::IncludeColumn, connector: &str) -> Include {
    let kind = match &include.kind {
        sql::IncludeKind::Key => IncludeKind::Key,
        sql::IncludeKind::Partition => IncludeKind::Partition,
        sql::IncludeKind::Offset => IncludeKind::Offset,
        sql::IncludeKind::Timestamp => IncludeKind::Timestamp,
        sql::IncludeKind::Header(name) => IncludeKind::Header(name.clone()),
        sql::IncludeKind::Payload => IncludeKind::Payload,
    };
    let name = include.name.clone().unwrap_or_else(|| kind.default_name(connector));
    Include { kind, name }
}
