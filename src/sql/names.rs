//! What PostgreSQL calls the columns of a query, which is neither the expression's text nor what DataFusion calls them.
//!
//! [`output_names`] tells the names a client sees; [`name_derived_columns`] writes the same names as aliases where other parts
//! of the query refer to them, and unique aliases where DataFusion would refuse two columns of one name. Wildcards are not
//! expanded here, since that needs the catalog.

use std::collections::HashMap;
use std::ops::ControlFlow;

use sqlparser::ast::{
    self, AccessExpr, DataType, Expr, Ident, SelectItem, SetExpr, Value, VisitMut, VisitorMut,
};

use super::fold_identifier;
use super::lexer::ROW_STAR;

/// Ends the visible part of a column name that had to be made unique inside a plan.
pub const UNIQUE_MARK: char = '\u{1}';

/// What an expression without a better name is called.
const UNNAMED: &str = "?column?";

/// The name of one item of a select list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OutputName {
    Named(String),
    /// `*` or `t.*`: as many columns as it expands to, under their own names.
    Wildcard,
}

/// The names of a query's columns, those of the first arm of set operations.
pub fn output_names(query: &ast::Query) -> Vec<OutputName> {
    set_expr_names(&query.body)
}

/// The names of select items, also of RETURNING.
pub fn item_names(items: &[SelectItem]) -> Vec<OutputName> {
    items
        .iter()
        .flat_map(|item| match item {
            SelectItem::UnnamedExpr(_) if row_of_star(item).is_some() => {
                vec![OutputName::Wildcard]
            }
            SelectItem::UnnamedExpr(expr) => vec![OutputName::Named(expr_name(expr))],
            SelectItem::ExprWithAlias { alias, .. } => {
                vec![OutputName::Named(fold_identifier(alias))]
            }
            SelectItem::ExprWithAliases { aliases, .. } => {
                aliases.iter().map(|alias| OutputName::Named(fold_identifier(alias))).collect()
            }
            SelectItem::QualifiedWildcard(..) | SelectItem::Wildcard(_) => {
                vec![OutputName::Wildcard]
            }
        })
        .collect()
}

/// The row whose members `(row).*` stands for; `None` for other items.
pub fn row_of_star(item: &SelectItem) -> Option<Expr> {
    let SelectItem::UnnamedExpr(Expr::CompoundFieldAccess { root, access_chain }) = item else {
        return None;
    };
    let (last, before) = access_chain.split_last()?;
    let is_star = |ident: &ast::Ident| ident.value == ROW_STAR && ident.quote_style.is_none();
    match last {
        AccessExpr::Dot(Expr::Identifier(ident)) if is_star(ident) => {}
        _ => return None,
    }
    Some(match before.is_empty() {
        true => root.as_ref().clone(),
        false => Expr::CompoundFieldAccess { root: root.clone(), access_chain: before.to_vec() },
    })
}

/// The names of the columns of a planned query: `planned` are the plan's own names, in which wildcards are expanded.
///
/// With at most one wildcard every name is PostgreSQL's. With several, the items between the first and the last
/// keep the plan's names, because their places cannot be told without the tables.
pub fn expand_names(names: &[OutputName], planned: &[String]) -> Vec<String> {
    let named = |names: &mut dyn Iterator<Item = &OutputName>| -> Vec<String> {
        names
            .map_while(|name| match name {
                OutputName::Named(name) => Some(name.clone()),
                OutputName::Wildcard => None,
            })
            .collect()
    };
    let head = named(&mut names.iter());
    if head.len() == names.len() && head.len() == planned.len() {
        return head;
    }
    let tail = named(&mut names.iter().rev());
    let mut expanded = planned.to_vec();
    if head.len() + tail.len() <= planned.len() {
        expanded.iter_mut().zip(head).for_each(|(to, name)| *to = name);
        expanded.iter_mut().rev().zip(tail).for_each(|(to, name)| *to = name);
    }
    expanded
}

fn set_expr_names(body: &SetExpr) -> Vec<OutputName> {
    match body {
        SetExpr::Select(select) => item_names(&select.projection),
        SetExpr::Query(query) => output_names(query),
        SetExpr::SetOperation { left, .. } => set_expr_names(left),
        SetExpr::Values(values) => {
            let columns = values.rows.first().map_or(0, |row| row.content.len());
            (1..=columns).map(|i| OutputName::Named(format!("column{i}"))).collect()
        }
        SetExpr::Table(_) => vec![OutputName::Wildcard],
        // Data-modifying statements never get here as queries.
        SetExpr::Insert(_) | SetExpr::Update(_) | SetExpr::Delete(_) | SetExpr::Merge(_) => vec![],
    }
}

