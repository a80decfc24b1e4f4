//! PostgreSQL's functions about the catalog and the session, over one [`SystemContext`].
//!
//! Each is a line in [`FUNCTIONS`]: its name, its result's type and a plain function from cells to a cell. They are evaluated row
//! by row and are stable within a statement. Functions about features that are not there answer as PostgreSQL does when the
//! feature is not used. current_setting and set_config belong to the session and are not here.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::{Decimal128Type, Float64Type, Int64Type};
use arrow_array::{Array, ArrayRef};
use arrow_schema::{DataType, FieldRef};
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result as DfResult};
use datafusion::logical_expr::{
    ColumnarValue, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    TypeSignature, Volatility,
};

use super::cells::{self, Cell};
use super::relations::{self, Index};
use super::{SystemContext, cluster, columns, fixed};
use crate::catalog::DATABASE;
use crate::catalog::object::{Object, ObjectKind, Oid};
use crate::catalog::snapshot::Relation;
use crate::error::{Error, Result, SqlState};
use crate::sql::{ObjectName, quote_identifier, quote_literal};
use crate::types::PgType;

type Body = fn(&SystemContext, &[Cell]) -> Result<Cell>;

/// The functions over a context, to be registered with the session that plans the statement.
pub fn system_functions(context: &Arc<SystemContext>) -> Vec<ScalarUDF> {
    FUNCTIONS
        .iter()
        .map(|(name, returns, body)| {
            let field = Arc::new(columns::field(name, returns));
            let any = vec![TypeSignature::Nullary, TypeSignature::VariadicAny];
            let signature = Signature::one_of(any, Volatility::Stable);
            ScalarUDF::from(SystemFunction {
                name,
                field,
                signature,
                body: *body,
                context: context.clone(),
            })
        })
        .collect()
}

