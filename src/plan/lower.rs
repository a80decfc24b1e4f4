//! Lowers an optimized logical plan to the streaming plan.
//!
//! Expressions that operators need as plain columns (group keys, aggregate arguments, join keys) are computed by a
//! projection in front of them, so that operators never evaluate expressions and failing rows are found in one place.

use std::sync::Arc;

use arrow_array::Array;
use arrow_schema::{FieldRef, Schema, SchemaRef};
use datafusion::common::tree_node::{Transformed, TreeNode, TreeNodeRecursion};
use datafusion::common::{DFSchema, JoinType, NullEquality, NullHandling};
use datafusion::datasource::DefaultTableSource;
use datafusion::execution::context::ExecutionProps;
use datafusion::logical_expr::expr::NullTreatment;
use datafusion::logical_expr::{
    Aggregate, Distinct, Expr, FetchType, Join, Limit, LogicalPlan, Projection, SkipType, SortExpr,
    TableSource,
};
use datafusion::physical_expr::PhysicalExpr;
use datafusion::physical_expr::expressions::Column;
use recursive::recursive;

use super::grouping_sets::grouping_sets;
use super::stream_plan::{JoinKind, Node, Op, Properties, SortKey, Unnested};
use super::{properties, windows};
use crate::catalog::ObjectId;
use crate::error::{Error, Result};
use crate::operators::aggregate::{
    AggregateCall, AggregateFunction, RecomputedFunction, UdafArgument,
};
use crate::query::common::Common;
use crate::query::compile::compile_with;
use crate::query::constant_series::ConstantSeries;
use crate::query::errors::from_datafusion;
use crate::query::sizes::Known;

/// What the planner needs to know of an object that a plan reads.
#[derive(Clone, Debug)]
pub struct ObjectFacts {
    pub id: ObjectId,
    pub name: String,
    pub schema: SchemaRef,
    pub properties: Properties,
    /// Whether its rows are kept, so that they can be kept by other columns, too.
    pub stored: bool,
    /// Rows when the query is planned, roughly; 0 where there are none or nobody knows.
    pub rows: u64,
}

/// An object in a logical plan that is to be lowered: it cannot be scanned, only imported.
#[derive(Debug)]
pub struct ObjectSource {
    facts: ObjectFacts,
}

impl ObjectSource {
    pub fn new(facts: ObjectFacts) -> ObjectSource {
        ObjectSource { facts }
    }
}

impl TableSource for ObjectSource {
    fn schema(&self) -> SchemaRef {
        self.facts.schema.clone()
    }
}

/// What is known of an object that a view's query reads.
pub fn known_of(source: &dyn TableSource) -> Option<Known> {
    let facts = &source.downcast_ref::<ObjectSource>()?.facts;
    Some(Known { rows: facts.rows, keys: facts.properties.keys.clone() })
}

/// Whether an optimized plan looks at what a column of an object holds.
pub fn scans_column(plan: &LogicalPlan, id: ObjectId, column: usize) -> bool {
    let mut found = false;
    let looked = plan.apply_with_subqueries(|node| {
        if let LogicalPlan::TableScan(scan) = node
            && let Some(source) = scan.source.downcast_ref::<ObjectSource>()
            && source.facts.id == id
        {
            found |= scan.projection.as_ref().is_none_or(|columns| columns.contains(&column));
            found |= !scan.filters.is_empty();
        }
        Ok(match found {
            true => TreeNodeRecursion::Stop,
            false => TreeNodeRecursion::Continue,
        })
    });
    found || looked.is_err()
}

