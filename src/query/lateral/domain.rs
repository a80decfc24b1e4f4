//! A subquery for many values of what it refers to at once.
//!
//! A [`Domain`] is the collection of those values, rows of the left side or distinct combinations of some of its columns.
//! [`Domain::push`] moves it down into the subquery, to where it no longer refers to anything, and meets it there with the
//! tables. Each operator above has the domain's columns beside its own. They are found by their names, which are
//! unique, since a subquery's alias takes qualifiers away.

use std::sync::Arc;

use datafusion::common::tree_node::TreeNodeRecursion;
use datafusion::common::{
    Column, DFSchema, ExprSchema, NullEquality, NullHandling, Result as DfResult, UnnestOptions,
};
use datafusion::logical_expr::expr::WindowFunction;
use datafusion::logical_expr::utils::split_conjunction_owned;
use datafusion::logical_expr::{
    Aggregate, BinaryExpr, Distinct, DistinctOn, Expr, Filter, Join, JoinConstraint, JoinType,
    Limit, LogicalPlan, LogicalPlanBuilder, Operator, Projection, Sort, SortExpr, SubqueryAlias,
    Union, Unnest, Values, Window, binary_expr, col, lit,
};
use recursive::recursive;

use super::references::{bound, outer_references};
use super::{Lateral, columns_of, named_as};
use crate::error::Error;
use crate::query::errors::to_datafusion;
use crate::query::fallible::is_fallible;
use crate::query::functions;
use crate::query::functions::windows::row_number;

/// 0A000 for a subquery that cannot be joined.
pub(super) fn refused(what: &str) -> datafusion::error::DataFusionError {
    let error = Error::unsupported(format!("{what} is not supported in a correlated subquery"));
    to_datafusion(error.with_hint("Write it as a join with the table instead."))
}

/// Whether a subquery has any rows, as its one value.
pub(super) fn counted(plan: LogicalPlan, negated: bool) -> DfResult<LogicalPlan> {
    let count = datafusion::functions_aggregate::expr_fn::count(lit(1_i64)).alias("#rows");
    let plan = LogicalPlanBuilder::from(plan).aggregate(Vec::<Expr>::new(), vec![count])?;
    let rows = col(Column::new_unqualified("#rows"));
    let found = if negated { rows.eq(lit(0_i64)) } else { rows.gt(lit(0_i64)) };
    plan.project(vec![found.alias("#found")])?.build()
}

pub(super) struct Domain<'a> {
    lateral: &'a Lateral,
    /// Columns of the left side, and what they are called here.
    columns: Vec<(Column, String)>,
    /// The columns as the left side has them.
    outside: DFSchema,
    plan: LogicalPlan,
    /// Whether other values may be among them, too: what the subquery makes of those is in nobody's way.
    open: bool,
}

impl<'a> Domain<'a> {
    /// The rows of a plan as they are.
    pub fn of_rows(lateral: &'a Lateral, left: &LogicalPlan) -> DfResult<Domain<'a>> {
        let columns = left.schema().columns();
        Domain::new(lateral, left, columns.clone().into_iter().zip(columns).collect())
    }

    /// The distinct values of some columns.
    pub fn of_values(
        lateral: &'a Lateral,
        left: &LogicalPlan,
        columns: Vec<Column>,
        subquery: &LogicalPlan,
    ) -> DfResult<Domain<'a>> {
        let columns = columns.clone().into_iter().zip(columns).collect();
        Domain::new(lateral, left, columns)?.distinct(subquery)
    }