/// Name, type of the result, what it does.
const FUNCTIONS: &[(&str, &str, Body)] = &[
    ("pg_table_is_visible", "bool", |c, a| Ok(table_is_visible(c, a).into())),
    ("pg_type_is_visible", "bool", known),
    ("pg_function_is_visible", "bool", known),
    ("pg_operator_is_visible", "bool", known),
    ("pg_opclass_is_visible", "bool", known),
    ("pg_opfamily_is_visible", "bool", known),
    ("pg_collation_is_visible", "bool", known),
    ("pg_conversion_is_visible", "bool", known),
    ("pg_ts_parser_is_visible", "bool", known),
    ("pg_ts_dict_is_visible", "bool", known),
    ("pg_ts_config_is_visible", "bool", known),
    ("pg_ts_template_is_visible", "bool", known),
    ("pg_statistics_obj_is_visible", "bool", known),
    ("pg_get_userbyid", "name", |c, a| Ok(user_by_id(c, int(a, 0)).into())),
    ("format_type", "text", |c, a| Ok(column_type(c, int(a, 0), int(a, 1)).into())),
    ("pg_get_expr", "text", |_, a| Ok(text(a, 0).into())),
    ("pg_get_viewdef", "text", |c, a| Ok(relation(c, a)?.and_then(relations::definition).into())),
    ("pg_get_indexdef", "text", |c, a| Ok(index_definition(c, a).into())),
    ("pg_get_constraintdef", "text", |c, a| Ok(constraint_definition(c, a).into())),
    ("pg_get_ruledef", "text", null),
    ("pg_get_triggerdef", "text", null),
    ("pg_get_functiondef", "text", null),
    ("pg_get_partkeydef", "text", null),
    ("pg_get_partition_constraintdef", "text", null),
    ("pg_get_statisticsobjdef", "text", null),
    ("pg_get_statisticsobjdef_columns", "text", null),
    ("pg_get_statisticsobjdef_expressions", "_text", null),
    ("pg_get_serial_sequence", "text", |c, a| Ok(serial_sequence(c, a)?.into())),
    ("pg_get_function_result", "text", |_, a| Ok(function_result(a).into())),
    ("pg_get_function_arguments", "text", |_, a| Ok(function_arguments(a).into())),
    ("pg_get_function_identity_arguments", "text", |_, a| Ok(function_arguments(a).into())),
    ("pg_get_function_sqlbody", "text", null),
    ("pg_relation_is_publishable", "bool", |_, _| Ok(false.into())),
    ("pg_relation_is_updatable", "int4", |_, _| Ok(0i64.into())),
    ("pg_relation_filenode", "oid", null),
    ("pg_tablespace_location", "text", |_, _| Ok("".into())),
    ("obj_description", "text", |c, a| Ok(description(c, a, 0).into())),
    ("col_description", "text", |c, a| Ok(int(a, 1).and_then(|n| description(c, a, n)).into())),
    ("shobj_description", "text", null),
    ("pg_relation_size", "int8", size),
    ("pg_table_size", "int8", size),
    ("pg_total_relation_size", "int8", size),
    ("pg_indexes_size", "int8", |_, _| Ok(0i64.into())),
    ("pg_tablespace_size", "int8", |c, _| Ok((c.sizes.values().sum::<u64>() as i64).into())),
    ("pg_database_size", "int8", |c, _| Ok((c.sizes.values().sum::<u64>() as i64).into())),
    ("pg_size_pretty", "text", |_, a| Ok(int(a, 0).map(size_pretty).into())),
    ("current_schema", "name", |c, _| Ok(existing_path(c).into_iter().next().into())),
    ("current_schemas", "_name", current_schemas),
    ("current_database", "name", |_, _| Ok(DATABASE.into())),
    ("current_catalog", "name", |_, _| Ok(DATABASE.into())),
    ("current_user", "name", |c, _| Ok((&c.user).into())),
    ("session_user", "name", |c, _| Ok((&c.user).into())),
    ("current_role", "name", |c, _| Ok((&c.user).into())),
    ("user", "name", |c, _| Ok((&c.user).into())),
    ("version", "text", |c, _| Ok((&c.version).into())),
    ("pg_backend_pid", "int4", |c, _| Ok(c.backend_pid.into())),
    ("pg_is_in_recovery", "bool", |_, _| Ok(false.into())),
    ("pg_is_wal_replay_paused", "bool", |_, _| Ok(false.into())),
    ("pg_postmaster_start_time", "timestamptz", |c, _| Ok(c.started_at.into())),
    ("pg_conf_load_time", "timestamptz", |c, _| Ok(c.started_at.into())),
    ("pg_my_temp_schema", "oid", |_, _| Ok(0i64.into())),
    ("pg_is_other_temp_schema", "bool", |_, _| Ok(false.into())),
    ("inet_server_addr", "text", null),
    ("inet_client_addr", "text", null),
    ("getdatabaseencoding", "name", |_, _| Ok("UTF8".into())),
    ("pg_client_encoding", "name", |_, _| Ok("UTF8".into())),
    ("pg_encoding_to_char", "name", |_, a| {
        Ok(if int(a, 0) == Some(cluster::UTF8) { "UTF8" } else { "" }.into())
    }),
    ("pg_char_to_encoding", "int4", |_, a| Ok(encoding(text(a, 0)).into())),
    ("has_table_privilege", "bool", known),
    ("has_schema_privilege", "bool", known),
    ("has_database_privilege", "bool", known),
    ("has_column_privilege", "bool", known),
    ("has_any_column_privilege", "bool", known),
    ("has_function_privilege", "bool", known),
    ("has_sequence_privilege", "bool", known),
    ("has_type_privilege", "bool", known),
    ("has_language_privilege", "bool", known),
    ("has_server_privilege", "bool", known),
    ("has_foreign_data_wrapper_privilege", "bool", known),
    ("has_tablespace_privilege", "bool", known),
    ("pg_has_role", "bool", known),
    // What nothing takes is released at once.
    ("pg_advisory_unlock_all", "bool", null),
    ("row_security_active", "bool", |_, _| Ok(false.into())),
    ("quote_ident", "text", |_, a| Ok(text(a, 0).map(|t| quote_identifier(&t)).into())),
    ("quote_literal", "text", |_, a| Ok(text(a, 0).map(|t| quoted(&t)).into())),
    ("quote_nullable", "text", |_, a| {
        Ok(text(a, 0).map_or_else(|| "NULL".to_owned(), |t| quoted(&t)).into())
    }),
    // Like the casts below, with NULL for what is not there.
    ("to_regclass", "oid", |c, a| Ok(text(a, 0).and_then(|name| regclass(c, &name).ok()).into())),
    ("to_regtype", "oid", |_, a| Ok(text(a, 0).and_then(|name| regtype(&name).ok()).into())),
    ("to_regproc", "oid", |_, a| Ok(text(a, 0).and_then(|name| regproc(&name).ok()).into())),
    ("to_regrole", "oid", |c, a| Ok(text(a, 0).and_then(|name| regrole(c, &name).ok()).into())),
    ("to_regnamespace", "oid", |c, a| {
        Ok(text(a, 0).and_then(|name| regnamespace(c, &name).ok()).into())
    }),
    // What `'name'::regclass` and `oid::regclass` become; no user calls them by these names.
    ("oid_in", "oid", |_, a| reg_in(a, |text| Err(not_an_oid(text)))),
    ("regclass_in", "oid", |c, a| reg_in(a, |name| regclass(c, name))),
    ("regtype_in", "oid", |_, a| reg_in(a, regtype)),
    ("regnamespace_in", "oid", |c, a| reg_in(a, |name| regnamespace(c, name))),
    ("regproc_in", "oid", |_, a| reg_in(a, regproc)),
    ("regrole_in", "oid", |c, a| reg_in(a, |name| regrole(c, name))),
    ("regclass_out", "text", |c, a| Ok(reg_out(a, |oid| class_name(c, oid)))),
    ("regtype_out", "text", |_, a| Ok(reg_out(a, |oid| format_type(Some(oid), None)))),
    ("regnamespace_out", "text", |c, a| Ok(reg_out(a, |oid| schema_name(c, oid)))),
    ("regproc_out", "text", |_, a| {
        Ok(reg_out(a, |oid| fixed::function_of(oid).map(|function| function.name.clone())))
    }),
    ("regrole_out", "text", |c, a| Ok(reg_out(a, |oid| user_by_id(c, Some(oid))))),
    ("empty_text_array", "_text", |_, _| Ok(Cell::Texts(vec![]))),
];

