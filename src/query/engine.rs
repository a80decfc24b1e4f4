//! The engine: DataFusion configured once, and the ways from a parsed query to an optimized plan.
//!
//! Owns the session state (functions, planners, rule lists, options) that every query derives from. Refuses statements other
//! than queries, and in views what a streaming plan cannot keep. Invariant: plans of both ways mean the same; they differ
//! only in which nodes they use.

use std::sync::Arc;

use arrow_schema::{DataType, FieldRef, SchemaRef};
use datafusion::catalog::TableFunctionArgs;
use datafusion::common::config::ConfigOptions;
use datafusion::common::{DFSchema, Result as DfResult, ScalarValue, TableReference};
use datafusion::datasource::cte_worktable::CteWorkTable;
use datafusion::datasource::provider_as_source;
use datafusion::execution::SessionStateDefaults;
use datafusion::execution::context::ExecutionProps;
use datafusion::execution::memory_pool::MemoryPool;
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::execution::session_state::{SessionState, SessionStateBuilder};
use datafusion::logical_expr::planner::{ContextProvider, ExprPlanner, TypePlanner};
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::{
    AggregateUDF, EmptyRelation, Expr, HigherOrderUDF, LogicalPlan, LogicalPlanBuilder, ScalarUDF,
    TableSource, WindowUDF,
};
use datafusion::optimizer::analyzer::resolve_grouping_function::ResolveGroupingFunction;
use datafusion::optimizer::analyzer::type_coercion::TypeCoercion;
use datafusion::optimizer::optimizer::Optimizer;
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::optimizer::{OptimizerConfig, OptimizerRule};
use datafusion::physical_optimizer::optimizer::PhysicalOptimizer;
use datafusion::physical_plan::PhysicalExpr;
use datafusion::prelude::SessionConfig;
use datafusion::sql::planner::{NullOrdering, ParserOptions, PlannerContext, SqlToRel};
use sqlparser::ast::{self, Query, Statement, Values};

use super::coercion::{PgCasts, UntypedLiterals};
use super::compile::compile_with;
use super::constant_series::ConstantSeries;
use super::errors::{from_datafusion, to_datafusion};
use super::join_order::{self, JoinOrder};
use super::key_equality::KeyEquality;
use super::key_order::KeyOrder;
use super::membership::{self, PlainAntiJoins};
use super::null_keys::NullKeysApart;
use super::operators::PgOperators;
use super::output::canonicalise;
use super::padding::ForgetPaddedSides;
use super::panics::contained;
use super::pushdown::PushDown;
use super::reading::Reading;
use super::required_order::RequiredOrder;
use super::sizes::KnownOf;
use super::sql_types::PgTypes;
use super::subquery_columns::SubqueryColumns;
use super::subquery_forms::SubqueryForms;
use super::total_order::{TotalOrder, keep_inner_order};
use super::unnested_keys::UnnestedKeys;
use super::windows::{self, Runner};
use super::{
    cast, common, fallible, functions, grouping, lateral, merged_columns, row_columns, row_sets,
    row_star, spelling, subscripts,
};
use crate::error::{Error, Result, SqlState};

/// What a query's names stand for; the catalog implements it for one session.
pub trait Resolver {
    /// The table, view or source of a name as written (search path not yet applied). Unknown names are 42P01.
    fn table(&self, reference: &TableReference) -> Result<Arc<dyn TableSource>>;

    /// A function that knows the session or the catalog, such as `current_schema`; `None` for all others.
    fn function(&self, _name: &str) -> Option<Arc<ScalarUDF>> {
        None
    }

    /// A session setting such as `TimeZone`; `None` for unknown ones.
    fn setting(&self, name: &str) -> Option<String>;
}

/// What an engine is built with.
#[derive(Clone, Debug)]
pub struct EngineOptions {
    /// How many partitions a SELECT runs in.
    pub target_partitions: usize,
    /// The account that queries' memory is taken from; unbounded where there is none.
    pub memory_pool: Option<Arc<dyn MemoryPool>>,
    /// Rows of a batch.
    pub batch_rows: usize,
    /// Tells what is known of the relations that views read.
    pub known_of: KnownOf,
}

