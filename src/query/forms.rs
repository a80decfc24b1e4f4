//! Syntax of its own that stands for a function: `@ x`, `x LIKE y ESCAPE e`, `OVERLAPS`, `substring(x from y)`,
//! `int4(x)`, `make_interval(days => 1)` and their like, as calls in the parsed query.
//!
//! Works bottom-up on single expressions, as `spelling` does, and knows no types: a form whose function depends on types
//! becomes a call of a function that has several forms.

use sqlparser::ast::{
    BinaryOperator, CastKind, DataType, Expr, Function, FunctionArg, FunctionArgExpr,
    FunctionArguments, MapEntry, SetExpr, TrimWhereField, TypedString, UnaryOperator, Value,
};
use sqlparser::dialect::PostgreSqlDialect;
use sqlparser::parser::Parser;

use super::common_type;
use super::functions::numbers::BIT_NOT;
use super::functions::spans::OVERLAPS;
use super::functions::strings::{LIKE_ESCAPE, escape_pattern};
use super::spelling::{call, string, take};

/// Makes an expression of such a form a call; all others stay.
pub(super) fn respell(expr: &mut Expr) {
    let made = match expr {
        Expr::UnaryOp { op: UnaryOperator::PGSquareRoot, expr: operand } => {
            Some(call("sqrt", vec![super::spelling::cast("float8", take(operand))]))
        }
        Expr::UnaryOp { op, expr: operand } => {
            operator_name(op).map(|n| call(n, vec![take(operand)]))
        }
        Expr::BinaryOp { left, op, right } => binary(left, op, right),
        Expr::Like { .. } | Expr::ILike { .. } => {
            respell_like(expr);
            None
        }
        Expr::Substring { .. }
        | Expr::Position { .. }
        | Expr::Overlay { .. }
        | Expr::Trim { .. } => part(expr),
        Expr::IsNormalized { expr: text, form, negated } => {
            let form = form.map(|form| string(form.to_string()));
            let test = call("is_normalized", [take(text)].into_iter().chain(form).collect());
            Some(match negated {
                true => Expr::UnaryOp { op: UnaryOperator::Not, expr: Box::new(test) },
                false => test,
            })
        }
        Expr::Cast {
            expr: inner, data_type, kind: CastKind::Cast | CastKind::DoubleColon, ..
        } => literal_text(inner).and_then(|text| named_moment(&text, data_type)),
        Expr::TypedString(TypedString { data_type, value, .. }) => {
            let text = value.value.clone().into_string();
            text.and_then(|text| named_moment(&text, data_type))
        }
        Expr::Map(map) => Some(map_of(std::mem::take(&mut map.entries))),
        Expr::Extract { field, expr: moment, .. } => {
            let field = field.to_string().trim_matches('\'').to_ascii_lowercase();
            Some(call("extract", vec![string(field), take(moment)]))
        }
        Expr::AtTimeZone { timestamp, time_zone } => {
            Some(call("timezone", vec![take(time_zone), take(timestamp)]))
        }
        Expr::Function(function) => of_function(function),
        Expr::Case { conditions, else_result, .. } => {
            let results = conditions.iter_mut().map(|when| &mut when.result);
            let last = else_result.iter_mut().map(|result| result.as_mut());
            common_type::respell(results.chain(last).collect());
            None
        }
        Expr::Array(array) => {
            common_type::respell(array.elem.iter_mut().collect());
            None
        }
        _ => None,
    };
    if let Some(made) = made {
        *expr = made;
    }
}

/// The values of each column of VALUES are of one type.
pub(super) fn respell_values(body: &mut SetExpr) {
    let SetExpr::Values(values) = body else { return };
    let width = values.rows.first().map_or(0, |row| row.len());
    for column in 0..width {
        common_type::respell(
            values.rows.iter_mut().filter_map(|row| row.get_mut(column)).collect(),
        );
    }
}

fn operator_name(op: &UnaryOperator) -> Option<&'static str> {
    Some(match op {
        UnaryOperator::PGAbs => "abs",
        UnaryOperator::PGCubeRoot => "cbrt",
        UnaryOperator::BitwiseNot => BIT_NOT,
        _ => return None,
    })
}