fn null(_: &SystemContext, _: &[Cell]) -> Result<Cell> {
    Ok(Cell::Null)
}

/// True for whatever is not null: everything is visible and allowed to the one superuser.
fn known(_: &SystemContext, args: &[Cell]) -> Result<Cell> {
    Ok(if args.contains(&Cell::Null) { Cell::Null } else { true.into() })
}

fn int(args: &[Cell], at: usize) -> Option<i64> {
    match args.get(at)? {
        Cell::Int(n) => Some(*n),
        Cell::Float(n) => Some(*n as i64),
        Cell::Text(text) => text.parse().ok(),
        _ => None,
    }
}

fn text(args: &[Cell], at: usize) -> Option<String> {
    match args.get(at)? {
        Cell::Text(text) => Some(text.clone()),
        Cell::Int(n) => Some(n.to_string()),
        Cell::Float(n) => Some(n.to_string()),
        Cell::Bool(b) => Some(b.to_string()),
        _ => None,
    }
}

fn object_of(context: &SystemContext, oid: i64) -> Option<&Object> {
    let oid = Oid(u32::try_from(oid).ok()?);
    context.snapshot.get_by_oid(oid).map(|object| &**object)
}

fn index_of(context: &SystemContext, oid: i64) -> Option<Index<'_>> {
    relations::indexes(context).find(|index| i64::from(index.oid.0) == oid)
}

/// (schema, name) of a relation, index or system relation.
fn class_of(context: &SystemContext, oid: i64) -> Option<(String, String)> {
    if let Some(object) = object_of(context, oid) {
        return Some((object.schema.clone(), object.name.clone()));
    }
    if let Some(index) = index_of(context, oid) {
        return Some((index.schema.to_owned(), index.name));
    }
    let system = columns::all().iter().find(|t| t.oid == oid)?;
    Some((system.schema.clone(), system.name.clone()))
}

/// The schemas of the search path that exist.
fn existing_path(context: &SystemContext) -> Vec<String> {
    let path =
        context.search_path.iter().filter(|schema| context.snapshot.schema(schema).is_some());
    path.cloned().collect()
}

fn current_schemas(context: &SystemContext, args: &[Cell]) -> Result<Cell> {
    let mut path = existing_path(context);
    let implicit = args.first() == Some(&Cell::Bool(true));
    if implicit && !path.iter().any(|schema| schema == "pg_catalog") {
        path.insert(0, "pg_catalog".to_owned());
    }
    Ok(path.into())
}

