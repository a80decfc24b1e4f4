//! What DataFusion, Arrow and the parser raise, as PostgreSQL would have said it.
//!
//! Owns the one way from their errors to [`Error`] and back. Our own functions raise an [`Error`] that travels through
//! DataFusion boxed and comes out unchanged; theirs is recognised by variant first and by wording last, since many
//! of their errors are only text. Invariant: whatever is not recognised is XX000 and keeps its text; nothing panics.

use std::error::Error as StdError;
use std::sync::LazyLock;

use arrow_schema::ArrowError;
use datafusion::common::{Column, SchemaError};
use datafusion::error::DataFusionError;
use regex::Regex;
use sqlparser::parser::ParserError;

use super::spelling::visible_name;
use crate::error::{Error, SqlState};

/// Our error on its way through DataFusion.
pub fn to_datafusion(error: Error) -> DataFusionError {
    DataFusionError::External(Box::new(error))
}

/// A DataFusion error as a client should see it.
pub fn from_datafusion(error: DataFusionError) -> Error {
    of_datafusion(&error)
}

fn of_datafusion(error: &DataFusionError) -> Error {
    match error {
        DataFusionError::Context(_, inner) | DataFusionError::Diagnostic(_, inner) => {
            of_datafusion(inner)
        }
        DataFusionError::Shared(inner) => of_datafusion(inner),
        DataFusionError::Collection(errors) => errors
            .first()
            .map_or_else(|| Error::internal("an empty list of errors was raised"), of_datafusion),
        DataFusionError::External(inner) => of_boxed(inner.as_ref()),
        DataFusionError::ArrowError(inner, _) => of_arrow(inner),
        DataFusionError::SQL(inner, _) => of_parser(inner),
        DataFusionError::SchemaError(inner, _) => of_schema(inner),
        DataFusionError::ResourcesExhausted(message) => out_of_memory(message),
        DataFusionError::NotImplemented(message) => of_not_implemented(message),
        DataFusionError::ExecutionJoin(inner) if inner.is_cancelled() => canceled(),
        DataFusionError::Plan(message) | DataFusionError::Execution(message) => of_message(message),
        other => of_message(&other.strip_backtrace()),
    }
}

fn of_boxed(error: &(dyn StdError + Send + Sync + 'static)) -> Error {
    if let Some(ours) = error.downcast_ref::<Error>() {
        ours.clone()
    } else if let Some(inner) = error.downcast_ref::<DataFusionError>() {
        of_datafusion(inner)
    } else if let Some(inner) = error.downcast_ref::<ArrowError>() {
        of_arrow(inner)
    } else {
        of_message(&error.to_string())
    }
}

/// An Arrow error as a client should see it.
pub fn from_arrow(error: ArrowError) -> Error {
    of_arrow(&error)
}

fn of_arrow(error: &ArrowError) -> Error {
    match error {
        ArrowError::DivideByZero => division_by_zero(),
        ArrowError::ArithmeticOverflow(message) => of_overflow(message),
        ArrowError::ExternalError(inner) => of_boxed(inner.as_ref()),
        ArrowError::MemoryError(message) => out_of_memory(message),
        ArrowError::NotYetImplemented(message) => of_not_implemented(message),
        ArrowError::CastError(message) | ArrowError::ParseError(message) => of_cast(message),
        ArrowError::ComputeError(message) | ArrowError::InvalidArgumentError(message) => {
            of_message(message)
        }
        other => Error::internal(other.to_string()),
    }
}

/// A parser's error: 42601.
pub fn from_parser(error: ParserError) -> Error {
    of_parser(&error)
}

fn of_parser(error: &ParserError) -> Error {
    match error {
        ParserError::TokenizerError(message) | ParserError::ParserError(message) => {
            static UNEXPECTED: LazyLock<Regex> =
                LazyLock::new(|| pattern("found: (.+?)(?: at Line: .*)?$"));
            match UNEXPECTED.captures(message) {
                Some(found) if &found[1] == "EOF" => Error::syntax("syntax error at end of input"),
                Some(found) => Error::syntax(format!("syntax error at or near \"{}\"", &found[1])),
                None => Error::syntax(format!("syntax error: {message}")),
            }
        }
        ParserError::RecursionLimitExceeded => {
            Error::new(SqlState("54001"), "stack depth limit exceeded")
                .with_hint("Nest the statement less deeply.")
        }
    }
}

/// 57014, as a cancelled statement ends.
pub fn canceled() -> Error {
    Error::new(SqlState::QUERY_CANCELED, "canceling statement due to user request")
}

/// 22012.
pub fn division_by_zero() -> Error {
    Error::new(SqlState::DIVISION_BY_ZERO, "division by zero")
}

/// 21000 of a scalar subquery.
pub fn several_rows() -> Error {
    Error::new(
        SqlState::CARDINALITY_VIOLATION,
        "more than one row returned by a subquery used as an expression",
    )
}

/// 22003 `integer out of range`; `type_name` is PostgreSQL's name of the type.
pub fn out_of_range(type_name: &str) -> Error {
    Error::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, format!("{type_name} out of range"))
}