/// The streaming plan of an optimized logical plan; what cannot be maintained is 0A000.
#[recursive]
pub fn lower(props: &ExecutionProps, plan: &LogicalPlan) -> Result<Node> {
    match plan {
        LogicalPlan::Projection(p) => projection(props, p),
        LogicalPlan::Filter(f) => {
            if let Some(first) = windows::first_of_each(props, f)? {
                return Ok(first);
            }
            let input = lower(props, &f.input)?;
            let predicate = compile_with(props, &f.predicate, f.input.schema())?;
            Ok(filter(input, predicate))
        }
        LogicalPlan::Aggregate(a) => aggregate(props, a),
        LogicalPlan::Distinct(Distinct::All(input)) => Ok(distinct(lower(props, input)?)),
        LogicalPlan::Distinct(Distinct::On(_)) => {
            Err(Error::internal("DISTINCT ON has become a filter of row numbers"))
        }
        LogicalPlan::Join(j) => join(props, j),
        LogicalPlan::Union(u) => union(props, &u.inputs, arrow_schema(&u.schema)),
        LogicalPlan::TableScan(scan) => table_scan(props, scan),
        LogicalPlan::EmptyRelation(e) => empty(e.produce_one_row, arrow_schema(&e.schema)),
        LogicalPlan::Values(v) => values(props, v),
        LogicalPlan::Subquery(s) => lower(props, &s.subquery),
        LogicalPlan::SubqueryAlias(a) => lower(props, &a.input),
        LogicalPlan::Limit(l) => limit(props, l),
        // A view has no order: sorting matters only under LIMIT, except where the optimizer moved the limit into the sort.
        LogicalPlan::Sort(s) => match s.fetch {
            Some(fetch) => top_n(props, &s.input, &s.expr, Some(fetch), 0),
            None => lower(props, &s.input),
        },
        LogicalPlan::Repartition(r) => lower(props, &r.input),
        LogicalPlan::Window(w) => windows::window(props, w),
        LogicalPlan::Unnest(u) => unnest(props, u),
        LogicalPlan::RecursiveQuery(_) => {
            Err(not_maintained("WITH RECURSIVE", "Compute it when reading the view."))
        }
        LogicalPlan::Statement(_)
        | LogicalPlan::Explain(_)
        | LogicalPlan::Analyze(_)
        | LogicalPlan::Extension(_)
        | LogicalPlan::Dml(_)
        | LogicalPlan::Ddl(_)
        | LogicalPlan::Copy(_)
        | LogicalPlan::DescribeTable(_) => {
            Err(not_maintained("this statement", "Use a SELECT as the view's query."))
        }
    }
}

/// The refusal of a construct that has no incremental operator yet.
pub(super) fn not_maintained(construct: &str, instead: &str) -> Error {
    Error::unsupported(format!("{construct} is not maintained in a materialized view"))
        .with_hint(instead)
}

/// The columns of a computed node. Only tables promise that a column has no NULLs: of anything else it would have to hold
/// for every operator on the way, and a batch that broke the promise could not be built.
pub(super) fn arrow_schema(schema: &DFSchema) -> SchemaRef {
    nullable(schema.inner())
}

fn nullable(schema: &SchemaRef) -> SchemaRef {
    if schema.fields().iter().all(|f| f.is_nullable()) {
        return schema.clone();
    }
    let fields = schema.fields().iter().map(|f| f.as_ref().clone().with_nullable(true));
    Arc::new(Schema::new(fields.collect::<Vec<_>>()))
}

pub(super) fn column(name: &str, index: usize) -> Arc<dyn PhysicalExpr> {
    Arc::new(Column::new(name, index))
}

pub(super) fn filter(input: Node, predicate: Arc<dyn PhysicalExpr>) -> Node {
    let (schema, properties) = (input.schema.clone(), input.properties.clone());
    Node { op: Op::Filter { predicate }, inputs: vec![input], schema, properties }
}

pub(super) fn project(input: Node, exprs: Vec<Arc<dyn PhysicalExpr>>, schema: SchemaRef) -> Node {
    let identity = exprs.len() == input.schema.fields().len()
        && exprs
            .iter()
            .enumerate()
            .all(|(i, e)| e.downcast_ref::<Column>().is_some_and(|c| c.index() == i));
    let schema = nullable(&schema);
    if identity && schema.fields() == nullable(&input.schema).fields() {
        return input;
    }
    let properties = properties::project(&input.properties, &exprs);
    Node { op: Op::Project { exprs }, inputs: vec![input], schema, properties }
}