impl Default for EngineOptions {
    fn default() -> EngineOptions {
        EngineOptions {
            target_partitions: 1,
            memory_pool: None,
            batch_rows: 8192,
            known_of: |_| None,
        }
    }
}

/// DataFusion as PostgreSQL. Cheap to clone; built once and shared.
#[derive(Clone, Debug)]
pub struct Engine {
    batch: Arc<SessionState>,
    streaming: Arc<SessionState>,
    known_of: KnownOf,
}

impl Engine {
    /// Builds the engine. `Err` means a defect of the configuration.
    pub fn new(options: EngineOptions) -> Result<Engine> {
        let mut runtime = RuntimeEnvBuilder::new();
        if let Some(pool) = &options.memory_pool {
            runtime = runtime.with_memory_pool(Arc::clone(pool));
        }
        let runtime = Arc::new(runtime.build().map_err(from_datafusion)?);
        let state = |rules: Vec<Arc<dyn OptimizerRule + Send + Sync>>, runner: Runner| {
            let mut planners: Vec<Arc<dyn ExprPlanner>> = vec![Arc::new(PgOperators)];
            planners.extend(SessionStateDefaults::default_expr_planners());
            let state = SessionStateBuilder::new()
                .with_config(config(&options, runner))
                .with_runtime_env(Arc::clone(&runtime))
                .with_default_features()
                .with_expr_planners(planners)
                .with_type_planner(Arc::new(PgTypes))
                .with_scalar_functions(functions::scalar())
                .with_aggregate_functions(functions::aggregate())
                .with_window_functions(functions::windows::all())
                .with_analyzer_rules(vec![
                    Arc::new(ResolveGroupingFunction::new()),
                    Arc::new(UntypedLiterals),
                    Arc::new(SubqueryForms { runner }),
                    Arc::new(SubqueryColumns),
                    Arc::new(KeyOrder),
                    Arc::new(KeyEquality),
                    Arc::new(TypeCoercion::new()),
                    Arc::new(PgCasts),
                ])
                .with_optimizer_rules(rules)
                .with_physical_optimizer_rules(physical_rules())
                .build();
            Arc::new(state)
        };
        let known_of = options.known_of;
        Ok(Engine {
            batch: state(batch_rules(known_of), Runner::Batch),
            streaming: state(streaming_rules(known_of), Runner::Streaming),
            known_of,
        })
    }

    /// The same engine for sessions with another time zone (a name of the IANA database).
    pub fn with_time_zone(&self, zone: &str) -> Engine {
        let zoned = |state: &Arc<SessionState>| {
            let mut state = state.as_ref().clone();
            state.config_mut().options_mut().execution.time_zone = Some(zone.to_owned());
            Arc::new(state)
        };
        Engine { batch: zoned(&self.batch), streaming: zoned(&self.streaming), ..self.clone() }
    }

    /// The same engine for sessions with another DateStyle (such as `ISO, DMY`).
    pub fn with_date_style(&self, date_style: &str) -> Engine {
        let styled = |state: &Arc<SessionState>| {
            let mut state = state.as_ref().clone();
            let reading = Reading { date_style: date_style.to_owned() };
            state.config_mut().options_mut().extensions.insert(reading);
            Arc::new(state)
        };
        Engine { batch: styled(&self.batch), streaming: styled(&self.streaming), ..self.clone() }
    }

    /// The state that SELECTs run in, for what DataFusion's own interfaces ask for.
    pub fn state(&self) -> &Arc<SessionState> {
        &self.batch
    }