/// The name of an expression without an alias.
pub fn expr_name(expr: &Expr) -> String {
    figure(expr).map_or_else(|| UNNAMED.to_owned(), |name| name.text)
}

struct Name {
    text: String,
    /// Not from a column or function but from a type or CASE: a cast around it takes the new type's name.
    weak: bool,
}

fn strong(text: impl Into<String>) -> Option<Name> {
    Some(Name { text: text.into(), weak: false })
}

fn weak(text: impl Into<String>) -> Option<Name> {
    Some(Name { text: text.into(), weak: true })
}

fn figure(expr: &Expr) -> Option<Name> {
    match expr {
        Expr::Identifier(ident) => strong(fold_identifier(ident)),
        Expr::CompoundIdentifier(parts) => {
            parts.last().and_then(|ident| strong(fold_identifier(ident)))
        }
        Expr::CompoundFieldAccess { root, access_chain } => figure_access(root, access_chain),
        Expr::Function(function) => {
            let last = function.name.0.last().and_then(|part| part.as_ident());
            last.and_then(|ident| strong(fold_identifier(ident)))
        }
        Expr::Cast { expr, data_type, .. } => match figure(expr) {
            Some(name) if !name.weak => Some(name),
            _ => weak(type_name(data_type)),
        },
        Expr::TypedString(typed) => weak(type_name(&typed.data_type)),
        Expr::Interval(_) => weak("interval"),
        Expr::Nested(expr) | Expr::Collate { expr, .. } => figure(expr),
        Expr::Case { else_result, .. } => match else_result.as_deref().and_then(figure) {
            Some(name) if !name.weak => Some(name),
            _ => weak("case"),
        },
        Expr::Exists { negated: false, .. } => strong("exists"),
        Expr::Subquery(query) => match set_expr_names(&query.body).into_iter().next() {
            Some(OutputName::Named(name)) if name != UNNAMED => strong(name),
            _ => None,
        },
        Expr::Array(_) => strong("array"),
        Expr::Tuple(_) => strong("row"),
        Expr::AtTimeZone { .. } => strong("timezone"),
        Expr::Extract { .. } => strong("extract"),
        Expr::Ceil { .. } => strong("ceil"),
        Expr::Floor { .. } => strong("floor"),
        Expr::Position { .. } => strong("position"),
        Expr::Substring { .. } => strong("substring"),
        Expr::Overlay { .. } => strong("overlay"),
        Expr::Trim { trim_where, .. } => strong(match trim_where {
            Some(ast::TrimWhereField::Leading) => "ltrim",
            Some(ast::TrimWhereField::Trailing) => "rtrim",
            Some(ast::TrimWhereField::Both) | None => "btrim",
        }),
        Expr::GroupingSets(_) | Expr::Cube(_) | Expr::Rollup(_) => None,
        // Operators and everything sqlparser has for other dialects.
        _ => None,
    }
}

fn figure_access(root: &Expr, chain: &[AccessExpr]) -> Option<Name> {
    let field = chain.iter().rev().find_map(|access| match access {
        AccessExpr::Dot(Expr::Identifier(ident)) => Some(fold_identifier(ident)),
        AccessExpr::Dot(_) | AccessExpr::Subscript(_) => None,
    });
    field.map_or_else(|| figure(root), strong)
}

/// PostgreSQL's internal name of a type, such as `int4`; an array is called like its elements.
pub fn type_name(data_type: &DataType) -> String {
    let name = match data_type {
        DataType::SmallInt(_) | DataType::Int2(_) => "int2",
        DataType::Int(_) | DataType::Integer(_) | DataType::Int4(_) => "int4",
        DataType::BigInt(_) | DataType::Int8(_) => "int8",
        DataType::Real | DataType::Float4 => "float4",
        DataType::Float8 | DataType::DoublePrecision | DataType::Double(_) | DataType::Float(_) => {
            "float8"
        }
        DataType::Numeric(_) | DataType::Decimal(_) | DataType::Dec(_) => "numeric",
        DataType::Bool | DataType::Boolean => "bool",
        DataType::Text | DataType::String(_) => "text",
        DataType::Varchar(_) | DataType::CharacterVarying(_) | DataType::CharVarying(_) => {
            "varchar"
        }
        DataType::Char(_) | DataType::Character(_) => "bpchar",
        DataType::Timestamp(_, zone) if with_zone(zone) => "timestamptz",
        DataType::Timestamp(..) | DataType::TimestampNtz(_) => "timestamp",
        DataType::Time(_, zone) if with_zone(zone) => "timetz",
        DataType::Time(..) => "time",
        DataType::Date => "date",
        DataType::Interval { .. } => "interval",
        DataType::JSON => "json",
        DataType::JSONB => "jsonb",
        DataType::Uuid => "uuid",
        DataType::Bytea | DataType::Bytes(_) => "bytea",
        DataType::Regclass => "regclass",
        DataType::Struct(..) => "struct",
        DataType::Map(..) => "map",
        DataType::Array(
            ast::ArrayElemTypeDef::SquareBracket(element, _)
            | ast::ArrayElemTypeDef::AngleBracket(element)
            | ast::ArrayElemTypeDef::Parenthesis(element),
        ) => return type_name(element),
        DataType::Custom(name, _) => {
            let last = name.0.last().and_then(|part| part.as_ident()).map(fold_identifier);
            return last.unwrap_or_default();
        }
        other => return other.to_string().to_lowercase(),
    };
    name.to_owned()
}