fn projection(props: &ExecutionProps, p: &Projection) -> Result<Node> {
    let input = lower(props, &p.input)?;
    let exprs = p
        .expr
        .iter()
        .map(|e| compile_with(props, e, p.input.schema()))
        .collect::<Result<Vec<_>>>()?;
    Ok(project(input, exprs, arrow_schema(&p.schema)))
}

/// Lists of lists are flattened and structs taken apart by functions: what is unnested is a list, once.
fn unnest(props: &ExecutionProps, u: &datafusion::logical_expr::Unnest) -> Result<Node> {
    let once = u.list_type_columns.iter().all(|(_, list)| list.depth == 1);
    if !once || !u.struct_type_columns.is_empty() {
        return Err(not_maintained("this form of UNNEST", "Unnest one level at a time."));
    }
    let input = lower(props, &u.input)?;
    let column = |&at: &usize| match u.list_type_columns.iter().any(|(list, _)| *list == at) {
        true => Unnested::Elements(at),
        false => Unnested::Repeated(at),
    };
    let columns = u.dependency_indices.iter().map(column).collect();
    let keep_empty = match u.options.null_handling {
        NullHandling::Drop => false,
        NullHandling::PreserveAndExpandEmpty => true,
        NullHandling::Preserve => {
            return Err(Error::internal("NULL and empty lists are treated alike"));
        }
    };
    let properties = properties::unnest(&input.properties);
    let op = Op::Unnest { columns, keep_empty };
    Ok(Node { op, inputs: vec![input], schema: arrow_schema(&u.schema), properties })
}

fn distinct(input: Node) -> Node {
    let schema = input.schema.clone();
    let properties = properties::distinct(&input.properties, schema.fields().len());
    Node { op: Op::Distinct, inputs: vec![input], schema, properties }
}

fn union(props: &ExecutionProps, inputs: &[Arc<LogicalPlan>], schema: SchemaRef) -> Result<Node> {
    // Batches of one stream have one schema: each input's become those of the union.
    let alike = |input: Node| {
        let fields = input.schema.fields().iter().zip(schema.fields());
        if fields.clone().all(|(i, u)| i.is_nullable() && i.data_type() == u.data_type()) {
            return input;
        }
        let columns = fields.enumerate().map(|(i, (f, _))| column(f.name(), i)).collect();
        let properties = input.properties.clone();
        let op = Op::Project { exprs: columns };
        Node { op, inputs: vec![input], schema: schema.clone(), properties }
    };
    let inputs = inputs.iter().map(|i| lower(props, i).map(alike)).collect::<Result<Vec<_>>>()?;
    let properties = properties::union(&inputs.iter().map(|i| &i.properties).collect::<Vec<_>>());
    Ok(Node { op: Op::Union, inputs, schema, properties })
}

fn empty(one_row: bool, schema: SchemaRef) -> Result<Node> {
    let rows = crate::change::batch_of(Arc::new(Schema::empty()), vec![], usize::from(one_row))
        .map_err(|e| Error::internal(e.to_string()))?;
    let rows =
        if schema.fields().is_empty() { rows } else { arrow_array::RecordBatch::new_empty(schema) };
    Ok(constant(rows))
}

fn constant(rows: arrow_array::RecordBatch) -> Node {
    let keys = if rows.num_rows() <= 1 { vec![vec![]] } else { vec![] };
    let properties = Properties { append_only: true, keys };
    Node { schema: rows.schema(), op: Op::Values { rows }, inputs: vec![], properties }
}