fn binary(left: &mut Expr, op: &BinaryOperator, right: &mut Expr) -> Option<Expr> {
    match op {
        BinaryOperator::PGStartsWith => Some(call("starts_with", vec![take(left), take(right)])),
        BinaryOperator::Overlaps => {
            let (Expr::Tuple(a), Expr::Tuple(b)) = (left, right) else { return None };
            let bounds = a.iter_mut().chain(b).map(take).collect();
            Some(call(OVERLAPS, bounds))
        }
        _ => None,
    }
}

/// A pattern with an escape character of its own gets a backslash for it; `LIKE ANY (array)` becomes `~~ ANY (array)`.
fn respell_like(expr: &mut Expr) {
    let any_case = matches!(expr, Expr::ILike { .. });
    let (Expr::Like { negated, any, expr: value, pattern, escape_char }
    | Expr::ILike { negated, any, expr: value, pattern, escape_char }) = expr
    else {
        return;
    };
    if let Some(escape) = escape_char.take().and_then(|escape| escape.value.into_string()) {
        let escapes: Vec<char> = escape.chars().collect();
        **pattern = match (literal_text(pattern), escapes.as_slice()) {
            // A pattern that is known stays a literal, which cannot fail.
            (Some(text), [] | [_]) => {
                let mut escaped = String::new();
                escape_pattern(&text, escapes.first().copied(), &mut escaped);
                string(escaped)
            }
            _ => call(LIKE_ESCAPE, vec![take(pattern), string(escape)]),
        };
    }
    if *any {
        let compare_op = match (any_case, *negated) {
            (false, false) => BinaryOperator::PGLikeMatch,
            (false, true) => BinaryOperator::PGNotLikeMatch,
            (true, false) => BinaryOperator::PGILikeMatch,
            (true, true) => BinaryOperator::PGNotILikeMatch,
        };
        let (left, right) = (Box::new(take(value)), Box::new(take(pattern)));
        *expr = Expr::AnyOp { left, compare_op, right, is_some: false };
    }
}

/// The parts of texts and byte strings that have words between their arguments.
fn part(expr: &mut Expr) -> Option<Expr> {
    match expr {
        Expr::Substring { expr: text, substring_from, substring_for, .. } => {
            let from = match substring_from {
                Some(from) => take(from),
                None => expression("1")?,
            };
            let length = substring_for.as_mut().map(|length| take(length));
            Some(call("substring", [take(text), from].into_iter().chain(length).collect()))
        }
        Expr::Position { expr: part, r#in: text } => {
            Some(call("strpos", vec![take(text), take(part)]))
        }
        Expr::Overlay { expr: text, overlay_what, overlay_from, overlay_for } => {
            let length = overlay_for.as_mut().map(|length| take(length));
            let args = [take(text), take(overlay_what), take(overlay_from)];
            Some(call("overlay", args.into_iter().chain(length).collect()))
        }
        Expr::Trim { expr: text, trim_where, trim_what, trim_characters } => {
            let name = match trim_where {
                Some(TrimWhereField::Leading) => "ltrim",
                Some(TrimWhereField::Trailing) => "rtrim",
                Some(TrimWhereField::Both) | None => "btrim",
            };
            let listed = trim_characters.iter_mut().flatten().map(take);
            let characters = trim_what.iter_mut().map(|characters| take(characters)).chain(listed);
            Some(call(name, std::iter::once(take(text)).chain(characters).collect()))
        }
        _ => None,
    }
}

fn literal_text(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text)
            | Value::EscapedStringLiteral(text)
            | Value::DollarQuotedString(sqlparser::ast::DollarQuotedString {
                value: text, ..
            }) => Some(text.clone()),
            _ => None,
        },
        _ => None,
    }
}

/// `'now'`, `'today'`, `'tomorrow'` and `'yesterday'` as dates and timestamps: the clock of the statement.
fn named_moment(text: &str, data_type: &DataType) -> Option<Expr> {
    if !matches!(data_type, DataType::Date | DataType::Timestamp(..)) {
        return None;
    }
    let moment = match text.trim().to_ascii_lowercase().as_str() {
        "now" => "now()",
        "today" => "current_date",
        "tomorrow" => "(current_date + 1)",
        "yesterday" => "(current_date - 1)",
        _ => return None,
    };
    expression(&format!("CAST({moment} AS {data_type})"))
}

