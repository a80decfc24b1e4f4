//! SHOW.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arrow_array::{ArrayRef, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, FieldRef, Schema};
use futures::StreamExt;

use super::settings::Settings;
use super::{Outcome, Session};
use crate::catalog::{CatalogSnapshot, Object, ObjectKind};
use crate::error::{Error, Result};
use crate::sql::{self, DropKind, Show, ShowKind, Statement};
use crate::types::format_type;

pub fn text_field(name: &str) -> FieldRef {
    Arc::new(Field::new(name, DataType::Utf8, true))
}

/// The columns of each SHOW.
pub fn columns(show: &Show) -> Vec<FieldRef> {
    let names: &[&str] = match show {
        Show::List { kind: ShowKind::Sources, .. } => {
            &["name", "connector", "state", "rows", "rejected", "lag", "last_error"]
        }
        Show::List { kind: ShowKind::Sinks, .. } => &[
            "name",
            "connector",
            "state",
            "messages",
            "bytes",
            "owed",
            "lag",
            "errors",
            "last_error",
        ],
        Show::List { kind: ShowKind::MaterializedViews, .. } => {
            &["name", "state", "rows", "epoch", "error"]
        }
        Show::List { kind: ShowKind::Jobs, .. } => {
            &["id", "object", "kind", "state", "done", "total", "percent", "elapsed"]
        }
        Show::List { .. } => &["name"],
        Show::Columns { .. } => &["name", "type", "nullable", "key"],
        Show::Create { .. } => &["name", "create_sql"],
        Show::All => &["name", "setting"],
        Show::Setting(name) => return vec![text_field(&Settings::spelled(name))],
    };
    names.iter().map(|name| text_field(name)).collect()
}

pub(super) type Row = Vec<Option<String>>;

pub(super) fn rows(columns: Vec<FieldRef>, rows: Vec<Row>, tag: &'static str) -> Result<Outcome> {
    let column = |i: usize| -> ArrayRef {
        Arc::new(StringArray::from_iter(rows.iter().map(|row| row[i].clone())))
    };
    let arrays = (0..columns.len()).map(column).collect();
    let schema = Arc::new(Schema::new(columns.clone()));
    let batch = RecordBatch::try_new(schema, arrays).map_err(|e| Error::internal(e.to_string()))?;
    let batches = futures::stream::iter([Ok(batch)]).boxed();
    Ok(Outcome::Rows { columns, batches, tag, binary: false })
}

impl Session {
    pub(super) fn show(&mut self, show: &Show) -> Result<Outcome> {
        let found = match show {
            Show::List { kind, schema, like } => {
                self.list(*kind, schema.as_deref(), like.as_deref())?
            }
            Show::Columns { name, like } => {
                let snapshot = self.server.catalog.snapshot();
                let object = snapshot.resolve(&self.settings.search_path(), name)?;
                column_rows(&object, like.as_deref())
            }
            Show::Create { kind, name } => {
                let snapshot = self.server.catalog.snapshot();
                let object = snapshot.resolve_kind(&self.settings.search_path(), name, *kind)?;
                let create_sql = with_uniques(&snapshot, &object)?;
                vec![vec![Some(object.display_name()), Some(create_sql)]]
            }
            Show::Setting(name) => vec![vec![Some(self.settings.show(name)?)]],
            Show::All => {
                self.settings.all().into_iter().map(|(n, v)| vec![Some(n), Some(v)]).collect()
            }
        };
        rows(columns(show), found, "SHOW")
    }

    fn list(&self, kind: ShowKind, schema: Option<&str>, like: Option<&str>) -> Result<Vec<Row>> {
        let snapshot = self.server.catalog.snapshot();
        let matches = |name: &str| like.is_none_or(|pattern| like_matches(pattern, name));
        let objects = |wanted: DropKind| {
            let path = self.settings.search_path();
            let in_schema = move |object: &&Arc<Object>| match schema {
                Some(schema) => object.schema == schema,
                None => path.contains(&object.schema),
            };
            let all = snapshot.objects().filter(move |object| object.kind.drop_kind() == wanted);
            all.filter(in_schema)
                .filter(|object| matches(&object.name))
                .cloned()
                .collect::<Vec<_>>()
        };
        let names = |objects: Vec<Arc<Object>>| {
            objects.iter().map(|o| vec![Some(o.name.clone())]).collect()
        };
        Ok(match kind {
            ShowKind::Tables => names(objects(DropKind::Table)),
            ShowKind::Views => names(objects(DropKind::View)),
            ShowKind::Sequences => names(objects(DropKind::Sequence)),
            ShowKind::Sinks => objects(DropKind::Sink).iter().map(|o| self.sink_row(o)).collect(),
            ShowKind::Sources => {
                let is_fed = |o: &Arc<Object>| o.kind.connector().is_some();
                let tables = objects(DropKind::Table).into_iter().filter(is_fed);
                let mut fed: Vec<_> = objects(DropKind::Source).into_iter().chain(tables).collect();
                fed.sort_by(|a, b| a.name.cmp(&b.name));
                fed.iter().map(|o| self.source_row(o)).collect()
            }
            ShowKind::MaterializedViews => {
                objects(DropKind::MaterializedView).iter().map(|o| self.view_row(o)).collect()
            }
            ShowKind::Schemas => {
                let schemas =
                    snapshot.schemas().map(|(name, _)| name.to_owned()).filter(|n| matches(n));
                schemas.map(|name| vec![Some(name)]).collect()
            }
            ShowKind::Databases => vec![vec![Some(crate::catalog::DATABASE.to_owned())]],
            ShowKind::Jobs => self
                .job_rows()
                .into_iter()
                .filter(|row| row[1].as_deref().is_some_and(matches))
                .collect(),
        })
    }