/// Constant rows are evaluated here, once: they cannot change.
fn values(props: &ExecutionProps, v: &datafusion::logical_expr::Values) -> Result<Node> {
    let schema = arrow_schema(&v.schema);
    let one_row = crate::change::batch_of(Arc::new(Schema::empty()), vec![], 1)
        .map_err(|e| Error::internal(e.to_string()))?;
    let no_columns = DFSchema::empty();
    let mut columns: Vec<Vec<arrow_array::ArrayRef>> = vec![vec![]; schema.fields().len()];
    for row in &v.values {
        for (i, expr) in row.iter().enumerate() {
            let value = compile_with(props, expr, &no_columns)?
                .evaluate(&one_row)
                .and_then(|v| v.into_array(1))
                .map_err(from_datafusion)?;
            let value = arrow_cast::cast(&value, schema.field(i).data_type())
                .map_err(|e| Error::internal(e.to_string()))?;
            columns[i].push(value);
        }
    }
    let columns = columns
        .iter()
        .map(|parts| {
            arrow_select::concat::concat(&parts.iter().map(|a| a.as_ref()).collect::<Vec<_>>())
        })
        .collect::<std::result::Result<Vec<_>, _>>()
        .map_err(|e| Error::internal(e.to_string()))?;
    let rows = crate::change::batch_of(schema, columns, v.values.len())
        .map_err(|e| Error::internal(e.to_string()))?;
    Ok(constant(rows))
}

fn table_scan(props: &ExecutionProps, scan: &datafusion::logical_expr::TableScan) -> Result<Node> {
    if let Some(common) = Common::scanned(scan) {
        return common_query(props, scan, common);
    }
    let Some(source) = scan.source.downcast_ref::<ObjectSource>() else {
        return series(props, scan);
    };
    let object = source.facts.clone();
    let all = || (0..object.schema.fields().len()).collect::<Vec<_>>();
    let columns = scan.projection.clone().unwrap_or_else(all);
    let schema =
        Arc::new(object.schema.project(&columns).map_err(|e| Error::internal(e.to_string()))?);
    let position = |c: &usize| columns.iter().position(|x| x == c);
    let keys = object.properties.keys.iter();
    let keys = keys.filter_map(|k| k.iter().map(position).collect::<Option<Vec<_>>>()).collect();
    let properties = Properties { append_only: object.properties.append_only, keys };
    let op = Op::Import { object: object.id, name: object.name, columns, stored: object.stored };
    filtered(props, scan, Node { op, inputs: vec![], schema, properties })
}

/// What WITH gives, at each place that reads it: equal sub-plans are run once.
fn common_query(
    props: &ExecutionProps,
    scan: &datafusion::logical_expr::TableScan,
    common: &Common,
) -> Result<Node> {
    let (Some(chosen), Some(columns)) =
        (common.chosen(), common.positions(scan.projection.as_ref()))
    else {
        return Err(Error::internal("what is read of a common query is chosen"));
    };
    let query = lower(props, &chosen.plan)?;
    let name = |at: usize| query.schema.field(at).name().clone();
    let exprs = columns.into_iter().map(|at| column(&name(at), at)).collect();
    let rows = project(query, exprs, arrow_schema(&scan.projected_schema));
    filtered(props, scan, rows)
}

/// The rows of a series between constants.
fn series(props: &ExecutionProps, scan: &datafusion::logical_expr::TableScan) -> Result<Node> {
    let source = scan.source.downcast_ref::<DefaultTableSource>();
    let series = source.and_then(|s| s.table_provider.downcast_ref::<ConstantSeries>());
    let Some(series) = series else {
        return Err(Error::internal(format!(
            "{} cannot be read in a materialized view",
            scan.table_name
        )));
    };
    let values: arrow_array::ArrayRef = Arc::new(series.values()?);
    let (schema, rows) = (arrow_schema(&scan.projected_schema), values.len());
    let columns = schema.fields().iter().map(|_| values.clone()).collect();
    let rows = crate::change::batch_of(schema, columns, rows)
        .map_err(|e| Error::internal(e.to_string()))?;
    filtered(props, scan, constant(rows))
}

/// What is scanned, with the conditions that the optimizer has moved into the scan.
fn filtered(
    props: &ExecutionProps,
    scan: &datafusion::logical_expr::TableScan,
    mut node: Node,
) -> Result<Node> {
    let df_schema = scan.projected_schema.as_ref();
    for predicate in &scan.filters {
        node = filter(node, compile_with(props, predicate, df_schema)?);
    }
    if scan.fetch.is_some() {
        return Err(Error::internal("a limit was pushed into a scan of a streaming plan"));
    }
    Ok(node)
}