fn out_of_memory(message: &str) -> Error {
    Error::new(SqlState::OUT_OF_MEMORY, "out of memory").with_detail(message.to_owned())
}

fn of_not_implemented(message: &str) -> Error {
    let subquery = ["expression ScalarSubquery", "expression Exists", "expression InSubquery"];
    if subquery.iter().any(|kind| message.contains(kind)) {
        return Error::unsupported("this form of correlated subquery is not supported")
            .with_hint("Correlate with equalities in WHERE, or write it as a join.");
    }
    Error::unsupported(first_line(message).to_owned())
}

fn of_overflow(message: &str) -> Error {
    static TYPE: LazyLock<Regex> = LazyLock::new(|| pattern(r"\b(?:Int|U[Ii]nt)(8|16|32|64)\b"));
    let name = match TYPE.captures(message).map(|found| found[1].to_owned()).as_deref() {
        Some("8" | "16") => "smallint",
        Some("32") => "integer",
        Some("64") => "bigint",
        _ => "value",
    };
    out_of_range(name)
}

fn of_schema(error: &SchemaError) -> Error {
    match error {
        SchemaError::FieldNotFound { field, valid_fields } => undefined_column(field, valid_fields),
        SchemaError::AmbiguousReference { field } => ambiguous_column(&field.name),
        SchemaError::DuplicateUnqualifiedField { name } => ambiguous_column(name),
        SchemaError::DuplicateQualifiedField { qualifier, .. } => Error::new(
            SqlState::DUPLICATE_ALIAS,
            format!("table name \"{}\" specified more than once", qualifier.table()),
        ),
    }
}

fn ambiguous_column(name: &str) -> Error {
    Error::new(SqlState::AMBIGUOUS_COLUMN, format!("column reference \"{name}\" is ambiguous"))
}

/// 42703, or 42P01 when the qualifier names nothing in FROM; the hint names the closest column.
fn undefined_column(field: &Column, valid: &[Column]) -> Error {
    let qualifier = field.relation.as_ref();
    // Columns of one name were given unique ones, so that none of them is found.
    if valid.iter().any(|v| v.name != field.name && visible_name(&v.name) == field.name) {
        return ambiguous_column(&field.name);
    }
    if let Some(relation) = qualifier
        && !valid.is_empty()
        && !valid.iter().any(|v| v.relation.as_ref().is_some_and(|r| r.table() == relation.table()))
    {
        return Error::new(
            SqlState::UNDEFINED_TABLE,
            format!("missing FROM-clause entry for table \"{}\"", relation.table()),
        );
    }
    let message = match qualifier {
        Some(relation) => format!("column {}.{} does not exist", relation.table(), field.name),
        None => format!("column \"{}\" does not exist", field.name),
    };
    let error = Error::new(SqlState::UNDEFINED_COLUMN, message);
    let nearest = valid
        .iter()
        .map(|column| (edit_distance(&column.name, &field.name), column))
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, column)| {
            *distance <= 3 && *distance * 2 <= column.name.chars().count()
        });
    match nearest {
        Some((_, column)) => {
            let name = match &column.relation {
                Some(relation) => format!("{}.{}", relation.table(), column.name),
                None => column.name.clone(),
            };
            error.with_hint(format!("Perhaps you meant to reference the column \"{name}\"."))
        }
        None => error,
    }
}

