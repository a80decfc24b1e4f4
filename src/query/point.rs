//! SELECTs of the row under a key, compiled once and run without planning.
//!
//! A prepared `SELECT ... FROM t WHERE key = $1` means the same each time but for its parameters. Its optimized plan is taken
//! apart once: which columns are read, by which values the key is looked up, what is kept and what comes out. Parameters are
//! columns beside those of the table. What is of another form, or depends on more than the row, is not taken.

use std::sync::Arc;

use arrow_array::{ArrayRef, BooleanArray, RecordBatch};
use arrow_schema::{DataType, Field, FieldRef, Schema, SchemaRef};
use arrow_select::filter::filter_record_batch;
use datafusion::common::tree_node::{Transformed, TransformedResult, TreeNode};
use datafusion::common::{Column, DFSchema, Result as DfResult, TableReference};
use datafusion::datasource::DefaultTableSource;
use datafusion::logical_expr::utils::{conjunction, split_conjunction};
use datafusion::logical_expr::{
    BinaryExpr, Expr, ExprSchemable, FetchType, LogicalPlan, Operator, Projection, SkipType,
    TableScan, TryCast,
};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::scalar::ScalarValue;

use super::engine::Engine;
use super::errors::{from_arrow, from_datafusion};
use super::live_scan::{LiveScan, check_poison, look_up};
use crate::arrangement::live::LiveTable;
use crate::change::batch_of;
use crate::epoch::Epoch;
use crate::error::Result;

/// The relation that parameters are columns of.
const PARAMETERS: &str = "#parameters";

/// A compiled lookup.
pub struct Point {
    pub live: Arc<LiveTable>,
    /// The table's columns that are read.
    columns: Vec<usize>,
    /// Of the parameters.
    parameters: SchemaRef,
    /// Those columns, then the parameters.
    rows: SchemaRef,
    /// A value for each column of the key, over the parameters.
    key: Vec<Arc<dyn PhysicalExpr>>,
    /// What else a row under the key has to be.
    condition: Option<Arc<dyn PhysicalExpr>>,
    output: Vec<Arc<dyn PhysicalExpr>>,
    schema: SchemaRef,
}

/// The parts of a plan.
struct Parts<'a> {
    output: Option<&'a Projection>,
    conditions: Vec<Expr>,
    scan: &'a TableScan,
}

impl Point {
    /// The lookup that an optimized plan comes to, with parameters of these types in it; `None` where it is more than that.
    pub fn of(engine: &Engine, plan: &LogicalPlan, parameters: &[FieldRef]) -> Option<Point> {
        let parts = parts(plan)?;
        let source = parts.scan.source.downcast_ref::<DefaultTableSource>()?;
        let table = source.table_provider.downcast_ref::<LiveScan>()?;
        compiled(engine, &parts, table, parameters).ok().flatten()
    }

    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Whether the values are of the types that this was compiled for.
    pub fn takes(&self, values: &[ScalarValue]) -> bool {
        let fields = self.parameters.fields();
        let fits =
            |(field, value): (&FieldRef, &ScalarValue)| *field.data_type() == value.data_type();
        fields.len() == values.len() && fields.iter().zip(values).all(fits)
    }

    /// The rows as of an epoch that is pinned.
    pub fn read(&self, epoch: Epoch, values: &[ScalarValue]) -> Result<RecordBatch> {
        let arrays = |rows: usize| {
            let arrays = values.iter().map(|value| value.to_array_of_size(rows));
            arrays.collect::<DfResult<Vec<ArrayRef>>>().map_err(from_datafusion)
        };
        let parameters =
            batch_of(Arc::clone(&self.parameters), arrays(1)?, 1).map_err(from_arrow)?;
        let key = self.key.iter().map(|value| array(value, &parameters));
        let key = key.collect::<Result<Vec<_>>>()?;
        let versions = self.live.versions(epoch);
        check_poison(&self.live.names().object, &versions)?;
        // A key is in one shard.
        let mut found = None;
        for snapshot in versions.iter().filter_map(|version| version.rows.as_ref()) {
            let rows = look_up(snapshot, &key, &self.columns)?;
            if rows.num_rows() > 0 {
                found = Some(rows);
                break;
            }
        }
        let Some(found) = found else { return Ok(RecordBatch::new_empty(self.schema.clone())) };
        let count = found.num_rows();
        let columns = found.columns().iter().cloned().chain(arrays(count)?).collect();
        let mut rows = batch_of(Arc::clone(&self.rows), columns, count).map_err(from_arrow)?;
        if let Some(condition) = &self.condition {
            let wanted = array(condition, &rows)?;
            let wanted: &BooleanArray = arrow_array::cast::AsArray::as_boolean(&wanted);
            rows = filter_record_batch(&rows, wanted).map_err(from_arrow)?;
        }
        let output = self.output.iter().map(|expr| array(expr, &rows));
        batch_of(self.schema.clone(), output.collect::<Result<_>>()?, rows.num_rows())
            .map_err(from_arrow)
    }
}