fn limit(props: &ExecutionProps, l: &Limit) -> Result<Node> {
    let constant = || not_maintained("LIMIT with an expression", "Use a constant.");
    let SkipType::Literal(offset) = l.get_skip_type().map_err(from_datafusion)? else {
        return Err(constant());
    };
    let FetchType::Literal(fetch) = l.get_fetch_type().map_err(from_datafusion)? else {
        return Err(constant());
    };
    match l.input.as_ref() {
        // The optimizer tells the sort how many rows are wanted (offset included): the limit alone decides.
        LogicalPlan::Sort(s) => top_n(props, &s.input, &s.expr, fetch, offset),
        // Projections keep order: the sort below them is the one that the limit is about.
        LogicalPlan::Projection(p) if sorted_below(&p.input) => {
            let moved =
                Limit { skip: l.skip.clone(), fetch: l.fetch.clone(), input: p.input.clone() };
            let input = limit(props, &moved)?;
            let exprs = p
                .expr
                .iter()
                .map(|e| compile_with(props, e, p.input.schema()))
                .collect::<Result<Vec<_>>>()?;
            Ok(project(input, exprs, arrow_schema(&p.schema)))
        }
        LogicalPlan::SubqueryAlias(a) if sorted_below(&a.input) => limit(
            props,
            &Limit { skip: l.skip.clone(), fetch: l.fetch.clone(), input: a.input.clone() },
        ),
        other => top_n(props, other, &[], fetch, offset),
    }
}

fn sorted_below(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Sort(_) => true,
        LogicalPlan::Projection(p) => sorted_below(&p.input),
        LogicalPlan::SubqueryAlias(a) => sorted_below(&a.input),
        _ => false,
    }
}

fn top_n(
    props: &ExecutionProps,
    input: &LogicalPlan,
    order: &[SortExpr],
    limit: Option<usize>,
    offset: usize,
) -> Result<Node> {
    let width = input.schema().fields().len();
    let node = lower(props, input)?;
    let mut exprs: Vec<&Expr> = order.iter().map(|s| &s.expr).collect();
    // Rows without columns are counted by one that says nothing.
    let nothing = Expr::Literal(datafusion::scalar::ScalarValue::Boolean(Some(true)), None);
    if width == 0 {
        exprs.push(&nothing);
    }
    let (node, columns) = with_columns(props, node, &exprs, input.schema())?;
    let key = |(s, &column): (&SortExpr, &usize)| SortKey {
        column,
        descending: !s.asc,
        nulls_first: s.nulls_first,
    };
    let order = without_ties(order.iter().zip(&columns).map(key).collect(), width, &[]);
    let properties = Properties { append_only: false, keys: node.properties.keys.clone() };
    let schema = node.schema.clone();
    let op = Op::TopN { partition: vec![], order, limit, offset };
    let sorted = Node { op, inputs: vec![node], schema, properties };
    Ok(only_first(sorted, width, arrow_schema(input.schema())))
}

/// The keys without those at the end that only break ties by the whole row, as top-N does by itself. The columns `fixed` are
/// the same in all rows that are compared.
pub(super) fn without_ties(mut keys: Vec<SortKey>, width: usize, fixed: &[usize]) -> Vec<SortKey> {
    let breaks_ties = |written: &[SortKey], rest: &[SortKey]| {
        let is_key = |c: &usize| fixed.contains(c) || written.iter().any(|k| k.column == *c);
        let missing = (0..width).filter(|c| !is_key(c));
        let plain = |k: &SortKey| !k.descending && !k.nulls_first;
        rest.iter().all(plain) && missing.eq(rest.iter().map(|k| k.column))
    };
    let kept = (0..keys.len()).find(|&n| breaks_ties(&keys[..n], &keys[n..]));
    keys.truncate(kept.unwrap_or(keys.len()));
    keys
}