/// Null for what does not exist; true if the bare name finds this very relation.
fn table_is_visible(context: &SystemContext, args: &[Cell]) -> Option<bool> {
    let (schema, name) = class_of(context, int(args, 0)?)?;
    if schema == "pg_catalog" {
        return Some(true);
    }
    let path = existing_path(context);
    let first = path.iter().find(|s| **s == schema || context.snapshot.find(s, &name).is_some());
    Some(first == Some(&schema))
}

fn user_by_id(context: &SystemContext, oid: Option<i64>) -> Option<String> {
    let oid = oid?;
    let role = cluster::roles(context).into_iter().find(|(role, _)| *role == oid);
    Some(role.map_or_else(|| format!("unknown (OID={oid})"), |(_, name)| name.to_owned()))
}

fn schema_name(context: &SystemContext, oid: i64) -> Option<String> {
    let schema = context.snapshot.schemas().find(|(_, entry)| i64::from(entry.oid.0) == oid);
    schema.map(|(name, _)| quote_identifier(name))
}

/// As [`format_type`], which knows nothing of records' members.
fn column_type(context: &SystemContext, oid: Option<i64>, modifier: Option<i64>) -> Option<String> {
    const RECORDS: [u32; 3] = [PgType::RECORD.oid, PgType::RECORD_ARRAY.oid, PgType::MAP.oid];
    let record = oid.zip(modifier).filter(|(oid, _)| RECORDS.iter().any(|r| i64::from(*r) == *oid));
    let record = record.and_then(|(oid, m)| relations::record_type(context, oid, m));
    record.or_else(|| format_type(oid, modifier))
}

/// A type as SQL writes it, with its modifier where one is given.
fn format_type(oid: Option<i64>, modifier: Option<i64>) -> Option<String> {
    let oid = oid?;
    if oid == 0 {
        return Some("-".to_owned());
    }
    let Some(pg_type) = u32::try_from(oid).ok().and_then(PgType::of_oid) else {
        let name = fixed::pg_type(|type_oid, _| type_oid == oid).map(|(_, name)| name);
        let name = name.map(|n| {
            n.strip_prefix('_').map_or_else(|| n.clone(), |element| format!("{element}[]"))
        });
        return Some(name.unwrap_or_else(|| "???".to_owned()));
    };
    let (element, suffix) = match pg_type.element_oid {
        0 => (pg_type, ""),
        element => (PgType::of_oid(element).unwrap_or(pg_type), "[]"),
    };
    let modifier = modifier.filter(|m| *m >= 4).map(|m| m - 4);
    let name = match (element.name, modifier) {
        ("numeric", Some(m)) => format!("numeric({},{})", (m >> 16) & 0xffff, m & 0x7ff),
        ("varchar" | "bpchar", Some(length)) => format!("{}({length})", element.sql_name),
        _ => element.sql_name.to_owned(),
    };
    Some(name + suffix)
}

/// The user's relation that the first argument names by OID or by name.
fn relation<'a>(context: &'a SystemContext, args: &[Cell]) -> Result<Option<&'a Object>> {
    let oid = match args.first() {
        Some(Cell::Text(name)) => Some(regclass(context, name)?),
        _ => int(args, 0),
    };
    Ok(oid.and_then(|oid| object_of(context, oid)))
}

/// The whole index, or the name of its nth column.
fn index_definition(context: &SystemContext, args: &[Cell]) -> Option<String> {
    let index = index_of(context, int(args, 0)?)?;
    match int(args, 1) {
        None | Some(0) => Some(relations::index_definition(&index)),
        Some(n) => {
            let key = index.key.get(usize::try_from(n).ok()?.checked_sub(1)?)?;
            Some(quote_identifier(index.table.columns.field(*key).name()))
        }
    }
}

fn constraint_definition(context: &SystemContext, args: &[Cell]) -> Option<String> {
    let oid = int(args, 0)?;
    if let Some((_, _, check)) = relations::checks(context).find(|(_, other, _)| *other == oid) {
        return Some(format!("CHECK ({})", check.sql));
    }
    let is_it = |index: &Index<'_>| index.constraint_oid().is_some_and(|o| i64::from(o.0) == oid);
    relations::constraints(context).find(is_it).map(|index| index.constraint_definition())
}