fn array(expr: &Arc<dyn PhysicalExpr>, rows: &RecordBatch) -> Result<ArrayRef> {
    let value = expr.evaluate(rows).map_err(from_datafusion)?;
    value.into_array(rows.num_rows()).map_err(from_datafusion)
}

/// Takes the plan apart: an output over conditions over a scan. A limit of a row or more and an order mean nothing to the one
/// row under a unique key.
fn parts(plan: &LogicalPlan) -> Option<Parts<'_>> {
    let mut parts = match plan {
        LogicalPlan::Limit(limit) => {
            let all = matches!(limit.get_skip_type(), Ok(SkipType::Literal(0)))
                && matches!(limit.get_fetch_type(), Ok(FetchType::Literal(Some(1..))));
            return if all { parts(&limit.input) } else { None };
        }
        LogicalPlan::Sort(sort) => {
            return if sort.fetch == Some(0) { None } else { parts(&sort.input) };
        }
        LogicalPlan::Projection(projection) => {
            let parts = parts(&projection.input)?;
            return match parts.output {
                None => Some(Parts { output: Some(projection), ..parts }),
                Some(_) => None,
            };
        }
        LogicalPlan::SubqueryAlias(alias) => parts(&alias.input)?,
        LogicalPlan::Filter(filter) => {
            let mut parts = parts(&filter.input)?;
            let positions = filter.input.schema().columns();
            let scanned = parts.scan.projected_schema.columns();
            let conjuncts = split_conjunction(&filter.predicate).into_iter();
            let named = conjuncts.map(|c| renamed(c, &positions, &scanned));
            parts.conditions.extend(named.collect::<Option<Vec<_>>>()?);
            parts
        }
        LogicalPlan::TableScan(scan) => {
            // Limits and conditions that the scan is told of.
            let conditions = scan.filters.clone();
            return scan.fetch.is_none().then_some(Parts { output: None, conditions, scan });
        }
        _ => return None,
    };
    if parts.output.is_some() {
        // What lies above an output speaks of its columns.
        return None;
    }
    parts.conditions.dedup();
    Some(parts)
}

/// The expression with the scan's names of the columns.
fn renamed(expr: &Expr, from: &[Column], to: &[Column]) -> Option<Expr> {
    let renamed = expr.clone().transform(|node| match node {
        Expr::Column(column) => {
            let at = from.iter().position(|other| *other == column);
            let column = at.map_or(column, |at| to[at].clone());
            Ok(Transformed::yes(Expr::Column(column)))
        }
        other => Ok(Transformed::no(other)),
    });
    renamed.data().ok()
}