/// The node with a column for each expression: an existing one where the expression is a plain column, else a new one
/// at the end.
pub(super) fn with_columns(
    props: &ExecutionProps,
    input: Node,
    exprs: &[&Expr],
    schema: &DFSchema,
) -> Result<(Node, Vec<usize>)> {
    let mut projected: Vec<Arc<dyn PhysicalExpr>> =
        input.schema.fields().iter().enumerate().map(|(i, f)| column(f.name(), i)).collect();
    let mut fields: Vec<FieldRef> = input.schema.fields().iter().cloned().collect();
    let mut positions = vec![];
    for expr in exprs {
        let compiled = compile_with(props, expr, schema)?;
        if let Some(existing) = compiled.downcast_ref::<Column>() {
            positions.push(existing.index());
            continue;
        }
        let field = compiled.return_field(&input.schema).map_err(from_datafusion)?;
        positions.push(projected.len());
        fields.push(Arc::new(field.as_ref().clone().with_name(format!("#{}", projected.len()))));
        projected.push(compiled);
    }
    Ok((project(input, projected, Arc::new(Schema::new(fields))), positions))
}

/// Drops the columns that `with_columns` added.
pub(super) fn only_first(node: Node, width: usize, schema: SchemaRef) -> Node {
    if node.schema.fields().len() == width {
        return node;
    }
    let exprs = (0..width).map(|i| column(schema.field(i).name(), i)).collect();
    project(node, exprs, schema)
}

fn aggregate(props: &ExecutionProps, a: &Aggregate) -> Result<Node> {
    if let Some(united) = grouping_sets(props, a)? {
        return Ok(united);
    }
    let input_schema = a.input.schema();
    let mut exprs: Vec<Expr> = a.group_expr.clone();
    let groups = exprs.len();
    let mut calls = vec![];
    for (i, expr) in a.aggr_expr.iter().enumerate() {
        let unaliased = expr.clone().unalias();
        let Expr::AggregateFunction(call) = &unaliased else {
            return Err(Error::internal(format!("unexpected aggregate expression {expr}")));
        };
        let mut place = |e: Expr| match exprs.iter().position(|x| *x == e) {
            Some(at) => at,
            None => {
                exprs.push(e);
                exprs.len() - 1
            }
        };
        let counts_rows = call.func.name() == "count"
            && !call.params.distinct
            && call.params.args.iter().all(|a| matches!(a, Expr::Literal(v, _) if !v.is_null()));
        let mut args = vec![];
        let filter = call.params.filter.as_ref().map(|f| place(f.as_ref().clone()));
        let return_field = Arc::clone(&a.schema.fields()[groups + i]);
        let function = match counts_rows {
            true => AggregateFunction::CountStar,
            false => aggregate_function(call, &mut args, &mut place)?,
        };
        calls.push(AggregateCall {
            function,
            args,
            filter,
            distinct: call.params.distinct,
            return_field,
        });
    }
    let input = lower(props, &a.input)?;
    let mut compiled = vec![];
    let mut fields = vec![];
    for (i, e) in exprs.iter().enumerate() {
        let c = compile_with(props, e, input_schema)?;
        let field = c.return_field(&input.schema).map_err(from_datafusion)?;
        fields.push(Arc::new(field.as_ref().clone().with_name(format!("#{i}"))));
        compiled.push(c);
    }
    let input = project(input, compiled, Arc::new(Schema::new(fields)));
    let op = Op::Aggregate { groups: (0..groups).collect(), calls };
    let properties = properties::aggregate(groups);
    Ok(Node { op, inputs: vec![input], schema: arrow_schema(&a.schema), properties })
}

