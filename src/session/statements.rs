//! Prepared statements by name, those of PREPARE and of the protocol's Parse alike.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::SystemTime;

use arrow_array::ArrayRef;
use arrow_schema::FieldRef;
use datafusion::scalar::ScalarValue;
use sqlparser::ast;
use tokio_util::sync::CancellationToken;

use super::select::check_types;
use super::{Outcome, Parsed, Prepared, Session, command};
use crate::catalog::system::PreparedRow;
use crate::error::{Error, Result, SqlState};
use crate::memory;
use crate::query::errors::from_datafusion;
use crate::query::output::output_fields;
use crate::query::sql_types::pg_name;
use crate::query::{assign, assignable_column};
use crate::sql::{self, Statement};

/// Prepared statements that one session may keep; a client that needs more has lost count of them.
const STATEMENTS_MAX: usize = 10_000;

/// A statement under a name; `None` for the empty one.
pub type Named = Option<Arc<Prepared>>;

struct Entry {
    statement: Named,
    made: SystemTime,
    /// By PREPARE, not by the protocol.
    from_sql: bool,
}

/// A session's prepared statements.
#[derive(Default)]
pub(super) struct Statements {
    entries: BTreeMap<String, Entry>,
}

impl Statements {
    fn get(&self, name: &str) -> Result<&Named> {
        self.entries.get(name).map(|entry| &entry.statement).ok_or_else(|| {
            let message = match name {
                "" => "unnamed prepared statement does not exist".to_owned(),
                _ => format!("prepared statement \"{name}\" does not exist"),
            };
            Error::new(SqlState::INVALID_SQL_STATEMENT_NAME, message)
        })
    }

    /// Whether a statement of this name can be kept now: 42P05 where there is one, and a limit. The unnamed one gives way.
    fn make_room(&mut self, name: &str) -> Result<()> {
        if name.is_empty() {
            self.entries.remove("");
        } else if self.entries.contains_key(name) {
            let message = format!("prepared statement \"{name}\" already exists");
            return Err(Error::new(SqlState::DUPLICATE_PREPARED_STATEMENT, message));
        } else if self.entries.len() >= STATEMENTS_MAX {
            let message = format!("a session keeps at most {STATEMENTS_MAX} prepared statements");
            return Err(Error::new(SqlState::INSUFFICIENT_RESOURCES, message)
                .with_hint("Close those that are not needed any more."));
        }
        Ok(())
    }

    fn keep(&mut self, name: String, statement: Named, from_sql: bool) {
        let entry = Entry { statement, made: SystemTime::now(), from_sql };
        self.entries.insert(name, entry);
    }

    pub(super) fn clear(&mut self) {
        self.entries.clear();
    }

    /// For pg_prepared_statements: those with a name.
    pub(super) fn rows(&self) -> Vec<PreparedRow> {
        let named = self.entries.iter().filter(|(name, _)| !name.is_empty());
        let row = |(name, entry): (&String, &Entry)| {
            let statement = entry.statement.as_ref()?;
            Some(PreparedRow {
                name: name.clone(),
                statement: statement.parsed.shown().to_string(),
                made: entry.made,
                parameter_types: statement.params.iter().map(|p| pg_name(p)).collect(),
                from_sql: entry.from_sql,
            })
        };
        named.filter_map(row).collect()
    }
}

impl Session {
    /// A statement by its name, "" being the protocol's unnamed one; 26000 where there is none.
    pub fn statement(&self, name: &str) -> Result<Named> {
        self.statements.get(name).cloned()
    }

    /// Asked before the work of planning: as [`Session::keep_statement`] would refuse.
    pub fn make_room_for_statement(&mut self, name: &str) -> Result<()> {
        self.statements.make_room(name)
    }

    /// Keeps a statement of the protocol under a name for which there is room.
    pub fn keep_statement(&mut self, name: String, statement: Named) {
        self.statements.keep(name, statement, false);
    }

    /// Closing what is not there is no error.
    pub fn close_statement(&mut self, name: &str) {
        self.statements.entries.remove(name);
    }

    pub(super) fn prepare_named(
        &mut self,
        name: &str,
        types: &[ast::DataType],
        statement: &Statement,
        whole: &Parsed,
    ) -> Result<Outcome> {
        if name.is_empty() {
            let message = "invalid statement name: must not be empty";
            return Err(Error::new(SqlState::INVALID_PREPARED_STATEMENT_DEFINITION, message));
        }
        self.statements.make_room(name)?;
        let given = types.iter().map(parameter_type).collect::<Result<Vec<_>>>()?;
        let (params, columns) = self.describe(statement, &given)?;
        let parsed = Parsed { statement: statement.clone(), ..whole.clone() };
        let prepared = Prepared { parsed, params, columns, compiled: Arc::default() };
        self.statements.keep(name.to_owned(), Some(Arc::new(prepared)), true);
        command("PREPARE")
    }