/// Levenshtein's distance in characters.
fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, cb) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(ca != *cb);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

fn of_cast(message: &str) -> Error {
    static TEXT: LazyLock<Regex> =
        LazyLock::new(|| pattern(r"Cannot cast string '(.*)' to value of (.+?) type"));
    if let Some(found) = TEXT.captures(message) {
        let type_name = arrow_type_name(&found[2]);
        return invalid_text(&type_name, &found[1]);
    }
    static RANGE: LazyLock<Regex> = LazyLock::new(|| pattern(r"Can't cast value .+ to type (\w+)"));
    if let Some(found) = RANGE.captures(message) {
        return out_of_range(&arrow_type_name(&found[1]));
    }
    if message.contains("Decimal") || message.contains("too large to store") {
        return numeric_overflow();
    }
    if message.contains("Parser error") || message.contains("parsing") {
        return Error::new(SqlState::INVALID_DATETIME_FORMAT, first_line(message).to_owned());
    }
    Error::new(SqlState::INVALID_TEXT_REPRESENTATION, first_line(message).to_owned())
}

/// 22P02 `invalid input syntax for type integer: "abc"`.
pub fn invalid_text(type_name: &str, text: &str) -> Error {
    Error::new(
        SqlState::INVALID_TEXT_REPRESENTATION,
        format!("invalid input syntax for type {type_name}: \"{text}\""),
    )
}

/// 22003 for a numeric that needs more digits than there are.
pub fn numeric_overflow() -> Error {
    Error::new(SqlState::NUMERIC_VALUE_OUT_OF_RANGE, "value overflows numeric format")
}

/// PostgreSQL's name for an Arrow type written as text.
fn arrow_type_name(arrow: &str) -> String {
    let name = arrow.trim();
    let known = match name {
        "Boolean" => "boolean",
        "Int8" | "Int16" | "UInt8" => "smallint",
        "Int32" | "UInt16" => "integer",
        "Int64" | "UInt32" => "bigint",
        "Float16" | "Float32" => "real",
        "Float64" => "double precision",
        "Utf8" | "Utf8View" | "LargeUtf8" => "text",
        "Binary" | "BinaryView" | "LargeBinary" => "bytea",
        "Date32" | "Date64" => "date",
        "Null" => "unknown",
        _ => "",
    };
    if !known.is_empty() {
        return known.to_owned();
    }
    for (prefix, pg) in [
        ("Decimal", "numeric"),
        ("UInt64", "numeric"),
        ("Time32", "time without time zone"),
        ("Time64", "time without time zone"),
        ("Interval", "interval"),
        ("Duration", "interval"),
        ("FixedSizeBinary", "uuid"),
        ("Struct", "record"),
    ] {
        if name.starts_with(prefix) {
            return pg.to_owned();
        }
    }
    if name.starts_with("Timestamp") {
        let zoned = name.contains("Some(") || name.contains(", \"");
        return format!("timestamp {} time zone", if zoned { "with" } else { "without" });
    }
    static LIST: LazyLock<Regex> =
        LazyLock::new(|| pattern(r"^(?:Large)?List\((?:non-null )?(?:Field.*data_type: )?(\w+)"));
    match LIST.captures(name) {
        Some(found) => format!("{}[]", arrow_type_name(&found[1])),
        None => name.to_ascii_lowercase(),
    }
}

/// 42883 for a function; `arguments` are PostgreSQL's type names.
pub fn undefined_function(name: &str, arguments: &[String]) -> Error {
    Error::new(SqlState::UNDEFINED_FUNCTION, format!("function {name}({}) does not exist", arguments.join(", ")))
        .with_hint("No function matches the given name and argument types. You might need to add explicit type casts.")
}

/// 42883 for an operator between two types.
pub fn undefined_operator(left: &str, operator: &str, right: &str) -> Error {
    Error::new(SqlState::UNDEFINED_FUNCTION, format!("operator does not exist: {left} {operator} {right}"))
        .with_hint("No operator matches the given name and argument types. You might need to add explicit type casts.")
}