fn compiled(
    engine: &Engine,
    parts: &Parts<'_>,
    table: &LiveScan,
    parameters: &[FieldRef],
) -> DfResult<Option<Point>> {
    let external = |e| super::errors::to_datafusion(e);
    if !table.live.key_is_unique || table.live.key.is_empty() || table.has_own_rows() {
        return Ok(None);
    }
    let scanned = &parts.scan.projected_schema;
    let named = |(i, field): (usize, &FieldRef)| {
        Arc::new(field.as_ref().clone().with_name(format!("${}", i + 1)))
    };
    let parameters: Vec<FieldRef> = parameters.iter().enumerate().map(named).collect();
    let relation = || Some(TableReference::bare(PARAMETERS));
    let told = parameters.iter().map(|field| (relation(), field.clone())).collect();
    let told = DFSchema::new_with_metadata(told, Default::default())?;
    let rows = scanned.join(&told)?;
    // A value for each column of the key, without looking at the row.
    let mut key = vec![];
    let mut conditions = parts.conditions.clone();
    for &column in &table.live.key {
        let field = table.field(column);
        let fixing = conditions.iter().enumerate();
        let mut fixing = fixing.filter_map(|(at, c)| Some((at, value_of(c, field, scanned)?)));
        let Some((at, value)) = fixing.next() else { return Ok(None) };
        let value = placed(value)?;
        // It holds of the row that is found by it.
        conditions.remove(at);
        if value.get_type(&told)? != *field.data_type() || value.is_volatile() {
            return Ok(None);
        }
        key.push(engine.compile(&value, &told).map_err(external)?);
    }
    let condition = conjunction(conditions).map(placed).transpose()?;
    let output: Vec<Expr> = match parts.output {
        None => scanned.columns().into_iter().map(Expr::Column).collect(),
        Some(projection) => {
            let names = projection.input.schema().columns();
            let exprs =
                projection.expr.iter().map(|expr| renamed(expr, &names, &scanned.columns()));
            match exprs.collect::<Option<Vec<_>>>() {
                Some(exprs) => exprs,
                None => return Ok(None),
            }
        }
    };
    let schema = match parts.output {
        None => scanned.inner(),
        Some(projection) => projection.schema.inner(),
    };
    let compile = |expr: Expr| engine.compile(&placed(expr)?.unalias(), &rows).map_err(external);
    let columns = scanned.columns();
    let columns = columns.iter().map(|column| table.position(&column.name));
    let Some(columns) = columns.collect::<Option<Vec<_>>>() else { return Ok(None) };
    Ok(Some(Point {
        live: Arc::clone(&table.live),
        columns,
        parameters: Arc::new(Schema::new(parameters)),
        rows: Arc::new(nullable(rows.as_arrow())),
        key,
        condition: condition.map(compile).transpose()?,
        output: output.into_iter().map(compile).collect::<DfResult<_>>()?,
        schema: Arc::new(nullable(schema)),
    }))
}

/// What a condition fixes a column of the key to. Integers are compared in the wider type: a value that does not fit the
/// column is that of no row.
fn value_of(condition: &Expr, field: &Field, schema: &DFSchema) -> Option<Expr> {
    let Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) = condition else {
        return None;
    };
    let is_key = |expr: &Expr| matches!(expr, Expr::Column(column) if column.name == *field.name() && schema.has_column(column));
    let fixed = |side: &Expr, value: &Expr| {
        if !value.column_refs().is_empty() {
            return None;
        }
        match side {
            side if is_key(side) => Some(value.clone()),
            Expr::Cast(cast)
                if is_key(&cast.expr)
                    && field.data_type().is_signed_integer()
                    && cast.field.data_type().is_signed_integer()
                    && width(cast.field.data_type()) > width(field.data_type()) =>
            {
                let value = Box::new(value.clone());
                Some(Expr::TryCast(TryCast::new(value, field.data_type().clone())))
            }
            _ => None,
        }
    };
    fixed(left, right).or_else(|| fixed(right, left))
}

fn width(integer: &DataType) -> Option<usize> {
    integer.primitive_width()
}

/// The expression with its parameters as columns.
fn placed(expr: Expr) -> DfResult<Expr> {
    let placed = expr.transform_up(|node| match node {
        Expr::Placeholder(parameter) => {
            let column = Column::new(Some(PARAMETERS), parameter.id);
            Ok(Transformed::yes(Expr::Column(column)))
        }
        other => Ok(Transformed::no(other)),
    });
    placed.data()
}

fn nullable(schema: &Schema) -> Schema {
    let fields = schema.fields().iter().map(|f| f.as_ref().clone().with_nullable(true));
    Schema::new(fields.collect::<Vec<_>>())
}