fn with_zone(zone: &ast::TimezoneInfo) -> bool {
    matches!(zone, ast::TimezoneInfo::WithTimeZone | ast::TimezoneInfo::Tz)
}

/// Gives PostgreSQL's names as aliases inside of subqueries and common table expressions, so that
/// `SELECT count FROM (SELECT count(*) FROM t) x` finds its column.
///
/// Where several expressions of one select list have the same name, each gets another name ([`UNIQUE_MARK`] and a number
/// behind it), so that a reference to it fails instead of finding one of them. At the top level only what DataFusion would refuse as a duplicate is
/// renamed: take [`output_names`] before this.
pub fn name_derived_columns(query: &mut ast::Query) {
    super::order_names::set_apart(query);
    let ControlFlow::Continue(()) = VisitMut::visit(query, &mut Namer { depth: 0 });
}

struct Namer {
    depth: usize,
}

impl VisitorMut for Namer {
    type Break = std::convert::Infallible;

    fn pre_visit_query(&mut self, query: &mut ast::Query) -> ControlFlow<Self::Break> {
        name_set_expr(&mut query.body, self.depth == 0);
        self.depth += 1;
        ControlFlow::Continue(())
    }

    fn post_visit_query(&mut self, _query: &mut ast::Query) -> ControlFlow<Self::Break> {
        self.depth -= 1;
        ControlFlow::Continue(())
    }
}

fn name_set_expr(body: &mut SetExpr, top_level: bool) {
    match body {
        SetExpr::Select(select) => name_items(&mut select.projection, top_level),
        SetExpr::SetOperation { left, right, .. } => {
            name_set_expr(left, top_level);
            name_set_expr(right, top_level);
        }
        // Parenthesised queries are visited as queries of their own.
        SetExpr::Query(_)
        | SetExpr::Values(_)
        | SetExpr::Insert(_)
        | SetExpr::Update(_)
        | SetExpr::Delete(_)
        | SetExpr::Merge(_)
        | SetExpr::Table(_) => {}
    }
}

fn name_items(items: &mut [SelectItem], top_level: bool) {
    let names = item_names(items);
    // Items with several aliases are of no dialect of ours; leave such a list alone.
    if names.len() != items.len() {
        return;
    }
    let wildcard = names.contains(&OutputName::Wildcard);
    let mut counts: HashMap<&str, usize> = HashMap::new();
    for name in &names {
        if let OutputName::Named(name) = name {
            *counts.entry(name).or_default() += 1;
        }
    }
    let mut texts: HashMap<String, usize> = HashMap::new();
    let mut seen: HashMap<&str, usize> = HashMap::new();
    for (item, name) in items.iter_mut().zip(&names) {
        let OutputName::Named(name) = name else { continue };
        let unique = counts[name.as_str()] == 1;
        let nth = seen.entry(name).and_modify(|n| *n += 1).or_insert(1);
        let distinct = || Ident::with_quote('"', format!("{name}{UNIQUE_MARK}{nth}"));
        match item {
            SelectItem::UnnamedExpr(expr) => {
                let column = matches!(expr, Expr::Identifier(_) | Expr::CompoundIdentifier(_));
                let repeated = texts.insert(expr.to_string(), *nth).is_some();
                let alias = match (column, top_level) {
                    (true, true) if *nth > 1 || wildcard => distinct(),
                    (true, false) if repeated => distinct(),
                    (true, _) => continue,
                    (false, true) if *nth > 1 => distinct(),
                    (false, true) => continue,
                    (false, false) if unique => Ident::with_quote('"', name),
                    (false, false) => distinct(),
                };
                let expr = std::mem::replace(expr, Expr::value(Value::Null));
                *item = SelectItem::ExprWithAlias { expr, alias };
            }
            SelectItem::ExprWithAlias { alias, .. } if top_level && *nth > 1 => *alias = distinct(),
            SelectItem::ExprWithAlias { .. }
            | SelectItem::ExprWithAliases { .. }
            | SelectItem::QualifiedWildcard(..)
            | SelectItem::Wildcard(_) => {}
        }
    }
}