/// Which accumulator a call needs; places its arguments. Functions without one of ours are computed anew from the
/// group's rows.
pub(super) fn aggregate_function(
    call: &datafusion::logical_expr::expr::AggregateFunction,
    args: &mut Vec<usize>,
    place: &mut impl FnMut(Expr) -> usize,
) -> Result<AggregateFunction> {
    let native = match call.func.name() {
        "count" => Some(AggregateFunction::Count),
        "sum" => Some(AggregateFunction::Sum),
        "avg" => Some(AggregateFunction::Avg),
        "min" => Some(AggregateFunction::Min),
        "max" => Some(AggregateFunction::Max),
        "bool_and" => Some(AggregateFunction::BoolAnd),
        "bool_or" => Some(AggregateFunction::BoolOr),
        _ => None,
    };
    if let Some(native) = native {
        args.extend(call.params.args.iter().cloned().map(&mut *place));
        return Ok(native);
    }
    let mut position = |expr: Expr| {
        let column = place(expr);
        args.iter().position(|arg| *arg == column).unwrap_or_else(|| {
            args.push(column);
            args.len() - 1
        })
    };
    // A call of constants alone still has its rows counted: by a column of the first.
    let constant = call.params.args.iter().all(|arg| matches!(arg, Expr::Literal(..)));
    let arguments = call.params.args.iter().cloned().enumerate().map(|(i, arg)| match arg {
        Expr::Literal(value, _) if !(constant && i == 0) => UdafArgument::Constant(value),
        other => UdafArgument::Column(position(other)),
    });
    let arguments = arguments.collect();
    let order = call.params.order_by.iter().map(|sort| SortKey {
        column: position(sort.expr.clone()),
        descending: !sort.asc,
        nulls_first: sort.nulls_first,
    });
    let order = order.collect();
    let ignore_nulls = call.params.null_treatment == Some(NullTreatment::IgnoreNulls);
    let function =
        RecomputedFunction { function: call.func.clone(), arguments, order, ignore_nulls };
    Ok(AggregateFunction::Udaf(Arc::new(function)))
}

fn join(props: &ExecutionProps, j: &Join) -> Result<Node> {
    if j.null_aware {
        return Err(Error::internal("NOT IN has become plain anti joins"));
    }
    let (kind, swapped) = match j.join_type {
        JoinType::Inner => (JoinKind::Inner, false),
        JoinType::Left => (JoinKind::Left, false),
        JoinType::Right => (JoinKind::Right, false),
        JoinType::Full => (JoinKind::Full, false),
        JoinType::LeftSemi => (JoinKind::LeftSemi, false),
        JoinType::LeftAnti => (JoinKind::LeftAnti, false),
        JoinType::LeftMark => (JoinKind::LeftMark, false),
        JoinType::RightSemi => (JoinKind::LeftSemi, true),
        JoinType::RightAnti => (JoinKind::LeftAnti, true),
        JoinType::RightMark => (JoinKind::LeftMark, true),
    };
    let (left, right) = if swapped { (&j.right, &j.left) } else { (&j.left, &j.right) };
    let pairs = j.on.iter().map(|(l, r)| if swapped { (r, l) } else { (l, r) });
    let (left_exprs, right_exprs): (Vec<&Expr>, Vec<&Expr>) = pairs.unzip();
    let (left_width, right_width) = (left.schema().fields().len(), right.schema().fields().len());
    let (left_node, mut left_keys) =
        with_columns(props, lower(props, left)?, &left_exprs, left.schema())?;
    let (right_node, mut right_keys) =
        with_columns(props, lower(props, right)?, &right_exprs, right.schema())?;
    order_keys((&left_node, &mut left_keys), (&right_node, &mut right_keys));
    for (l, r) in left_keys.iter().zip(&right_keys) {
        let (l, r) =
            (left_node.schema.field(*l).data_type(), right_node.schema.field(*r).data_type());
        if l != r {
            return Err(Error::internal(format!("join keys of different types: {l} and {r}")));
        }
    }
    let extra = left_node.schema.fields().len() - left_width;
    let condition = j
        .filter
        .as_ref()
        .map(|f| join_condition(props, f, left.schema(), right.schema(), left_width, extra))
        .transpose()?;
    let nulls_match = matches!(j.null_equality, NullEquality::NullEqualsNull);
    joined(
        JoinParts {
            kind,
            left_node,
            right_node,
            left_keys,
            right_keys,
            nulls_match,
            condition,
            left_width,
            right_width,
        },
        arrow_schema(&j.schema),
    )
}

/// Puts the pairs of keys into the order of the columns of one side's object, which is mostly that of its primary key: joins
/// that look up the same columns then share an arrangement, whatever order they were written in.
fn order_keys(left: (&Node, &mut Vec<usize>), right: (&Node, &mut Vec<usize>)) {
    let by_left = left.0.looked_up(left.1);
    let Some((_, columns)) = by_left.or_else(|| right.0.looked_up(right.1)) else { return };
    let mut order: Vec<usize> = (0..columns.len()).collect();
    order.sort_by_key(|&pair| columns[pair]);
    *left.1 = order.iter().map(|&pair| left.1[pair]).collect();
    *right.1 = order.iter().map(|&pair| right.1[pair]).collect();
}