    /// Plans a query. `params` are the types of `$1`, `$2` ... that are known.
    pub fn plan(
        &self,
        query: &Query,
        tables: &dyn Resolver,
        params: &[Option<FieldRef>],
    ) -> Result<LogicalPlan> {
        let mut query = query.clone();
        row_star::spread(&mut query, &|row| {
            let plan = self.plan(row, tables, params)?;
            Ok(Arc::clone(&plan.schema().fields()[0]))
        })?;
        subscripts::name_columns(&mut query);
        row_columns::spread(&mut query);
        row_sets::in_from(&mut query, &|name| table_columns(tables, name))?;
        merged_columns::write_out(&mut query, &|name| table_columns(tables, name))?;
        spelling::rewrite(&mut query)?;
        grouping::write_out_sets(&mut query);
        common::mark(&mut query)?;
        let provider = Provider { state: &self.batch, tables };
        let mut context = PlannerContext::new().with_prepare_param_data_types(params.to_vec());
        let statement = Statement::Query(Box::new(query));
        contained(|| {
            SqlToRel::new_with_options(&provider, parser_options())
                .sql_statement_to_plan_with_context(statement, &mut context)
                .and_then(grouping::compute_keys)
                .map_err(from_datafusion)
        })
    }

    /// Plans the rows of VALUES, each value for itself: nothing is coerced from one row to another.
    pub fn plan_values(
        &self,
        values: &Values,
        tables: &dyn Resolver,
        params: &[Option<FieldRef>],
    ) -> Result<Vec<Vec<Expr>>> {
        let provider = Provider { state: &self.batch, tables };
        let planner = SqlToRel::new_with_options(&provider, parser_options());
        let mut context = PlannerContext::new().with_prepare_param_data_types(params.to_vec());
        let schema = DFSchema::empty();
        let mut plan_value = |value: &sqlparser::ast::Expr| {
            let mut value = value.clone();
            spelling::rewrite_expr(&mut value)?;
            contained(|| planner.sql_to_expr(value, &schema, &mut context).map_err(from_datafusion))
        };
        values.rows.iter().map(|row| row.iter().map(&mut plan_value).collect()).collect()
    }

    /// Plans an expression over the columns of `schema`, coerced and simplified: defaults, keys, DML's assignments.
    pub fn plan_expr(
        &self,
        expr: &sqlparser::ast::Expr,
        schema: &DFSchema,
        tables: &dyn Resolver,
    ) -> Result<Expr> {
        let mut expr = expr.clone();
        subscripts::name_columns(&mut expr);
        spelling::rewrite_expr(&mut expr)?;
        let provider = Provider { state: &self.batch, tables };
        contained(|| {
            let planned = SqlToRel::new_with_options(&provider, parser_options())
                .sql_to_expr(expr, schema, &mut PlannerContext::new())
                .map_err(from_datafusion)?;
            self.simplify(planned, schema).map_err(from_datafusion)
        })
    }

    /// What optimization does to a plan's expressions, for an expression without a plan.
    fn simplify(&self, expr: Expr, schema: &DFSchema) -> DfResult<Expr> {
        let schema = Arc::new(schema.clone());
        let rows = LogicalPlan::EmptyRelation(EmptyRelation {
            produce_one_row: false,
            schema: Arc::clone(&schema),
        });
        let plan = LogicalPlanBuilder::from(rows).project(vec![expr.alias("value")])?.build()?;
        let plan =
            self.batch.analyzer().execute_and_check(plan, &self.batch.options(), |_, _| {})?;
        let analyzed = plan.expressions().into_iter().next();
        let analyzed = analyzed.ok_or_else(|| {
            to_datafusion(Error::internal("an analyzed projection lost its column"))
        })?;
        let mut state = self.batch.as_ref().clone();
        state.mark_start_execution();
        let context = SimplifyContext::builder()
            .with_schema(schema)
            .with_config_options(Arc::clone(state.config_options()))
            .with_query_execution_start_time(state.execution_props().query_execution_start_time)
            .build();
        ExprSimplifier::new(context).simplify(analyzed.unalias())
    }

    /// Compiles an expression under this engine's time zone; see [`fn@super::compile`].
    pub fn compile(&self, expr: &Expr, schema: &DFSchema) -> Result<Arc<dyn PhysicalExpr>> {
        compile_with(&self.props(), expr, schema)
    }

