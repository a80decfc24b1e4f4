//! CREATE SINK ... INTO table: what a query has is in the table, too, as of every epoch.
//!
//! The sink is a view with the table's columns. Once that has its rows it is poured into the table, which keeps what it had and
//! has nothing of a key that comes: otherwise nobody could say whose row it is.

use std::sync::Arc;

use datafusion::logical_expr::lit;
use datafusion::scalar::ScalarValue;
use sqlparser::ast;
use tokio_util::sync::CancellationToken;

use super::ddl::{Definition, create_sql, take_on_error};
use super::dml;
use super::resolver::{Names, Purpose};
use super::sinks::{UNIQUE_HINT, sink_query};
use super::{Outcome, Session, command};
use crate::arrangement::unique::UniqueKey;
use crate::catalog::{CatalogChange, ConnectorSpec, Object, ObjectId, ObjectKind};
use crate::coordinator::{Create, Runtime, sequencer};
use crate::epoch::Epoch;
use crate::error::{Error, Result, SqlState};
use crate::plan::{Node, lower};
use crate::query::compile::refuse_volatile;
use crate::query::errors::{canceled, from_datafusion};
use crate::query::functions::required::required;
use crate::query::output::canonicalise;
use crate::query::{assign, assignable_column};
use crate::sql::{CreateSink, ObjectName, Statement};

impl Session {
    pub(super) async fn create_sink_into(
        &mut self,
        sink: &CreateSink,
        table: &ObjectName,
        columns: &[String],
        statement: &Statement,
        cancel: &CancellationToken,
    ) -> Result<Outcome> {
        let fail_on_error = own_options(sink)?;
        let table = self.sink_table(table)?;
        let columns = match columns.is_empty() {
            true => (0..table.columns.fields().len()).collect(),
            false => self.columns_named(&table, columns)?,
        };
        let (plan, mut depends_on) =
            self.plan_into(sink_query(sink)?.as_ref(), &table, &columns)?;
        if depends_on.contains(&table.id) {
            return Err(self.server.catalog.snapshot().loop_into(table.id));
        }
        depends_on.push(table.id);
        let definition = Definition {
            name: sink.name.clone(),
            columns: table.columns.clone(),
            kind: ObjectKind::Sink {
                connector: ConnectorSpec {
                    options: sink.options.clone(),
                    ..ConnectorSpec::default()
                },
                into: Some(table.id),
            },
            depends_on,
            create_sql: create_sql(statement, &[]),
            runtime: Runtime::View { plan: Arc::new(plan), fail_on_error },
        };
        let (id, epoch) = self.define(definition).await?;
        if let Err(error) = self.fill_and_pour(id, epoch, &table, cancel).await {
            // A sink that could not begin does not stay behind half done.
            let change = CatalogChange::Drop(vec![id]);
            let _ = self.server.coordinator.drop_objects(change, vec![id]).await;
            return Err(error);
        }
        command("CREATE SINK")
    }

    /// The table that a sink may write to.
    fn sink_table(&self, name: &ObjectName) -> Result<Arc<Object>> {
        let catalog = self.server.catalog.snapshot();
        let table = catalog.resolve(&self.settings.search_path(), name)?;
        let ObjectKind::Table { connector, rules, defaults, .. } = &table.kind else {
            let message = format!("\"{}\" is not a table", table.name);
            return Err(Error::new(SqlState::WRONG_OBJECT_TYPE, message));
        };
        if connector.is_some() {
            let message = format!("cannot change table \"{}\": a connector feeds it", table.name);
            return Err(Error::new(SqlState::WRONG_OBJECT_TYPE, message));
        }
        let computed = defaults.iter().any(Option::is_some)
            || (0..table.columns.fields().len()).any(|i| table.generation(i).is_some());
        let is_unique =
            |o: &Arc<Object>| matches!(o.kind, ObjectKind::Index { unique: Some(_), .. });
        if catalog.dependents(table.id).any(is_unique) {
            let message = format!(
                "a sink into table \"{}\", which has UNIQUE constraints, is not supported",
                table.name
            );
            return Err(Error::unsupported(message));
        }
        if computed || !rules.checks.is_empty() {
            let message = format!(
                "a sink into table \"{}\", which has defaults, generated columns or CHECK constraints, is not supported",
                table.name
            );
            return Err(Error::unsupported(message));
        }
        Ok(table)
    }

    /// The streaming plan of a sink's query with the table's columns, `columns` saying which of them it gives; and what it
    /// reads.
    fn plan_into(
        &self,
        query: &ast::Query,
        table: &Object,
        columns: &[usize],
    ) -> Result<(Node, Vec<ObjectId>)> {
        let (query, _) = self.prepared_query(query);
        let resolver = Names::new(self, Purpose::Streaming);
        let plan = self.engine.plan(&query, &resolver, &[])?;
        refuse_volatile(&plan)?;
        let schema = plan.schema().clone();
        let given = schema.fields().len();
        if given > columns.len() {
            return Err(Error::syntax("CREATE SINK has more expressions than target columns"));
        }
        let (mut values, mut checked) = (vec![], vec![]);
        for (index, field) in table.columns.fields().iter().enumerate() {
            let place = columns.iter().position(|c| *c == index).filter(|place| *place < given);
            let value = match place {
                Some(place) => assign(assignable_column(&plan, place), &schema, field)?,
                None => lit(ScalarValue::try_from(field.data_type()).map_err(from_datafusion)?),
            };
            let name = format!("#{index}");
            values.push(value.clone().alias(&name));
            checked.push(match field.is_nullable() {
                true => value.alias(&name),
                false => required(&table.name, field.name()).call(vec![value]).alias(&name),
            });
        }
        let lowered = |exprs| {
            let plan = dml::project(plan.clone(), exprs)?;
            let plan = self.engine.optimize_streaming(canonicalise(plan)?)?;
            lower(&self.engine.props(), &plan)
        };
        // A check hides what is known of a value.
        check_table(&lowered(values)?, table)?;
        let mut node = lowered(checked)?;
        node.rename(table.columns.clone());
        Ok((node, resolver.depends_on.take()))
    }