/// The sequence that a column owns, with its schema.
fn serial_sequence(context: &SystemContext, args: &[Cell]) -> Result<Option<String>> {
    let (Some(_), Some(column)) = (text(args, 0), text(args, 1)) else { return Ok(None) };
    let Some(table) = relation(context, args)? else { return Ok(None) };
    let column = table.columns.index_of(&column).map_err(|_| {
        let message = format!("column \"{column}\" of relation \"{}\" does not exist", table.name);
        Error::new(SqlState::UNDEFINED_COLUMN, message)
    })?;
    let owned = context.snapshot.sequences_owned_by(table.oid).find(|sequence| {
        matches!(&sequence.kind, ObjectKind::Sequence { owner: Some(owner), .. } if owner.column == column)
    });
    let name =
        |s: &Object| format!("{}.{}", quote_identifier(&s.schema), quote_identifier(&s.name));
    Ok(owned.map(|sequence| name(sequence)))
}

/// The comment on an object (column 0) or its nth column. The catalog that obj_description names is checked where it is
/// another one than pg_class, since OIDs are unique only within one.
fn description(context: &SystemContext, args: &[Cell], column: i64) -> Option<String> {
    let oid = int(args, 0)?;
    match args.get(1) {
        Some(Cell::Text(catalog)) if catalog == "pg_namespace" => {
            return (oid == 2200).then(|| "standard public schema".to_owned());
        }
        Some(Cell::Text(catalog)) if catalog != "pg_class" => return None,
        _ => {}
    }
    object_of(context, oid)?.comments.get(&usize::try_from(column).ok()?).cloned()
}

fn size(context: &SystemContext, args: &[Cell]) -> Result<Cell> {
    if matches!(args.first(), None | Some(Cell::Null)) {
        return Ok(Cell::Null);
    }
    let size = relation(context, args)?.and_then(|object| context.sizes.get(&object.id));
    Ok((size.copied().unwrap_or(0) as i64).into())
}

/// PostgreSQL changes the unit at ten thousand of the smaller one and rounds half up.
fn size_pretty(bytes: i64) -> String {
    const UNITS: &[&str] = &["bytes", "kB", "MB", "GB", "TB", "PB"];
    let (mut size, mut unit) = (bytes as f64, 0);
    while size.abs().round() >= 10_240.0 && unit + 1 < UNITS.len() {
        size /= 1024.0;
        unit += 1;
    }
    format!("{} {}", size.round(), UNITS[unit])
}

fn encoding(name: Option<String>) -> Option<i64> {
    let name = name?.to_lowercase().replace('-', "");
    Some(if name == "utf8" || name == "unicode" { cluster::UTF8 } else { -1 })
}

/// As quote_literal: with E'' where there are backslashes.
fn quoted(text: &str) -> String {
    match text.contains('\\') {
        true => format!("E{}", quote_literal(&text.replace('\\', "\\\\"))),
        false => quote_literal(text),
    }
}

fn no_such(code: SqlState, what: &str, name: &str) -> Error {
    Error::new(code, format!("{what} \"{name}\" does not exist"))
}

fn not_an_oid(text: &str) -> Error {
    Error::new(
        SqlState::INVALID_TEXT_REPRESENTATION,
        format!("invalid input syntax for type oid: \"{text}\""),
    )
}

/// Numbers stay, names are looked up.
fn reg_in(args: &[Cell], find: impl Fn(&str) -> Result<i64>) -> Result<Cell> {
    match args.first() {
        Some(Cell::Int(oid)) => Ok(Cell::Int(*oid)),
        Some(Cell::Text(name)) => match name.parse::<i64>() {
            Ok(oid) => Ok(Cell::Int(oid)),
            Err(_) if name == "-" => Ok(Cell::Int(0)),
            Err(_) => find(name).map(Cell::Int),
        },
        _ => Ok(Cell::Null),
    }
}

/// The name, or the number itself where nothing has it; 0 is `-`.
fn reg_out(args: &[Cell], find: impl Fn(i64) -> Option<String>) -> Cell {
    match int(args, 0) {
        None => text(args, 0).into(),
        Some(0) => "-".into(),
        Some(oid) => find(oid).unwrap_or_else(|| oid.to_string()).into(),
    }
}