    /// What expressions of this engine's session are compiled under: its time zone above all.
    pub fn props(&self) -> ExecutionProps {
        let mut props = ExecutionProps::new();
        props.config_options = Some(Arc::clone(self.batch.config_options()));
        props
    }

    /// Types and checks a plan: its columns then have their final types.
    pub fn analyze(&self, plan: LogicalPlan) -> Result<LogicalPlan> {
        let state = self.state();
        let plan = windows::without_odd_ranges(plan).map_err(from_datafusion)?;
        contained(|| {
            state
                .analyzer()
                .execute_and_check(plan, state.config_options(), |_, _| {})
                .map_err(from_datafusion)
        })
    }

    /// Types, checks and optimizes a SELECT's plan for execution.
    pub fn optimize_batch(&self, plan: LogicalPlan) -> Result<LogicalPlan> {
        let plan = keep_inner_order(plan).map_err(from_datafusion)?;
        contained(|| optimize(&self.batch, plan, Runner::Batch).map_err(from_datafusion))
    }

    /// In which order the inner joins of an optimized plan are made, a line for each set of them.
    pub fn join_orders(&self, plan: &LogicalPlan) -> Result<Vec<String>> {
        join_order::told(plan, self.known_of).map_err(from_datafusion)
    }

    /// Types, checks and optimizes a view's plan into the nodes a streaming plan is made of: Projection, Filter,
    /// Aggregate, Join, Sort, Limit, Union, Distinct, Window, Unnest, SubqueryAlias, TableScan, Values, EmptyRelation.
    /// Subqueries have become joins. What cannot be kept is 0A000.
    pub fn optimize_streaming(&self, plan: LogicalPlan) -> Result<LogicalPlan> {
        let plan = contained(|| {
            optimize(&self.streaming, plan, Runner::Streaming).map_err(from_datafusion)
        })?;
        refuse_foreign_nodes(&plan)?;
        Ok(plan)
    }
}

fn optimize(state: &SessionState, plan: LogicalPlan, runner: Runner) -> DfResult<LogicalPlan> {
    let mut state = state.clone();
    state.mark_start_execution();
    let typed = |plan| {
        let plan = windows::without_odd_ranges(plan)?;
        let plan = state.analyzer().execute_and_check(plan, &state.options(), |_, _| {})?;
        canonicalise(plan).map_err(to_datafusion)
    };
    let (plan, commons) = common::take_out(plan, typed)?;
    let plan = optimize_alone(&state, plan, runner)?;
    for (i, common) in commons.iter().enumerate().rev() {
        let later = commons[i + 1..].iter().filter_map(|other| other.chosen());
        let readers: Vec<_> = std::iter::once(&plan).chain(later.map(|c| &c.plan)).collect();
        common.choose(&readers, |plan| optimize_alone(&state, plan, runner))?;
    }
    Ok(plan)
}

fn optimize_alone(
    state: &SessionState,
    plan: LogicalPlan,
    runner: Runner,
) -> DfResult<LogicalPlan> {
    let plan = windows::without_odd_ranges(plan)?;
    let plan = state.analyzer().execute_and_check(plan, &state.options(), |_, _| {})?;
    // Only now a union's columns have their types: what came canonical may have changed.
    let plan = canonicalise(plan).map_err(to_datafusion)?;
    let plan = membership::spell_out(plan)?;
    let plan = lateral::joined(plan)?;
    let plan = windows::determine(plan, runner)?;
    let plan = fallible::guard_plan(plan)?;
    let plan = state.optimizer().optimize(plan, state, |_, _| {})?;
    fallible::seal_plan(plan)
}