fn of_message(message: &str) -> Error {
    let text = first_line(message);
    of_name_message(message)
        .or_else(|| of_field_message(message))
        .or_else(|| of_clause_message(message))
        .or_else(|| of_case_message(message))
        .or_else(|| of_type_message(message))
        .or_else(|| of_value_message(message))
        .unwrap_or_else(|| {
            let code =
                if is_planning(text) { SqlState::SYNTAX_ERROR } else { SqlState::INTERNAL_ERROR };
            Error::new(code, text.to_owned())
        })
}

/// Texts of the planner that reject what was written, where no narrower code is known.
fn is_planning(text: &str) -> bool {
    ["requires", "must be", "expects", "expected", "cannot be used", "does not support"]
        .iter()
        .any(|w| text.contains(w))
}

/// `(row).field` of what has no such field, or none at all.
fn of_field_message(message: &str) -> Option<Error> {
    static FIELD: LazyLock<Regex> = LazyLock::new(|| pattern(r"Field (.+) not found in struct"));
    if let Some(found) = FIELD.captures(message) {
        let text = format!("column \"{}\" not found in data type record", &found[1]);
        return Some(Error::new(SqlState::UNDEFINED_COLUMN, text));
    }
    message.contains("Cannot access field at argument").then(|| {
        let text = "field notation is applied to a type that is not composite";
        Error::new(SqlState::WRONG_OBJECT_TYPE, text)
    })
}

fn of_name_message(message: &str) -> Option<Error> {
    static FUNCTION: LazyLock<Regex> = LazyLock::new(|| pattern(r"Invalid function '(.+?)'"));
    if let Some(found) = FUNCTION.captures(message) {
        return Some(undefined_function(&found[1], &[]));
    }
    static CALL: LazyLock<Regex> = LazyLock::new(|| {
        pattern(
            r"No function matches the given name and argument types '(?:rows:)?(\w+)\((.*?)\)'\. ",
        )
    });
    if let Some(found) = CALL.captures(message) {
        return Some(undefined_function(&found[1], &argument_names(&found[2])));
    }
    static ARITY: LazyLock<Regex> =
        LazyLock::new(|| pattern(r"(?:[Ff]unction )?'(\w+)' (?:function|does not support zero)"));
    if message.contains("Failed to coerce arguments")
        || message.contains("does not support zero arguments")
    {
        return ARITY.captures(message).map(|found| undefined_function(&found[1], &[]));
    }
    static GROUPING: LazyLock<Regex> = LazyLock::new(|| {
        pattern(
            r#"(?s)must be in GROUP BY or an aggregate function: .*?column "(.+?)" must appear in the GROUP BY"#,
        )
    });
    if let Some(found) = GROUPING.captures(message) {
        return Some(ungrouped(&found[1]));
    }
    static HAVING: LazyLock<Regex> = LazyLock::new(|| {
        pattern(r#"(?:HAVING clause references: |[Cc]olumn "?)(.+?)"? must appear in the GROUP BY"#)
    });
    // The expression is shown as a whole; its first qualified name is the column.
    static COLUMN: LazyLock<Regex> = LazyLock::new(|| pattern(r"[A-Za-z_]\w*\.\w+"));
    if let Some(found) = HAVING.captures(message) {
        let column = COLUMN.find(&found[1]).map_or(&found[1], |column| column.as_str());
        return Some(ungrouped(column));
    }
    static DUPLICATE: LazyLock<Regex> =
        LazyLock::new(|| pattern(r"Ambiguous reference to (?:unqualified )?field (\S+)"));
    DUPLICATE.captures(message).map(|found| ambiguous_column(found[1].trim_matches('"')))
}

fn ungrouped(column: &str) -> Error {
    Error::new(
        SqlState::GROUPING_ERROR,
        format!(
            "column \"{column}\" must appear in the GROUP BY clause or be used in an aggregate function"
        ),
    )
}

fn argument_names(list: &str) -> Vec<String> {
    let mut names = vec![];
    let (mut depth, mut start) = (0, 0);
    for (i, c) in list.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                names.push(arrow_type_name(&list[start..i]));
                start = i + 1;
            }
            _ => {}
        }
    }
    if !list[start..].trim().is_empty() {
        names.push(arrow_type_name(&list[start..]));
    }
    names
}