    /// A domain of columns of `rows`, each with what the subquery calls it.
    fn new(
        lateral: &'a Lateral,
        rows: &LogicalPlan,
        columns: Vec<(Column, Column)>,
    ) -> DfResult<Domain<'a>> {
        let name = lateral.fresh("outer");
        let (mut exprs, mut fields, mut named) = (vec![], vec![], vec![]);
        for (i, (column, called)) in columns.into_iter().enumerate() {
            let field = rows.schema().field_from_column(&column)?;
            let field = Arc::new(field.as_ref().clone().with_name(&called.name));
            fields.push((called.relation.clone(), field));
            exprs.push(Expr::Column(column).alias(format!("{name}.{i}")));
            named.push((called, format!("{name}.{i}")));
        }
        let outside = DFSchema::new_with_metadata(fields, Default::default())?;
        let plan = LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(rows.clone()))?);
        Ok(Domain { lateral, columns: named, outside, plan, open: false })
    }

    /// Each of its values once. An error of a subquery for values that are not there would be one too many.
    fn distinct(self, subquery: &LogicalPlan) -> DfResult<Domain<'a>> {
        let plan = LogicalPlan::Distinct(Distinct::All(Arc::new(self.plan)));
        Ok(Domain { plan, open: cannot_fail(subquery)?, ..self })
    }

    pub fn width(&self) -> usize {
        self.columns.len()
    }

    /// What its columns are called, in their order.
    pub fn names(&self) -> impl Iterator<Item = &String> + Clone {
        self.columns.iter().map(|(_, name)| name)
    }

    /// Its columns in a plan that it was pushed into.
    pub fn columns_in(&self, schema: &DFSchema) -> DfResult<Vec<Column>> {
        self.names().map(|name| column_named(schema, name)).collect()
    }

    fn exprs_in(&self, plan: &LogicalPlan) -> DfResult<Vec<Expr>> {
        Ok(self.columns_in(plan.schema())?.into_iter().map(Expr::Column).collect())
    }

    fn concerns(&self, plan: &LogicalPlan) -> DfResult<bool> {
        Ok(!outer_references(plan, &self.outside)?.is_empty())
    }

    /// An expression over `input` that referred to the left side, whose columns `pushed` has.
    fn bound(&self, expr: Expr, input: &LogicalPlan, pushed: &LogicalPlan) -> DfResult<Expr> {
        bound(expr, &[input.schema()], &|outer| {
            let (_, name) = self.columns.iter().find(|(column, _)| column == outer)?;
            column_named(pushed.schema(), name).ok()
        })
    }

    fn all_bound(
        &self,
        exprs: &[Expr],
        input: &LogicalPlan,
        pushed: &LogicalPlan,
    ) -> DfResult<Vec<Expr>> {
        exprs.iter().map(|expr| self.bound(expr.clone(), input, pushed)).collect()
    }

    /// The subquery for each of the domain's values: its own columns, and the domain's.
    #[recursive]
    pub fn push(&self, plan: &LogicalPlan) -> DfResult<LogicalPlan> {
        if !self.concerns(plan)? {
            return self.with_each(plan);
        }
        match plan {
            LogicalPlan::Subquery(s) => self.push(&s.subquery),
            LogicalPlan::SubqueryAlias(a) => {
                let input = Arc::new(self.push(&a.input)?);
                let alias = SubqueryAlias::try_new(input, a.alias.clone())?;
                Ok(LogicalPlan::SubqueryAlias(alias))
            }
            LogicalPlan::Projection(p) => {
                let input = self.push(&p.input)?;
                let exprs = self.all_bound(&p.expr, &p.input, &input)?.into_iter().enumerate();
                let mut exprs: Vec<Expr> =
                    exprs.map(|(i, expr)| kept(expr, &p.schema, i)).collect();
                exprs.extend(self.exprs_in(&input)?);
                Ok(LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(input))?))
            }
            LogicalPlan::Filter(f) => {
                if let Some(rows) = self.looked_up(f)? {
                    return Ok(rows);
                }
                let input = self.push(&f.input)?;
                let predicate = self.bound(f.predicate.clone(), &f.input, &input)?;
                Ok(LogicalPlan::Filter(Filter::try_new(predicate, Arc::new(input))?))
            }
            LogicalPlan::Unnest(u) => {
                let input = Arc::new(self.push(&u.input)?);
                let unnest = Unnest::try_new(input, u.exec_columns.clone(), u.options.clone())?;
                Ok(LogicalPlan::Unnest(unnest))
            }
            LogicalPlan::Aggregate(a) if a.group_expr.is_empty() => self.push_total(a),
            LogicalPlan::Aggregate(a) => self.push_groups(a),
            LogicalPlan::Distinct(Distinct::All(input)) => {
                Ok(LogicalPlan::Distinct(Distinct::All(Arc::new(self.push(input)?))))
            }
            LogicalPlan::Distinct(Distinct::On(on)) => self.push_first(on),
            LogicalPlan::Sort(s) => {
                let input = self.push(&s.input)?;
                let expr = self.sort_keys(&s.expr, &s.input, &input)?;
                Ok(LogicalPlan::Sort(Sort { expr, input: Arc::new(input), fetch: None }))
            }
            LogicalPlan::Limit(l) => self.push_limit(l),
            LogicalPlan::Window(w) => self.push_window(w),
            LogicalPlan::Join(j) => self.push_join(j),
            LogicalPlan::Union(u) => self.push_union(u),
            LogicalPlan::Values(v) => self.push_values(v),
            _ => Err(refused("this construct")),
        }
    }

    /// The rows of a filter that asks for the domain's values in columns of its input: these columns are the values. Those
    /// that the domain does not have meet nothing when the result is joined back.
    fn looked_up(&self, f: &Filter) -> DfResult<Option<LogicalPlan>> {
        if !self.open || self.concerns(&f.input)? {
            return Ok(None);
        }
        let schema = f.input.schema();
        let mut conjuncts = split_conjunction_owned(f.predicate.clone());
        let mut found = vec![];
        for (column, _) in &self.columns {
            let by = |conjunct: &Expr| looked_up_by(conjunct, column, schema);
            let Some(at) = conjuncts.iter().position(|c| by(c).is_some()) else { return Ok(None) };
            found.extend(by(&conjuncts.remove(at)).map(Expr::Column));
        }
        let mut rows = super::unwrapped(&f.input)?;
        if let Some(present) = found.iter().cloned().map(Expr::is_not_null).reduce(Expr::and) {
            rows = LogicalPlan::Filter(Filter::try_new(present, Arc::new(rows))?);
        }
        let values = found.into_iter().zip(self.names()).map(|(value, name)| value.alias(name));
        let exprs = columns_of(schema).chain(values).collect();
        let rows = LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(rows))?);
        Ok(Some(match conjuncts.into_iter().reduce(Expr::and) {
            Some(rest) => {
                let rest = self.bound(rest, &f.input, &rows)?;
                LogicalPlan::Filter(Filter::try_new(rest, Arc::new(rows))?)
            }
            None => rows,
        }))
    }

    /// What does not refer to the left side is the same for each of the domain's values.
    fn with_each(&self, plan: &LogicalPlan) -> DfResult<LogicalPlan> {
        let plan = super::unwrapped(plan)?;
        if matches!(&plan, LogicalPlan::EmptyRelation(e) if e.produce_one_row) {
            return Ok(self.plan.clone());
        }
        LogicalPlanBuilder::from(self.plan.clone()).cross_join(plan)?.build()
    }

    fn sort_keys(
        &self,
        keys: &[SortExpr],
        input: &LogicalPlan,
        pushed: &LogicalPlan,
    ) -> DfResult<Vec<SortExpr>> {
        let bound =
            |key: &SortExpr| Ok(key.with_expr(self.bound(key.expr.clone(), input, pushed)?));
        keys.iter().map(bound).collect()
    }

    /// Groups of different values are different groups.
    fn push_groups(&self, a: &Aggregate) -> DfResult<LogicalPlan> {
        if a.group_expr.iter().any(|expr| matches!(expr, Expr::GroupingSet(_))) {
            return Err(refused("GROUPING SETS"));
        }
        let grouped = self.grouped(a)?;
        let (groups, values) = (a.group_expr.len(), self.width());
        let own = (0..a.schema.fields().len())
            .map(|i| (i, if i < groups { i } else { i + values }))
            .map(|(i, at)| kept(column_at(&grouped, at), &a.schema, i));
        let domain = (groups..groups + values).map(|at| column_at(&grouped, at));
        let exprs = own.chain(domain).collect();
        Ok(LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(grouped))?))
    }

    /// The aggregate with the domain's columns as its last groups.
    fn grouped(&self, a: &Aggregate) -> DfResult<LogicalPlan> {
        let input = self.push(&a.input)?;
        let mut groups = self.all_bound(&a.group_expr, &a.input, &input)?;
        groups.extend(self.exprs_in(&input)?);
        let calls = self.all_bound(&a.aggr_expr, &a.input, &input)?;
        Ok(LogicalPlan::Aggregate(Aggregate::try_new(Arc::new(input), groups, calls)?))
    }

    /// An aggregate without groups has a row for each of the domain's rows: what its calls give for no rows, where there
    /// are none. It is grouped by the values it refers to, and these groups are joined to the domain.
    fn push_total(&self, a: &Aggregate) -> DfResult<LogicalPlan> {
        let used = outer_references(&LogicalPlan::Aggregate(a.clone()), &self.outside)?;
        let used = used.into_iter().map(|outer| {
            let (called, name) = &self.columns[self.place(&outer.column)?];
            Ok((Column::new_unqualified(name.clone()), called.clone()))
        });
        let used = used.collect::<DfResult<Vec<(Column, Column)>>>()?;
        let values = Domain::new(self.lateral, &self.plan, used.clone())?
            .distinct(&LogicalPlan::Aggregate(a.clone()))?;
        let grouped = values.grouped(a)?;
        let result = self.lateral.fresh("total");
        let mut exprs: Vec<Expr> = (0..values.width()).map(|i| column_at(&grouped, i)).collect();
        let calls = 0..a.aggr_expr.len();
        exprs.extend(
            calls
                .clone()
                .map(|i| column_at(&grouped, values.width() + i).alias(format!("{result}.{i}"))),
        );
        let grouped = LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(grouped))?);
        let by = values.columns_in(grouped.schema())?.into_iter().map(Expr::Column);
        let on = used.into_iter().map(|(column, _)| Expr::Column(column)).zip(by).collect();
        let joined = Join::try_new(
            Arc::new(self.plan.clone()),
            Arc::new(grouped),
            on,
            None,
            JoinType::Left,
            JoinConstraint::On,
            NullEquality::NullEqualsNull,
            false,
        )?;
        let mut exprs = vec![];
        for i in calls {
            let value = Expr::Column(Column::new_unqualified(format!("{result}.{i}")));
            let value = match of_no_rows(&a.aggr_expr[i], a.schema.field(i).data_type())? {
                Some(default) => {
                    datafusion::functions::core::expr_fn::coalesce(vec![value, default])
                }
                None => value,
            };
            exprs.push(named_as(value, &a.schema, i));
        }
        exprs.extend(self.names().map(|name| Expr::Column(Column::new_unqualified(name.clone()))));
        let joined = Arc::new(LogicalPlan::Join(joined));
        Ok(LogicalPlan::Projection(Projection::try_new(exprs, joined)?))
    }

    fn place(&self, column: &Column) -> DfResult<usize> {
        let place = self.columns.iter().position(|(called, _)| called == column);
        place.ok_or_else(|| to_datafusion(Error::internal("a reference to no column outside")))
    }

    /// DISTINCT ON among the rows of each value.
    fn push_first(&self, distinct: &DistinctOn) -> DfResult<LogicalPlan> {
        let input = self.push(&distinct.input)?;
        let values = self.exprs_in(&input)?;
        let mut on = values.clone();
        on.extend(self.all_bound(&distinct.on_expr, &distinct.input, &input)?);
        let select = self.all_bound(&distinct.select_expr, &distinct.input, &input)?;
        let select = select.into_iter().enumerate();
        let mut select: Vec<Expr> =
            select.map(|(i, expr)| kept(expr, &distinct.schema, i)).collect();
        select.extend(values.clone());
        let sort = match &distinct.sort_expr {
            Some(keys) => {
                let first = values.into_iter().map(|value| value.sort(true, false));
                let keys = self.sort_keys(keys, &distinct.input, &input)?;
                Some(first.chain(keys).collect())
            }
            None => None,
        };
        let first = DistinctOn::try_new(on, select, sort, Arc::new(input))?;
        Ok(LogicalPlan::Distinct(Distinct::On(first)))
    }

    /// LIMIT and OFFSET become a filter of row numbers by value.
    fn push_limit(&self, l: &Limit) -> DfResult<LogicalPlan> {
        // What only names and computes columns keeps the order of the rows: the rows are cut below it.
        match l.input.as_ref() {
            LogicalPlan::Projection(p) if sorted_below(&p.input) => {
                let input = Arc::new(below(l, &p.input));
                let p = Projection::try_new_with_schema(p.expr.clone(), input, p.schema.clone())?;
                return self.push(&LogicalPlan::Projection(p));
            }
            LogicalPlan::SubqueryAlias(a) if sorted_below(&a.input) => {
                let input = Arc::new(below(l, &a.input));
                let a = SubqueryAlias::try_new(input, a.alias.clone())?;
                return self.push(&LogicalPlan::SubqueryAlias(a));
            }
            _ => {}
        }
        let (rows, keys) = match l.input.as_ref() {
            LogicalPlan::Sort(s) => (&s.input, s.expr.as_slice()),
            _ => (&l.input, &[][..]),
        };
        let input = self.push(rows)?;
        let number = self.lateral.fresh("number");
        let mut call = WindowFunction::new(row_number(), vec![]);
        call.params.partition_by = self.exprs_in(&input)?;
        call.params.order_by = self.sort_keys(keys, rows, &input)?;
        let exprs = columns_of(input.schema()).collect();
        let numbered = Window::try_new(vec![Expr::from(call).alias(&number)], Arc::new(input))?;
        let number = || Expr::Column(Column::new_unqualified(number.clone()));
        let skip = constant(l.skip.as_deref())?.unwrap_or(0).max(0);
        let last = constant(l.fetch.as_deref())?.map(|fetch| skip.saturating_add(fetch.max(0)));
        let after = (skip > 0).then(|| number().gt(lit(skip)));
        let until = last.map(|last| number().lt_eq(lit(last)));
        let predicate = after.into_iter().chain(until).reduce(Expr::and).unwrap_or(lit(true));
        let first = Filter::try_new(predicate, Arc::new(LogicalPlan::Window(numbered)))?;
        let first = Arc::new(LogicalPlan::Filter(first));
        Ok(LogicalPlan::Projection(Projection::try_new(exprs, first)?))
    }

    /// Partitions of different values are different partitions.
    fn push_window(&self, w: &Window) -> DfResult<LogicalPlan> {
        let input = self.push(&w.input)?;
        let values = self.exprs_in(&input)?;
        let first = w.input.schema().fields().len();
        let mut calls = vec![];
        for (i, expr) in w.window_expr.iter().enumerate() {
            let bound = self.bound(expr.clone().unalias(), &w.input, &input)?;
            let Expr::WindowFunction(mut call) = bound else {
                return Err(refused("this window"));
            };
            call.params.partition_by.extend(values.iter().cloned());
            calls.push(named_as(Expr::WindowFunction(call), &w.schema, first + i));
        }
        Ok(LogicalPlan::Window(Window::try_new(calls, Arc::new(input))?))
    }

    /// The sides that refer to the left side have the domain's columns, and so has one that others are matched with: where
    /// both have, their rows match only for the same values.
    fn push_join(&self, j: &Join) -> DfResult<LogicalPlan> {
        let (left, right) = (self.concerns(&j.left)?, self.concerns(&j.right)?);
        let (left, right) = match j.join_type {
            JoinType::Inner => (left || !right, right),
            // A side whose rows are padded has them for each value; so has the other, if it refers to any.
            JoinType::Left | JoinType::LeftSemi | JoinType::LeftAnti | JoinType::LeftMark => {
                (true, right)
            }
            JoinType::Right => (left, true),
            _ => return Err(refused("this kind of join")),
        };
        let second = Domain::new(self.lateral, &self.plan, self.own_columns())?;
        let l = if left { self.push(&j.left)? } else { super::unwrapped(&j.left)? };
        let r = match (left, right) {
            (_, false) => super::unwrapped(&j.right)?,
            (true, true) => second.push(&j.right)?,
            (false, true) => self.push(&j.right)?,
        };
        let both = j.left.schema().join(j.right.schema())?;
        let pushed = l.schema().join(r.schema())?;
        let bound_here = |expr: Expr| {
            bound(expr, &[&both], &|outer| {
                let (_, name) = self.columns.iter().find(|(column, _)| column == outer)?;
                let preserved = if j.join_type == JoinType::Right && left { &second } else { self };
                let at = self.place(outer).ok()?;
                let name = preserved.names().nth(at).unwrap_or(name);
                column_named(&pushed, name).ok()
            })
        };
        let mut filter = vec![];
        if left && right {
            let same = self.columns_in(l.schema())?.into_iter().zip(second.columns_in(r.schema())?);
            filter.extend(same.map(|(l, r)| {
                binary_expr(Expr::Column(l), Operator::IsNotDistinctFrom, Expr::Column(r))
            }));
        }
        filter.extend(j.filter.clone().map(&bound_here).transpose()?);
        let on = j.on.iter().map(|(l, r)| Ok((bound_here(l.clone())?, bound_here(r.clone())?)));
        let joined = Join::try_new(
            Arc::new(l),
            Arc::new(r),
            on.collect::<DfResult<_>>()?,
            filter.into_iter().reduce(Expr::and),
            j.join_type,
            JoinConstraint::On,
            j.null_equality,
            j.null_aware,
        )?;
        // Of a right join's sides the right one has the values of all rows.
        let from = if j.join_type == JoinType::Right && left { &second } else { self };
        let values = from.columns_in(&joined.schema)?.into_iter().zip(self.names());
        let values = values.map(|(column, name)| match column.name == *name {
            true => Expr::Column(column),
            false => Expr::Column(column).alias(name),
        });
        let exprs = columns_of(&j.schema).chain(values).collect();
        let joined = Arc::new(LogicalPlan::Join(joined));
        Ok(LogicalPlan::Projection(Projection::try_new(exprs, joined)?))
    }

    /// Its columns in its own plan, with what subqueries call them.
    fn own_columns(&self) -> Vec<(Column, Column)> {
        let own = self.columns.iter();
        own.map(|(called, name)| (Column::new_unqualified(name.clone()), called.clone())).collect()
    }

    fn push_union(&self, u: &Union) -> DfResult<LogicalPlan> {
        let mut inputs = vec![];
        for input in &u.inputs {
            let pushed = self.push(input)?;
            let own = columns_of(input.schema()).enumerate();
            let own = own.map(|(i, expr)| expr.alias(u.schema.field(i).name()));
            let values = self.exprs_in(&pushed)?.into_iter().zip(self.names());
            let values = values.map(|(value, name)| value.alias(name));
            let exprs = own.chain(values).collect();
            let input = LogicalPlan::Projection(Projection::try_new(exprs, Arc::new(pushed))?);
            inputs.push(Arc::new(input));
        }
        let union = Arc::new(LogicalPlan::Union(Union::try_new_with_loose_types(inputs)?));
        let own = (0..u.schema.fields().len()).map(|i| kept(column_at(&union, i), &u.schema, i));
        let exprs = own.chain(self.exprs_in(&union)?).collect();
        Ok(LogicalPlan::Projection(Projection::try_new(exprs, union)?))
    }

    /// Rows of values are lists of them, one a column, that are unnested side by side.
    fn push_values(&self, v: &Values) -> DfResult<LogicalPlan> {
        let none = LogicalPlanBuilder::empty(true).build()?;
        let name = self.lateral.fresh("values");
        let width = v.schema.fields().len();
        let mut lists = vec![];
        for column in 0..width {
            let values = v.values.iter().map(|row| row[column].clone()).collect::<Vec<_>>();
            let values = self.all_bound(&values, &none, &self.plan)?;
            let list = functions::arrays::array().call(values);
            let rows = functions::row_sets::elements().call(vec![list]);
            lists.push(rows.alias(format!("{name}.{column}")));
        }
        lists.extend(self.exprs_in(&self.plan)?);
        let listed = Projection::try_new(lists, Arc::new(self.plan.clone()))?;
        let columns = (0..width).map(|i| Column::new_unqualified(format!("{name}.{i}")));
        let options = UnnestOptions::new().with_null_handling(NullHandling::Drop);
        let unnest = Unnest::try_new(
            Arc::new(LogicalPlan::Projection(listed)),
            columns.clone().collect(),
            options,
        )?;
        let own = columns.enumerate().map(|(i, column)| {
            let value = functions::row_sets::field(0).call(vec![Expr::Column(column)]);
            named_as(value, &v.schema, i)
        });
        let unnest = Arc::new(LogicalPlan::Unnest(unnest));
        let exprs = own.chain(self.exprs_in(&unnest)?).collect();
        Ok(LogicalPlan::Projection(Projection::try_new(exprs, unnest)?))
    }
}