struct JoinParts {
    kind: JoinKind,
    left_node: Node,
    right_node: Node,
    left_keys: Vec<usize>,
    right_keys: Vec<usize>,
    nulls_match: bool,
    condition: Option<Arc<dyn PhysicalExpr>>,
    left_width: usize,
    right_width: usize,
}

/// The join's node and, where key columns were added to its inputs, a projection that drops them.
fn joined(j: JoinParts, schema: SchemaRef) -> Result<Node> {
    let wide_left = j.left_node.schema.fields().len();
    let one_sided = matches!(j.kind, JoinKind::LeftSemi | JoinKind::LeftAnti | JoinKind::LeftMark);
    let properties = properties::join(
        j.kind,
        &j.left_node.properties,
        &j.right_node.properties,
        &j.left_keys,
        &j.right_keys,
        wide_left,
    );
    let properties = match j.kind {
        JoinKind::Full => properties::told_apart(properties, &j.left_node, &j.right_node),
        _ => properties,
    };
    let mut kept: Vec<usize> = (0..j.left_width).collect();
    match j.kind {
        JoinKind::LeftSemi | JoinKind::LeftAnti => {}
        JoinKind::LeftMark => kept.push(wide_left),
        JoinKind::Inner | JoinKind::Left | JoinKind::Right | JoinKind::Full => {
            kept.extend(wide_left..wide_left + j.right_width)
        }
    }
    let added = wide_left != j.left_width
        || (!one_sided && j.right_node.schema.fields().len() != j.right_width);
    // The join's own columns: the plan's names for those that stay, the inputs' for the added keys.
    let mut fields: Vec<FieldRef> = j.left_node.schema.fields().iter().cloned().collect();
    match j.kind {
        JoinKind::LeftSemi | JoinKind::LeftAnti => {}
        JoinKind::LeftMark => fields.push(schema.fields()[schema.fields().len() - 1].clone()),
        JoinKind::Inner | JoinKind::Left | JoinKind::Right | JoinKind::Full => {
            fields.extend(j.right_node.schema.fields().iter().cloned())
        }
    }
    for (i, &at) in kept.iter().enumerate() {
        fields[at] = schema.fields()[i].clone();
    }
    let fields = fields
        .into_iter()
        .map(|f| Arc::new(f.as_ref().clone().with_nullable(true)))
        .collect::<Vec<_>>();
    let wide_schema = if added { Arc::new(Schema::new(fields)) } else { schema.clone() };
    let op = Op::Join {
        kind: j.kind,
        left_keys: j.left_keys,
        right_keys: j.right_keys,
        nulls_match: j.nulls_match,
        condition: j.condition,
    };
    let node =
        Node { op, inputs: vec![j.left_node, j.right_node], schema: wide_schema, properties };
    if !added {
        return Ok(node);
    }
    let exprs =
        kept.iter().enumerate().map(|(i, &at)| column(schema.field(i).name(), at)).collect();
    Ok(project(node, exprs, schema))
}

/// Compiles the condition over left ++ right and moves the right columns behind the keys added on the left.
fn join_condition(
    props: &ExecutionProps,
    condition: &Expr,
    left: &DFSchema,
    right: &DFSchema,
    left_width: usize,
    extra: usize,
) -> Result<Arc<dyn PhysicalExpr>> {
    let both = left.join(right).map_err(from_datafusion)?;
    let compiled = compile_with(props, condition, &both)?;
    if extra == 0 {
        return Ok(compiled);
    }
    let moved = compiled.transform(|e| {
        Ok(match e.downcast_ref::<Column>() {
            Some(c) if c.index() >= left_width => {
                Transformed::yes(column(c.name(), c.index() + extra))
            }
            _ => Transformed::no(e),
        })
    });
    Ok(moved.map_err(from_datafusion)?.data)
}