    pub(super) fn deallocate(&mut self, name: Option<&str>) -> Result<Outcome> {
        let Some(name) = name else {
            self.statements.clear();
            return command("DEALLOCATE ALL");
        };
        self.statements.get(name)?;
        self.statements.entries.remove(name);
        command("DEALLOCATE")
    }

    /// Types of an EXECUTE's own parameters, and the columns of the statement it names.
    pub(super) fn describe_execute(
        &self,
        name: &str,
        args: &[ast::Expr],
        given: &[Option<FieldRef>],
    ) -> Result<(Vec<FieldRef>, Option<Vec<FieldRef>>)> {
        let params = match args {
            [] => vec![],
            args => self.describe_query(&query_of(args)?, given)?.0,
        };
        // A name that is not there is told when it is executed.
        let named = self.statements.get(name).ok().cloned().flatten();
        Ok((params, named.and_then(|prepared| prepared.columns.clone())))
    }

    /// Runs the statement that EXECUTE names, with its arguments as parameters.
    pub(super) async fn execute_named(
        &mut self,
        name: &str,
        args: &[ast::Expr],
        execute: &Prepared,
        params: Vec<ScalarValue>,
        cancel: &CancellationToken,
    ) -> Result<Outcome> {
        let Some(prepared) = self.statements.get(name)?.clone() else { return Ok(Outcome::Empty) };
        if args.len() != prepared.params.len() {
            let message = format!("wrong number of parameters for prepared statement \"{name}\"");
            let (expected, got) = (prepared.params.len(), args.len());
            let detail = format!("Expected {expected} parameters but got {got}.");
            return Err(Error::new(SqlState::SYNTAX_ERROR, message).with_detail(detail));
        }
        let values = match args {
            [] => vec![],
            args => self.arguments(args, &prepared.params, execute, params, cancel).await?,
        };
        let outcome = Box::pin(self.dispatch(&prepared, values, cancel)).await?;
        if let Outcome::Rows { columns, .. } = &outcome {
            check_types(execute, columns)?;
        }
        Ok(outcome)
    }

    /// The values of an EXECUTE's arguments, cast as INSERT casts to columns.
    async fn arguments(
        &self,
        args: &[ast::Expr],
        wanted: &[FieldRef],
        execute: &Prepared,
        params: Vec<ScalarValue>,
        cancel: &CancellationToken,
    ) -> Result<Vec<ScalarValue>> {
        let types: Vec<Option<FieldRef>> = execute.params.iter().cloned().map(Some).collect();
        let mut planned = self.plan_batch(&query_of(args)?, &types)?;
        let schema = planned.plan.schema().clone();
        let sources = output_fields(&planned.plan);
        let exprs = wanted.iter().enumerate().map(|(i, target)| {
            let value = assign(assignable_column(&planned.plan, i), &schema, target);
            let value = value.map_err(|error| match error.code {
                SqlState::DATATYPE_MISMATCH => not_coercible(i + 1, &sources[i], target),
                _ => error,
            })?;
            Ok(value.alias(format!("#{i}")))
        });
        let exprs = exprs.collect::<Result<Vec<_>>>()?;
        planned.plan = super::dml::project(planned.plan, exprs)?;
        let (rows, _held) = self.collect(planned, params, memory::Purpose::Relief, cancel).await?;
        let row = rows.iter().find(|rows| rows.num_rows() > 0);
        let row = row.ok_or_else(|| Error::internal("arguments are one row"))?;
        let value =
            |column: &ArrayRef| ScalarValue::try_from_array(column, 0).map_err(from_datafusion);
        row.columns().iter().map(value).collect()
    }
}

/// `SELECT args`
fn query_of(args: &[ast::Expr]) -> Result<ast::Query> {
    if args.iter().any(sql::has_query) {
        return Err(Error::unsupported("cannot use subquery in EXECUTE parameter"));
    }
    let mut query = *sql::parse_query("SELECT 1")?;
    if let ast::SetExpr::Select(select) = query.body.as_mut() {
        select.projection = args.iter().cloned().map(ast::SelectItem::UnnamedExpr).collect();
    }
    Ok(query)
}

/// The type that PREPARE gives a parameter; `unknown` leaves it to the statement.
fn parameter_type(sql_type: &ast::DataType) -> Result<Option<FieldRef>> {
    if sql_type.to_string().eq_ignore_ascii_case("unknown") {
        return Ok(None);
    }
    crate::query::sql_types::field_of(sql_type).map(Some)
}

fn not_coercible(number: usize, source: &FieldRef, target: &FieldRef) -> Error {
    let message = format!(
        "parameter ${number} of type {} cannot be coerced to the expected type {}",
        pg_name(source),
        pg_name(target)
    );
    Error::new(SqlState::DATATYPE_MISMATCH, message)
        .with_hint("You will need to rewrite or cast the expression.")
}