fn of_type_message(message: &str) -> Option<Error> {
    static OPERATOR: LazyLock<Regex> = LazyLock::new(|| {
        pattern(
            r"Cannot (?:infer common argument type for|coerce arithmetic expression|get result type for).*? (?:operation |expression )?(\S+(?:\([^)]*\))?) (\S+) (\S+(?:\([^)]*\))?)(?: to valid types)?$",
        )
    });
    static TRUTH: LazyLock<Regex> =
        LazyLock::new(|| pattern(r"operation (\S+) IS (NOT )?DISTINCT FROM Boolean"));
    if let Some(found) = TRUTH.captures(message) {
        let name = arrow_type_name(&found[1]);
        let text = format!("argument of IS TRUE must be type boolean, not type {name}");
        return Some(Error::new(SqlState::DATATYPE_MISMATCH, text));
    }
    if let Some(found) = OPERATOR.captures(first_line(message)) {
        return Some(undefined_operator(
            &arrow_type_name(&found[1]),
            &found[2],
            &arrow_type_name(&found[3]),
        ));
    }
    static FILTER: LazyLock<Regex> =
        LazyLock::new(|| pattern(r"filter with non-boolean predicate '.*' returning (\S+)"));
    if let Some(found) = FILTER.captures(message) {
        let text = format!(
            "argument of WHERE must be type boolean, not type {}",
            arrow_type_name(&found[1])
        );
        return Some(Error::new(SqlState::DATATYPE_MISMATCH, text));
    }
    static NOT: LazyLock<Regex> =
        LazyLock::new(|| pattern(r"Unary operator 'NOT' requires a boolean expression, got (\S+)"));
    if let Some(found) = NOT.captures(message) {
        let text = format!(
            "argument of NOT must be type boolean, not type {}",
            arrow_type_name(&found[1])
        );
        return Some(Error::new(SqlState::DATATYPE_MISMATCH, text));
    }
    if message.contains("queries have different number of columns")
        || message.contains("UNION queries have different")
    {
        return Some(Error::syntax("each UNION query must have the same number of columns"));
    }
    if message.contains("Incompatible inputs for Union") || message.contains("Cannot coerce") {
        return Some(Error::new(SqlState::DATATYPE_MISMATCH, first_line(message).to_owned()));
    }
    if message.contains("should only return one column")
        || message.contains("should only have one column")
    {
        return Some(Error::syntax("subquery must return only one column"));
    }
    let mismatch = ["coerce", "Unsupported CAST", "type mismatch", "Unable to find"];
    if mismatch.iter().any(|word| message.contains(word)) {
        return Some(Error::new(SqlState::DATATYPE_MISMATCH, first_line(message).to_owned()));
    }
    None
}

/// PostgreSQL names the type of ELSE first.
fn of_case_message(message: &str) -> Option<Error> {
    static CASE: LazyLock<Regex> = LazyLock::new(|| {
        pattern(r"coerce then \((\w+)\S*\) and else \((\w+)\S*\) to common types in CASE")
    });
    let found = CASE.captures(message)?;
    let (then, otherwise) = (arrow_type_name(&found[1]), arrow_type_name(&found[2]));
    let text = format!("CASE types {otherwise} and {then} cannot be matched");
    Some(Error::new(SqlState::DATATYPE_MISMATCH, text))
}

/// What DataFusion says of a window, with PostgreSQL's code and words.
const OF_WINDOWS: &[(&str, SqlState, &str)] = &[
    (
        "SELECT DISTINCT ON expressions must match",
        SqlState::INVALID_COLUMN_REFERENCE,
        "SELECT DISTINCT ON expressions must match initial ORDER BY expressions",
    ),
    (
        "RANGE requires exactly one ORDER BY",
        SqlState::WINDOWING_ERROR,
        "RANGE with offset PRECEDING/FOLLOWING requires exactly one ORDER BY column",
    ),
    (
        "GROUPS requires an ORDER BY",
        SqlState::WINDOWING_ERROR,
        "GROUPS mode requires an ORDER BY clause",
    ),
    (
        "start bound cannot be UNBOUNDED FOLLOWING",
        SqlState::WINDOWING_ERROR,
        "frame start cannot be UNBOUNDED FOLLOWING",
    ),
    (
        "end bound cannot be UNBOUNDED PRECEDING",
        SqlState::WINDOWING_ERROR,
        "frame end cannot be UNBOUNDED PRECEDING",
    ),
    (
        "Window function calls cannot be nested",
        SqlState::WINDOWING_ERROR,
        "window function calls cannot be nested",
    ),
    (
        "FILTER clause can only be used with aggregate window functions",
        SqlState::FEATURE_NOT_SUPPORTED,
        "FILTER is not implemented for non-aggregate window functions",
    ),
];