    fn source_row(&self, object: &Object) -> Row {
        let connector = object.kind.connector();
        let connector = connector.and_then(|c| c.options.get("connector")).map(str::to_owned);
        let Some(status) = self.server.coordinator.source_status(object.id) else {
            return vec![Some(object.name.clone()), connector, None, None, None, None, None];
        };
        let state = status.state.lock().clone();
        let number = |n: u64| Some(n.to_string());
        vec![
            Some(object.name.clone()),
            connector,
            Some(state.name.to_owned()),
            number(status.rows.load(Ordering::Relaxed)),
            number(status.rejected.load(Ordering::Relaxed)),
            status.lag().map(|lag| lag.to_string()),
            state.last_error,
        ]
    }

    fn sink_row(&self, object: &Object) -> Row {
        let connector = match &object.kind {
            ObjectKind::Sink { into: Some(_), .. } => Some("table".to_owned()),
            ObjectKind::Sink { connector, .. } => {
                connector.options.get("connector").map(str::to_owned)
            }
            _ => None,
        };
        let mut row = vec![Some(object.name.clone()), connector];
        let coordinator = &self.server.coordinator;
        let Some(status) = coordinator.sink_status(object.id) else {
            // It had failed before the start, or has no outside.
            let live = coordinator.live(object.id);
            let failure = live.as_ref().and_then(|live| live.failure().cloned());
            let state = if failure.is_some() { "failed" } else { "running" };
            row.push(live.map(|_| state.to_owned()));
            row.resize(8, None);
            row.push(failure.map(|error| error.message));
            return row;
        };
        let state = status.state.lock().clone();
        let lag = status.lag(coordinator.shared.epochs.load(Ordering::Relaxed));
        let read = |number: &AtomicU64| number.load(Ordering::Relaxed);
        let numbers = [read(&status.messages), read(&status.bytes), read(&status.owed_rows), lag];
        row.push(Some(state.name.to_owned()));
        row.extend(numbers.map(|number| Some(number.to_string())));
        row.extend([Some(read(&status.errors).to_string()), state.last_error]);
        row
    }

    fn view_row(&self, object: &Object) -> Row {
        let Some(live) = self.server.coordinator.live(object.id) else {
            return vec![Some(object.name.clone()), None, None, None, None];
        };
        let state = match (live.failure(), live.is_attached()) {
            (Some(_), _) => "failed",
            (None, false) => "filling",
            (None, true) => "running",
        };
        let complete = live.complete().0;
        vec![
            Some(object.name.clone()),
            Some(state.to_owned()),
            Some(live.rows().to_string()),
            (complete != u64::MAX).then(|| complete.to_string()),
            live.failure().map(|error| error.message.clone()),
        ]
    }
}

fn column_rows(object: &Object, like: Option<&str>) -> Vec<Row> {
    let key = object.kind.primary_key();
    let fields = object.columns.fields().iter().enumerate();
    fields
        .filter(|(_, field)| like.is_none_or(|pattern| like_matches(pattern, field.name())))
        .map(|(i, field)| {
            vec![
                Some(field.name().clone()),
                Some(format_type(field)),
                Some(if field.is_nullable() { "yes" } else { "no" }.to_owned()),
                key.contains(&i).then(|| "primary key".to_owned()),
            ]
        })
        .collect()
}

/// The statement that made an object, with the UNIQUE constraints that a table has by now.
fn with_uniques(catalog: &CatalogSnapshot, object: &Object) -> Result<String> {
    let uniques = super::index::uniques_of(catalog, object);
    if uniques.is_empty() {
        return Ok(object.create_sql.clone());
    }
    sql::rewritten(&object.create_sql, |statement| {
        if let Statement::CreateTable(table) = statement {
            table.uniques = uniques;
        }
        Ok(())
    })
}

/// SQL's LIKE with % and _.
fn like_matches(pattern: &str, text: &str) -> bool {
    let mut regex = String::from("^(?s)");
    for c in pattern.chars() {
        match c {
            '%' => regex.push_str(".*"),
            '_' => regex.push('.'),
            c => regex.push_str(&regex::escape(&c.to_string())),
        }
    }
    regex.push('$');
    regex::Regex::new(&regex).is_ok_and(|regex| regex.is_match(text))
}