/// The column that a condition compares with a column of the outside, if it does just that. Floats are left out: of equal
/// ones, -0 and 0, one must not stand for the other.
fn looked_up_by(conjunct: &Expr, outer: &Column, schema: &DFSchema) -> Option<Column> {
    let Expr::BinaryExpr(BinaryExpr { left, op: Operator::Eq, right }) = conjunct else {
        return None;
    };
    let (field, column) = match (left.as_ref(), right.as_ref()) {
        (Expr::OuterReferenceColumn(field, referred), Expr::Column(column))
        | (Expr::Column(column), Expr::OuterReferenceColumn(field, referred))
            if referred == outer =>
        {
            (field, column)
        }
        _ => return None,
    };
    let of_column = schema.field_from_column(column).ok()?.data_type().clone();
    let alike = of_column == *field.data_type() && !of_column.is_floating();
    alike.then(|| column.clone())
}

/// Whether no expression of a subquery can raise an error.
fn cannot_fail(plan: &LogicalPlan) -> DfResult<bool> {
    let mut fails = false;
    plan.apply_with_subqueries(|node| {
        let mut schema = DFSchema::empty();
        node.inputs().into_iter().for_each(|input| schema.merge(input.schema()));
        node.apply_expressions(|expr| {
            fails |= is_fallible(expr, &schema);
            Ok(if fails { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
        })
    })?;
    Ok(!fails)
}

fn column_named(schema: &DFSchema, name: &str) -> DfResult<Column> {
    let found = schema.columns().into_iter().find(|column| column.name == name);
    found.ok_or_else(|| to_datafusion(Error::internal("a subquery lost what it refers to")))
}

fn column_at(plan: &LogicalPlan, at: usize) -> Expr {
    let (qualifier, field) = plan.schema().qualified_field(at);
    Expr::Column(Column::new(qualifier.cloned(), field.name()))
}

/// The expression under the name that it had before something in it was replaced.
fn kept(expr: Expr, schema: &DFSchema, column: usize) -> Expr {
    let (qualifier, field) = schema.qualified_field(column);
    let (now, name) = expr.qualified_name();
    match now.as_ref() == qualifier && name == *field.name() {
        true => expr,
        false => named_as(expr, schema, column),
    }
}

/// What an aggregate gives for no rows, where that is not NULL.
fn of_no_rows(call: &Expr, data_type: &arrow_schema::DataType) -> DfResult<Option<Expr>> {
    let Expr::AggregateFunction(call) = call.clone().unalias() else { return Ok(None) };
    let value = call.func.default_value(data_type)?;
    Ok((!value.is_null()).then_some(Expr::Literal(value, None)))
}

/// A limit's number; `None` where there is no limit.
fn constant(expr: Option<&Expr>) -> DfResult<Option<i64>> {
    use datafusion::common::ScalarValue;
    let Some(expr) = expr else { return Ok(None) };
    let Expr::Literal(value, _) = expr.clone().unalias() else {
        return Err(refused("LIMIT with an expression"));
    };
    match value.cast_to(&arrow_schema::DataType::Int64)? {
        ScalarValue::Int64(number) => Ok(number),
        _ => Err(refused("LIMIT with an expression")),
    }
}

fn below(limit: &Limit, input: &Arc<LogicalPlan>) -> LogicalPlan {
    LogicalPlan::Limit(Limit { input: Arc::clone(input), ..limit.clone() })
}

fn sorted_below(plan: &LogicalPlan) -> bool {
    match plan {
        LogicalPlan::Sort(_) => true,
        LogicalPlan::Projection(p) => sorted_below(&p.input),
        LogicalPlan::SubqueryAlias(a) => sorted_below(&a.input),
        _ => false,
    }
}