    /// Waits until the sink has its rows, and lets them flow into the table.
    async fn fill_and_pour(
        &mut self,
        sink: ObjectId,
        created: Epoch,
        table: &Object,
        cancel: &CancellationToken,
    ) -> Result<()> {
        let coordinator = &self.server.coordinator;
        tokio::select! {
            biased;
            () = cancel.cancelled() => return Err(canceled()),
            hydrated = coordinator.hydrated(sink, created) => hydrated?,
        }
        // Nobody writes to the table between the look at its keys and the pour.
        let _guards = self.hold_still(table, cancel).await?;
        self.refuse_taken_keys(sink, table, cancel).await?;
        let (id, _) = self.server.catalog.allocate();
        let epoch = coordinator
            .create(Create {
                change: None,
                id,
                name: table.name.clone(),
                schema: table.columns.clone(),
                runtime: Runtime::Pour { object: sink, table: table.id },
                spare_ids: vec![],
            })
            .await?;
        match coordinator.live(table.id) {
            Some(live) => live.wait_for(epoch).await,
            None => Ok(()),
        }
    }

    /// 23505 where the table has a row of a key that the sink has.
    async fn refuse_taken_keys(
        &self,
        sink: ObjectId,
        table: &Object,
        cancel: &CancellationToken,
    ) -> Result<()> {
        let coordinator = &self.server.coordinator;
        let (Some(from), Some(into)) = (coordinator.live(sink), coordinator.live(table.id)) else {
            let message = format!("relation \"{}\" does not exist", table.name);
            return Err(Error::new(SqlState::UNDEFINED_TABLE, message));
        };
        let Some(key) = UniqueKey::primary(table.id, &into) else { return Ok(()) };
        let pin = coordinator.pin(&[from.clone(), into.clone()]).await?;
        for version in from.versions(pin.epoch) {
            for rows in version.rows.iter().flat_map(|rows| rows.scan()) {
                let stored = self.stored_rows(table.id, &key, &rows, cancel).await?;
                if let Some(place) = stored.places.first() {
                    let name = table.primary_key_name();
                    return Err(sequencer::duplicate(
                        &into,
                        &key.columns,
                        &rows,
                        *place as usize,
                        &name,
                    ));
                }
            }
        }
        Ok(())
    }

    /// Before sinks into tables are dropped: each table gets what is acknowledged, and nothing later.
    pub(super) async fn end_pours(&self, dropped: &[ObjectId]) -> Result<()> {
        let catalog = self.server.catalog.snapshot();
        for id in dropped {
            let Some(ObjectKind::Sink { into: Some(table), .. }) =
                catalog.get(*id).map(|object| &object.kind)
            else {
                continue;
            };
            if dropped.contains(table) {
                continue;
            }
            let epoch = self.server.coordinator.end_pour(*id).await?;
            if let Some(live) = self.server.coordinator.live(*table) {
                // One that has failed has nothing to wait for.
                let _ = live.wait_for(epoch).await;
            }
        }
        Ok(())
    }
}

/// Whether the first row that cannot be evaluated stops the sink.
fn own_options(sink: &CreateSink) -> Result<bool> {
    if sink.format.is_some() {
        return Err(Error::syntax("a sink into a table has no FORMAT"));
    }
    let mut pairs = sink.options.0.clone();
    let fail_on_error = take_on_error(&mut pairs)?;
    match pairs.first() {
        None => Ok(fail_on_error),
        Some((option, _)) => {
            let message = format!("unrecognized option \"{option}\" of a sink into a table");
            Err(Error::new(SqlState::INVALID_PARAMETER_VALUE, message)
                .with_hint("The option is on_error."))
        }
    }
}

/// What the table promises of its rows must be known of those that come.
fn check_table(plan: &Node, table: &Object) -> Result<()> {
    let refused = |message: String| Error::new(SqlState::INVALID_PARAMETER_VALUE, message);
    let ObjectKind::Table { primary_key, append_only, .. } = &table.kind else { return Ok(()) };
    if *append_only && !plan.properties.append_only {
        let message =
            format!("table \"{}\" is append-only, but its input changes rows", table.name);
        return Err(refused(message));
    }
    let is_unique = |key: &Vec<usize>| key.iter().all(|column| primary_key.contains(column));
    if primary_key.is_empty() || plan.properties.keys.iter().any(is_unique) {
        return Ok(());
    }
    let names = primary_key.iter().map(|&k| table.columns.field(k).name().as_str());
    let names = names.collect::<Vec<_>>().join(", ");
    let message = format!("several rows of the input may have the same primary key ({names})");
    Err(refused(message).with_hint(UNIQUE_HINT))
}