/// As SQL writes it, with its schema where the bare name does not find it.
pub(super) fn class_name(context: &SystemContext, oid: i64) -> Option<String> {
    let (schema, name) = class_of(context, oid)?;
    let visible = table_is_visible(context, &[Cell::Int(oid)]) == Some(true);
    let name = quote_identifier(&name);
    Some(if visible { name } else { format!("{}.{name}", quote_identifier(&schema)) })
}

/// The parts of a name written as in SQL: `public."T"`.
pub fn parse_name(text: &str) -> Result<ObjectName> {
    let invalid = || Error::new(SqlState::SYNTAX_ERROR, "invalid name syntax");
    let expr = crate::sql::parse_expr(text).map_err(|_| invalid())?;
    let parts = match expr {
        sqlparser::ast::Expr::Identifier(ident) => vec![ident],
        sqlparser::ast::Expr::CompoundIdentifier(parts) => parts,
        // Words that are expressions of their own, such as `user`, name relations all the same.
        _ => return Ok(ObjectName::bare(text.trim().trim_matches('"'))),
    };
    ObjectName::try_from(&sqlparser::ast::ObjectName::from(parts))
}

fn regclass(context: &SystemContext, text: &str) -> Result<i64> {
    let name = parse_name(text)?;
    match context.snapshot.relation(&context.search_path, &name) {
        Ok(Relation::Object(object)) => Ok(i64::from(object.oid.0)),
        Ok(Relation::System { schema, name }) => {
            Ok(columns::find(schema, &name).map_or(0, |t| t.oid))
        }
        Err(error) => {
            let index = relations::keyed(context).find(|o| {
                o.primary_key_name() == name.name
                    && name.schema.as_ref().is_none_or(|s| *s == o.schema)
            });
            index.map(|o| i64::from(o.oid.primary_key_index().0)).ok_or(error)
        }
    }
}

fn regtype(text: &str) -> Result<i64> {
    let lower = text.trim().to_lowercase();
    let base = lower.strip_prefix("pg_catalog.").unwrap_or(&lower);
    let (element, is_array) = base.strip_suffix("[]").map_or((base, false), |e| (e, true));
    let element = match element {
        "int" => "integer",
        "decimal" => "numeric",
        "timestamp" => "timestamp without time zone",
        "time" => "time without time zone",
        other => other,
    };
    if let Some(t) = PgType::ALL.iter().find(|t| t.sql_name == element || t.name == element) {
        let oid = if is_array && t.array_oid != 0 { t.array_oid } else { t.oid };
        return Ok(i64::from(oid));
    }
    let wanted = if is_array { format!("_{element}") } else { element.to_owned() };
    let found = fixed::pg_type(|_, name| name == wanted).map(|(oid, _)| oid);
    found.ok_or_else(|| no_such(SqlState::UNDEFINED_OBJECT, "type", text))
}

/// A function by its name, or by its name and arguments, which tell nothing here.
fn regproc(text: &str) -> Result<i64> {
    let name = text.split('(').next().unwrap_or(text).trim();
    let bare = name.strip_prefix("pg_catalog.").unwrap_or(name);
    if name == text && fixed::functions(bare).nth(1).is_some() {
        let message = format!("more than one function named \"{text}\"");
        return Err(Error::new(SqlState("42725"), message));
    }
    fixed::function_oid(bare).ok_or_else(|| no_such(SqlState::UNDEFINED_FUNCTION, "function", text))
}

fn function_result(args: &[Cell]) -> Option<String> {
    let function = fixed::function_of(int(args, 0)?)?;
    let returned = format_type(Some(function.returns), None)?;
    Some(if function.is_set { format!("SETOF {returned}") } else { returned })
}

fn function_arguments(args: &[Cell]) -> Option<String> {
    let function = fixed::function_of(int(args, 0)?)?;
    let last = function.arguments.len().saturating_sub(1);
    let types = function.arguments.iter().enumerate().map(|(at, oid)| {
        let shown = format_type(Some(*oid), None)?;
        Some(if function.is_variadic && at == last { format!("VARIADIC {shown}") } else { shown })
    });
    Some(types.collect::<Option<Vec<String>>>()?.join(", "))
}