fn config(options: &EngineOptions, runner: Runner) -> SessionConfig {
    let mut config = SessionConfig::new()
        .with_target_partitions(options.target_partitions.max(1))
        .with_batch_size(options.batch_rows)
        .with_information_schema(false)
        .with_create_default_catalog_and_schema(false);
    let settings = config.options_mut();
    settings.sql_parser.map_string_types_to_utf8view = false;
    settings.sql_parser.parse_float_as_decimal = true;
    settings.execution.time_zone = Some("UTC".to_owned());
    settings.optimizer.skip_failed_rules = false;
    // A part of two conditions that is computed once, such as `a IS TRUE`, may be NULL for the one and not for the other.
    settings.execution.skip_physical_aggregate_schema_check = true;
    // Its hash table has been seen to panic.
    settings.optimizer.enable_topk_aggregation = false;
    settings.optimizer.enable_physical_uncorrelated_scalar_subquery = runner == Runner::Batch;
    config
}

fn parser_options() -> ParserOptions {
    ParserOptions {
        parse_float_as_decimal: true,
        enable_ident_normalization: true,
        support_varchar_with_length: true,
        enable_options_value_normalization: false,
        collect_spans: false,
        map_string_types_to_utf8view: false,
        default_null_ordering: NullOrdering::NullsMax,
    }
}

/// Makes `sum(x), sum(distinct y)` a sum of sums: the sum of bigints is numeric, so the sum of their sums has another type.
/// And the two that bring members of structs near to the files they are read from: they take a column that is there
/// under two names for two of one name.
const NO_RULES: [&str; 3] = [
    "single_distinct_aggregation_to_group_by",
    "extract_leaf_expressions",
    "push_down_leaf_projections",
];

/// DataFusion's rules but [`NO_RULES`], with our filter push-down for its own. Rules that mistake NULLs are held back. NOT IN has been spelled out before: its
/// joins become plain as soon as they are there.
fn datafusion_rules() -> Vec<Arc<dyn OptimizerRule + Send + Sync>> {
    let rules = Optimizer::new().rules.into_iter();
    rules
        .filter(|rule| !NO_RULES.contains(&rule.name()))
        .flat_map(|rule| match rule.name() {
            "push_down_filter" => vec![Arc::new(PushDown) as Arc<dyn OptimizerRule + Send + Sync>],
            "extract_equijoin_predicate" | "eliminate_cross_join" => {
                vec![Arc::new(NullKeysApart(rule)) as Arc<dyn OptimizerRule + Send + Sync>]
            }
            "eliminate_join" | "replace_distinct_aggregate" => {
                vec![Arc::new(UnnestedKeys(rule)) as Arc<dyn OptimizerRule + Send + Sync>]
            }
            "decorrelate_predicate_subquery" => vec![rule, Arc::new(PlainAntiJoins)],
            _ => vec![rule],
        })
        .collect()
}

/// The rules whose results a streaming plan can keep, in DataFusion's order.
const STREAMING_RULES: &[&str] = &[
    "rewrite_set_comparison",
    "optimize_unions",
    "simplify_expressions",
    "eliminate_join",
    "decorrelate_predicate_subquery",
    "plain_anti_joins",
    "scalar_subquery_to_join",
    "extract_equijoin_predicate",
    "eliminate_duplicated_expr",
    "eliminate_filter",
    "eliminate_cross_join",
    "eliminate_limit",
    "propagate_empty_relation",
    "eliminate_outer_join",
    "push_down_safe_filters",
    "eliminate_group_by_constant",
    "join_order",
    "total_order",
    "optimize_projections",
];

fn batch_rules(known_of: KnownOf) -> Vec<Arc<dyn OptimizerRule + Send + Sync>> {
    let mut rules = datafusion_rules();
    before_pruning(&mut rules, JoinOrder { runner: Runner::Batch, known_of });
    rules
}

/// Has the rule run before columns that nobody reads are taken out.
fn before_pruning(
    rules: &mut Vec<Arc<dyn OptimizerRule + Send + Sync>>,
    rule: impl OptimizerRule + Send + Sync + 'static,
) {
    let pruning = rules.iter().position(|rule| rule.name() == "optimize_projections");
    rules.insert(pruning.unwrap_or(rules.len()), Arc::new(rule));
}