fn of_clause_message(message: &str) -> Option<Error> {
    if let Some((_, code, text)) = OF_WINDOWS.iter().find(|(said, ..)| message.contains(said)) {
        return Some(Error::new(*code, *text));
    }
    static WINDOW: LazyLock<Regex> = LazyLock::new(|| pattern(r"The window (\S+) is not defined"));
    if let Some(found) = WINDOW.captures(message) {
        let text = format!("window \"{}\" does not exist", found[1].trim_matches('"'));
        return Some(Error::new(SqlState::UNDEFINED_OBJECT, text));
    }
    let grouping = |text: &str| Some(Error::new(SqlState::GROUPING_ERROR, text));
    if message.contains("Aggregate function calls cannot be nested") {
        return grouping("aggregate function calls cannot be nested");
    }
    if message.contains("Aggregate functions are not allowed in the WHERE") {
        return grouping("aggregate functions are not allowed in WHERE");
    }
    static POSITION: LazyLock<Regex> = LazyLock::new(|| {
        pattern(
            r"Order by column out of bounds, specified: (\d+)|Cannot find column with position (\d+) in SELECT",
        )
    });
    if let Some(found) = POSITION.captures(message) {
        let (clause, position) = match (found.get(1), found.get(2)) {
            (Some(position), _) => ("ORDER BY", position.as_str()),
            (None, position) => ("GROUP BY", position.map_or("", |p| p.as_str())),
        };
        let text = format!("{clause} position {position} is not in select list");
        return Some(Error::new(SqlState("42P10"), text));
    }
    for clause in ["LIMIT", "OFFSET"] {
        if message.contains(&format!("Expected {clause} to be an integer")) {
            let message = format!("argument of {clause} must be an integer");
            return Some(Error::new(SqlState::DATATYPE_MISMATCH, message));
        }
    }
    if message.contains("LIMIT must be >= 0") {
        return Some(Error::new(SqlState("2201W"), "LIMIT must not be negative"));
    }
    if message.contains("OFFSET must be >=0") || message.contains("OFFSET must be >= 0") {
        return Some(Error::new(SqlState("2201X"), "OFFSET must not be negative"));
    }
    None
}

/// What DataFusion's own functions say of values as PostgreSQL does, without its code.
const OF_VALUES: &[(&str, SqlState)] = &[
    ("field position must not be zero", SqlState::INVALID_PARAMETER_VALUE),
    ("requested length too large", SqlState("54000")),
    ("input is out of range", SqlState::NUMERIC_VALUE_OUT_OF_RANGE),
];

fn of_value_message(message: &str) -> Option<Error> {
    let lower = message.to_ascii_lowercase();
    if lower.contains("divide by zero") || lower.contains("division by zero") {
        return Some(division_by_zero());
    }
    if lower.contains("arithmetic overflow") || lower.contains("overflow happened") {
        return Some(of_overflow(message));
    }
    if lower.contains("returned more than one row") || lower.contains("more than one row returned")
    {
        return Some(several_rows());
    }
    if let Some((said, code)) = OF_VALUES.iter().find(|(said, _)| message.contains(said)) {
        return Some(Error::new(*code, *said));
    }
    if lower.contains("regular expression") || lower.contains("regex parse error") {
        return Some(Error::new(
            SqlState("2201B"),
            format!("invalid regular expression: {}", first_line(message)),
        ));
    }
    None
}

fn first_line(message: &str) -> &str {
    let text = message.trim();
    let text = [
        "Error during planning: ",
        "Execution error: ",
        "Arrow error: ",
        "This feature is not implemented: ",
    ]
    .iter()
    .fold(text, |text, prefix| text.strip_prefix(prefix).unwrap_or(text));
    let line = text.split('\n').next().unwrap_or(text);
    line.trim_end_matches('.')
}

fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("the pattern is a constant that the tests compile")
}