fn regnamespace(context: &SystemContext, text: &str) -> Result<i64> {
    let name = parse_name(text)?.name;
    let schema = context.snapshot.schema(&name).map(|schema| i64::from(schema.oid.0));
    schema.ok_or_else(|| no_such(SqlState::INVALID_SCHEMA_NAME, "schema", &name))
}

fn regrole(context: &SystemContext, name: &str) -> Result<i64> {
    let role = cluster::roles(context).into_iter().find(|(_, role)| *role == name);
    role.map(|(oid, _)| oid).ok_or_else(|| no_such(SqlState::UNDEFINED_OBJECT, "role", name))
}

/// One function over one context.
#[derive(Debug)]
struct SystemFunction {
    name: &'static str,
    field: FieldRef,
    signature: Signature,
    body: Body,
    context: Arc<SystemContext>,
}

/// The same function over another context is another function.
impl PartialEq for SystemFunction {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && Arc::ptr_eq(&self.context, &other.context)
    }
}

impl Eq for SystemFunction {}

impl Hash for SystemFunction {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl ScalarUDFImpl for SystemFunction {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _arg_types: &[DataType]) -> DfResult<DataType> {
        Ok(self.field.data_type().clone())
    }

    fn return_field_from_args(&self, _args: ReturnFieldArgs<'_>) -> DfResult<FieldRef> {
        Ok(self.field.clone())
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let failed = |error: Error| DataFusionError::External(Box::new(error));
        let constant = args.args.iter().all(|arg| matches!(arg, ColumnarValue::Scalar(_)));
        let rows = if constant { 1 } else { args.number_rows };
        let columns = args.args.into_iter().map(|arg| Ok(cells_of(&arg.into_array(rows)?)));
        let columns = columns.collect::<DfResult<Vec<Vec<Cell>>>>()?;
        let results = (0..rows).map(|row| {
            let args: Vec<Cell> = columns.iter().map(|column| column[row].clone()).collect();
            (self.body)(&self.context, &args)
        });
        let results = results.collect::<Result<Vec<_>>>().map_err(failed)?;
        let array = cells::column(&self.field, &results).map_err(failed)?;
        match constant {
            true => Ok(ColumnarValue::Scalar(ScalarValue::try_from_array(&array, 0)?)),
            false => Ok(ColumnarValue::Array(array)),
        }
    }
}

/// The values of an array; those of types that no function here takes are null.
pub(super) fn cells_of(array: &ArrayRef) -> Vec<Cell> {
    let nulls = vec![Cell::Null; array.len()];
    let cast = |to: &DataType| arrow_cast::cast(array, to).ok();
    match array.data_type() {
        DataType::Boolean => array.as_boolean().iter().map(Cell::from).collect(),
        t if t.is_integer() => cast(&DataType::Int64)
            .map_or(nulls, |a| a.as_primitive::<Int64Type>().iter().map(Cell::from).collect()),
        t if t.is_floating() => {
            let floats = cast(&DataType::Float64);
            let cell = |n: Option<f64>| n.map_or(Cell::Null, Cell::Float);
            floats.map_or(nulls, |a| a.as_primitive::<Float64Type>().iter().map(cell).collect())
        }
        DataType::Decimal128(_, scale) => {
            let unit = 10i128.pow(u32::try_from(*scale).unwrap_or(0));
            let whole = |n: Option<i128>| n.and_then(|n| i64::try_from(n / unit).ok());
            array.as_primitive::<Decimal128Type>().iter().map(|n| Cell::from(whole(n))).collect()
        }
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => cast(&DataType::Utf8)
            .map_or(nulls, |a| a.as_string::<i32>().iter().map(Cell::from).collect()),
        DataType::List(_) => array.as_list::<i32>().iter().map(list_cell).collect(),
        _ => nulls,
    }
}

fn list_cell(items: Option<ArrayRef>) -> Cell {
    let Some(items) = items else { return Cell::Null };
    let cells = cells_of(&items);
    if cells.iter().all(|cell| matches!(cell, Cell::Int(_))) && items.data_type().is_integer() {
        return Cell::Ints(cells.iter().filter_map(|c| int(std::slice::from_ref(c), 0)).collect());
    }
    Cell::Texts(cells.iter().filter_map(|c| text(std::slice::from_ref(c), 0)).collect())
}