fn streaming_rules(known_of: KnownOf) -> Vec<Arc<dyn OptimizerRule + Send + Sync>> {
    let mut rules = datafusion_rules();
    before_pruning(&mut rules, JoinOrder { runner: Runner::Streaming, known_of });
    before_pruning(&mut rules, TotalOrder);
    rules.retain(|rule| STREAMING_RULES.contains(&rule.name()));
    rules
}

/// Physical rules that move expressions across filters and joins without asking whether they may fail, and the check that
/// refuses valid plans.
const LEFT_OUT: &[&str] =
    &["FilterPushdown", "FilterPushdown(Post)", "ProjectionPushdown", "SanityCheckPlan"];

fn physical_rules()
-> Vec<Arc<dyn datafusion::physical_optimizer::PhysicalOptimizerRule + Send + Sync>> {
    let rules = PhysicalOptimizer::new().rules.into_iter();
    let rules = rules.filter(|rule| !LEFT_OUT.contains(&rule.name()));
    let mut rules: Vec<_> =
        std::iter::once(Arc::new(ForgetPaddedSides) as _).chain(rules).collect();
    let check = rules.iter().position(|rule| rule.name() == "SanityCheckPlan");
    rules.insert(check.unwrap_or(rules.len()), Arc::new(RequiredOrder));
    rules
}

/// The columns of a table, source or view; `None` where there is none of that name.
fn table_columns(tables: &dyn Resolver, name: &ast::ObjectName) -> Option<Vec<String>> {
    let parts = name.0.iter().map(|part| part.as_ident().map(crate::sql::fold_identifier));
    let reference = match parts.collect::<Option<Vec<_>>>()?.as_slice() {
        [table] => TableReference::bare(table.as_str()),
        [schema, table] => TableReference::partial(schema.as_str(), table.as_str()),
        [catalog, schema, table] => {
            TableReference::full(catalog.as_str(), schema.as_str(), table.as_str())
        }
        _ => return None,
    };
    let table = tables.table(&reference).ok()?;
    Some(table.schema().fields().iter().map(|field| field.name().clone()).collect())
}

fn refuse_foreign_nodes(plan: &LogicalPlan) -> Result<()> {
    use datafusion::common::tree_node::{TreeNode, TreeNodeRecursion};
    let mut foreign = None;
    plan.apply(|node| {
        foreign = match node {
            LogicalPlan::Projection(_)
            | LogicalPlan::Filter(_)
            | LogicalPlan::Aggregate(_)
            | LogicalPlan::Join(_)
            | LogicalPlan::Sort(_)
            | LogicalPlan::Limit(_)
            | LogicalPlan::Union(_)
            | LogicalPlan::Distinct(_)
            | LogicalPlan::Window(_)
            | LogicalPlan::Unnest(_)
            | LogicalPlan::SubqueryAlias(_)
            | LogicalPlan::TableScan(_)
            | LogicalPlan::Values(_)
            | LogicalPlan::EmptyRelation(_) => None,
            LogicalPlan::RecursiveQuery(_) => Some("WITH RECURSIVE"),
            LogicalPlan::Subquery(_) => Some("a correlated subquery of this form"),
            _ => Some("this construct"),
        };
        Ok(if foreign.is_some() { TreeNodeRecursion::Stop } else { TreeNodeRecursion::Continue })
    })
    .map_err(from_datafusion)?;
    match foreign {
        Some(name) => {
            Err(Error::unsupported(format!("{name} is not supported in a materialized view")))
        }
        None => Ok(()),
    }
}

/// An integer argument of a table function as the bigint that DataFusion's expect.
fn widened(arg: Expr) -> Expr {
    match arg {
        Expr::Literal(ScalarValue::Int32(value), metadata) => {
            Expr::Literal(ScalarValue::Int64(value.map(i64::from)), metadata)
        }
        other => other,
    }
}

/// What SQL planning asks for, out of the state and the catalog.
struct Provider<'a> {
    state: &'a SessionState,
    tables: &'a dyn Resolver,
}