/// The tree of an expression that is written out here, spelled as all others are.
fn expression(sql: &str) -> Option<Expr> {
    let parsed = Parser::new(&PostgreSqlDialect {}).try_with_sql(sql);
    let mut parsed = parsed.and_then(|mut parser| parser.parse_expr()).ok()?;
    super::spelling::rewrite_expr(&mut parsed).ok()?;
    Some(parsed)
}

/// `MAP {'a': 1}`.
fn map_of(entries: Vec<MapEntry>) -> Expr {
    let entries = entries.into_iter().map(|entry| (*entry.key, *entry.value));
    let (keys, values): (Vec<Expr>, Vec<Expr>) = entries.unzip();
    let lists = [keys, values].map(|items| call("make_array", items));
    call("map_from_key_values", lists.into())
}

/// Types whose names are functions that cast to them.
const CASTING: &[&str] = &[
    "bool",
    "bpchar",
    "bytea",
    "date",
    "float4",
    "float8",
    "int2",
    "int4",
    "int8",
    "jsonb",
    "json",
    "numeric",
    "text",
    "timestamp",
    "timestamptz",
    "time",
    "uuid",
    "varchar",
];

fn of_function(function: &mut Function) -> Option<Expr> {
    let [name] = function.name.0.as_slice() else { return None };
    let name = name.as_ident()?;
    let name =
        if name.quote_style.is_some() { name.value.clone() } else { name.value.to_lowercase() };
    let FunctionArguments::List(list) = &mut function.args else { return None };
    if name == "make_interval" {
        return make_interval(&mut list.args);
    }
    let mut args: Vec<&mut Expr> = vec![];
    for arg in &mut list.args {
        let FunctionArg::Unnamed(FunctionArgExpr::Expr(arg)) = arg else { return None };
        args.push(arg);
    }
    match (name.as_str(), args.as_mut_slice()) {
        (name, [value]) if CASTING.contains(&name) => {
            let mut cast = Expr::Cast {
                kind: CastKind::Cast,
                expr: Box::new(take(value)),
                data_type: Parser::new(&PostgreSqlDialect {})
                    .try_with_sql(name)
                    .and_then(|mut parser| parser.parse_data_type())
                    .ok()?,
                array: false,
                format: None,
            };
            super::spelling::respell(&mut cast);
            Some(cast)
        }
        // The age of a moment is that at the midnight at which today began.
        ("age", [moment]) => {
            let today = expression("current_date")?;
            Some(call("age", vec![today, take(moment)]))
        }
        ("coalesce" | "greatest" | "least" | "nullif", _) => {
            common_type::respell(args);
            None
        }
        // A normal form is a word, not a column.
        ("normalize", [_, form]) => {
            if let Expr::Identifier(ident) = form {
                **form = string(ident.value.clone());
            }
            None
        }
        ("pg_typeof", [value]) => {
            let open = literal_text(value).is_some()
                || matches!(value, Expr::Value(v) if v.value == Value::Null);
            open.then(|| call("pg_typeof", vec![]))
        }
        _ => None,
    }
}

/// `make_interval(hours => 10)` with all its arguments in their order, what is not given being zero.
fn make_interval(args: &mut [FunctionArg]) -> Option<Expr> {
    const NAMES: [&str; 7] = ["years", "months", "weeks", "days", "hours", "mins", "secs"];
    let zero = || {
        let mut zero = Expr::Value(Value::Number("0".to_owned(), false).into());
        super::spelling::respell(&mut zero);
        zero
    };
    if args.len() > NAMES.len() {
        return None;
    }
    let mut all: Vec<Expr> = NAMES.iter().map(|_| zero()).collect();
    for (position, arg) in args.iter_mut().enumerate() {
        let (position, value) = match arg {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(value)) => (position, value),
            FunctionArg::Named { name, arg: FunctionArgExpr::Expr(value), .. } => {
                let name = name.value.to_lowercase();
                (NAMES.iter().position(|known| *known == name)?, value)
            }
            FunctionArg::ExprNamed { name, arg: FunctionArgExpr::Expr(value), .. } => {
                let name = name.to_string().to_lowercase();
                (NAMES.iter().position(|known| *known == name)?, value)
            }
            _ => return None,
        };
        all[position] = take(value);
    }
    Some(call("make_interval", all))
}