impl ContextProvider for Provider<'_> {
    fn get_table_source(&self, name: TableReference) -> DfResult<Arc<dyn TableSource>> {
        self.tables.table(&name).map_err(to_datafusion)
    }

    fn get_table_function_source(
        &self,
        name: &str,
        args: Vec<Expr>,
    ) -> DfResult<Arc<dyn TableSource>> {
        let Some(function) = self.state.table_functions().get(name) else {
            let error = Error::new(
                SqlState::UNDEFINED_FUNCTION,
                format!("function {name} does not exist in FROM"),
            );
            return Err(to_datafusion(error));
        };
        let simplifier = ExprSimplifier::new(
            SimplifyContext::builder()
                .with_config_options(Arc::clone(self.state.config_options()))
                .with_query_execution_start_time(
                    self.state.execution_props().query_execution_start_time,
                )
                .build(),
        );
        let schema = DFSchema::empty();
        let args = args
            .into_iter()
            .map(|arg| {
                simplifier.coerce(arg, &schema).and_then(|e| simplifier.simplify(e)).map(widened)
            })
            .collect::<DfResult<Vec<_>>>()?;
        if let Some(Expr::Literal(ScalarValue::Int64(Some(0)), _)) = args.get(2) {
            return Err(to_datafusion(functions::row_sets::no_step()));
        }
        let provider =
            function.create_table_provider_with_args(TableFunctionArgs::new(&args, self.state))?;
        Ok(provider_as_source(match name {
            "generate_series" => Arc::new(ConstantSeries::new(provider, args)),
            _ => provider,
        }))
    }

    fn create_cte_work_table(
        &self,
        name: &str,
        schema: SchemaRef,
    ) -> DfResult<Arc<dyn TableSource>> {
        Ok(provider_as_source(Arc::new(CteWorkTable::new(name, schema))))
    }

    fn get_expr_planners(&self) -> &[Arc<dyn ExprPlanner>] {
        self.state.expr_planners()
    }

    fn get_type_planner(&self) -> Option<Arc<dyn TypePlanner>> {
        Some(Arc::new(PgTypes))
    }

    fn get_function_meta(&self, name: &str) -> Option<Arc<ScalarUDF>> {
        if let Some(function) = self.tables.function(name) {
            return Some(function);
        }
        if let Some(function) = self.state.scalar_functions().get(name) {
            return Some(Arc::clone(function));
        }
        match cast::function_named(name) {
            Some(Ok(function)) => Some(function),
            Some(Err(error)) => Some(functions::missing::refused(name, error)),
            None if self.knows_otherwise(name) => None,
            None => Some(functions::missing::undefined(name)),
        }
    }

    fn get_higher_order_meta(&self, name: &str) -> Option<Arc<HigherOrderUDF>> {
        self.state.higher_order_functions().get(name).cloned()
    }

    fn get_aggregate_meta(&self, name: &str) -> Option<Arc<AggregateUDF>> {
        self.state.aggregate_functions().get(name).cloned()
    }

    fn get_window_meta(&self, name: &str) -> Option<Arc<WindowUDF>> {
        self.state.window_functions().get(name).cloned()
    }

    fn get_variable_type(&self, _names: &[String]) -> Option<DataType> {
        None
    }

    fn options(&self) -> &ConfigOptions {
        self.state.config_options()
    }

    fn udf_names(&self) -> Vec<String> {
        self.state.scalar_functions().keys().cloned().collect()
    }

    fn higher_order_function_names(&self) -> Vec<String> {
        self.state.higher_order_functions().keys().cloned().collect()
    }

    fn udaf_names(&self) -> Vec<String> {
        self.state.aggregate_functions().keys().cloned().collect()
    }

    fn udwf_names(&self) -> Vec<String> {
        self.state.window_functions().keys().cloned().collect()
    }
}

impl Provider<'_> {
    /// Whether a name that is no scalar function is something else the planner knows.
    fn knows_otherwise(&self, name: &str) -> bool {
        matches!(name, "unnest" | "unnest_outer" | "grouping")
            || self.state.aggregate_functions().contains_key(name)
            || self.state.window_functions().contains_key(name)
            || self.state.higher_order_functions().contains_key(name)
    }
}
