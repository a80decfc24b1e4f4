//! Writes CREATE statements back as text: for SHOW CREATE, the catalog and logs.
//!
//! The text is built from parsed parts and parses to the same statement again, except for option values: those the caller
//! gives, already redacted, because only a connector knows which of its options are credentials.

use std::fmt::Write;

use sqlparser::ast;

use super::statement::*;

/// Option pairs as they may be shown.
#[derive(Clone, Copy, Debug, Default)]
pub struct RedactedOptions<'a> {
    /// The WITH clause.
    pub with: &'a [(String, String)],
    /// The parentheses after ENCODE.
    pub encode: &'a [(String, String)],
}

/// The text of a CREATE statement without IF NOT EXISTS and OR REPLACE; `None` for statements that create nothing.
pub fn create_sql(statement: &Statement, options: RedactedOptions<'_>) -> Option<String> {
    Some(match statement {
        Statement::CreateTable(table) => create_table(table, options),
        Statement::CreateSource(source) => create_source(source, options),
        Statement::CreateView(view) => {
            format!("CREATE VIEW {}{} AS {}", view.name, name_list(&view.columns), view.query)
        }
        Statement::CreateMaterializedView(view) => {
            let (columns, with) = (name_list(&view.columns), clause(" WITH ", options.with));
            let emit = if view.emit_on_window_close { " EMIT ON WINDOW CLOSE" } else { "" };
            format!("CREATE MATERIALIZED VIEW {}{columns}{with} AS {}{emit}", view.name, view.query)
        }
        Statement::CreateSink(sink) => {
            let input = match &sink.input {
                SinkInput::Relation(name) => format!("FROM {name}"),
                SinkInput::Query(query) => format!("AS {query}"),
            };
            let emit = if sink.emit_on_window_close { " EMIT ON WINDOW CLOSE" } else { "" };
            let with = clause(" WITH ", options.with);
            let into = sink.into.as_ref();
            let with = if with.is_empty() && into.is_none() { " WITH ()" } else { &with };
            let into = into.map(|(table, columns)| format!("INTO {table}{} ", name_list(columns)));
            let into = into.unwrap_or_default();
            let format = format_clause(sink.format.as_ref(), options.encode);
            format!("CREATE SINK {} {into}{input}{emit}{with}{format}", sink.name)
        }
        Statement::CreateIndex(index) => {
            let name = index.name.as_ref().map(|name| format!(" {name}")).unwrap_or_default();
            let unique = if index.unique { "UNIQUE " } else { "" };
            let nulls = if index.nulls_distinct { "" } else { " NULLS NOT DISTINCT" };
            let columns = name_list(&index.columns);
            format!("CREATE {unique}INDEX{name} ON {}{columns}{nulls}", index.table)
        }
        Statement::CreateSequence(sequence) => {
            let options = sequence.options.to_string();
            let space = if options.is_empty() { "" } else { " " };
            format!("CREATE SEQUENCE {}{space}{options}", sequence.name)
        }
        Statement::CreateSchema { name, .. } => format!("CREATE SCHEMA {}", quote_identifier(name)),
        _ => return None,
    })
}

fn create_table(table: &CreateTable, options: RedactedOptions<'_>) -> String {
    let mut sql = format!("CREATE TABLE {}", table.name);
    match table.columns.is_empty() && table.like.is_empty() {
        true => sql.push_str(&name_list(&table.column_names)),
        false => sql.push_str(&items(table)),
    }
    if table.append_only {
        sql.push_str(" APPEND ONLY");
    }
    push_connector(&mut sql, &table.include, table.format.as_ref(), options);
    if let Some(query) = &table.query {
        write!(sql, " AS {query}").expect("writing to a string cannot fail");
    }
    sql
}

fn create_source(source: &CreateSource, options: RedactedOptions<'_>) -> String {
    let mut sql = format!("CREATE SOURCE {}", source.name);
    if !source.columns.is_empty() {
        sql.push_str(&body(&source.columns, &source.primary_key, source.watermark.as_ref()));
    }
    push_connector(&mut sql, &source.include, source.format.as_ref(), options);
    sql
}

fn items(table: &CreateTable) -> String {
    let likes = table.like.iter().map(|like| {
        let mut item = format!("LIKE {}", like.table);
        for (name, option) in [
            ("DEFAULTS", like.defaults),
            ("CONSTRAINTS", like.constraints),
            ("GENERATED", like.generated),
            ("IDENTITY", like.identity),
            ("INDEXES", like.indexes),
        ] {
            if option {
                item.push_str(" INCLUDING ");
                item.push_str(name);
            }
        }
        item
    });
    let columns = table.columns.iter().map(|column| column_item(column, &table.primary_key));
    let mut items: Vec<String> = likes.chain(columns).collect();
    let named = |name: &Option<String>, constraint: String| match name {
        Some(name) => format!("CONSTRAINT {} {constraint}", quote_identifier(name)),
        None => constraint,
    };
    if !table.primary_key.is_empty() {
        let key = format!("PRIMARY KEY{}", name_list(&table.primary_key));
        items.push(named(&table.primary_key_name, key));
    }
    items.extend(table.uniques.iter().map(|unique| {
        let nulls = if unique.nulls_distinct { "" } else { " NULLS NOT DISTINCT" };
        named(&unique.name, format!("UNIQUE{nulls}{}", name_list(&unique.columns)))
    }));
    items.extend(table.checks.iter().map(|c| named(&c.name, format!("CHECK ({})", c.expr))));
    items.extend(table.watermark.as_ref().map(watermark_item));
    format!(" ({})", items.join(", "))
}

fn body(columns: &[ColumnDef], primary_key: &[String], watermark: Option<&Watermark>) -> String {
    let mut items: Vec<String> =
        columns.iter().map(|column| column_item(column, primary_key)).collect();
    if !primary_key.is_empty() {
        items.push(format!("PRIMARY KEY{}", name_list(primary_key)));
    }
    items.extend(watermark.map(watermark_item));
    format!(" ({})", items.join(", "))
}

fn watermark_item(watermark: &Watermark) -> String {
    format!("WATERMARK FOR {} AS {}", quote_identifier(&watermark.column), watermark.expr)
}

fn column_item(column: &ColumnDef, primary_key: &[String]) -> String {
    let name = quote_identifier(&column.name);
    let mut item = match &column.generated {
        Some(Generated::Serial) => {
            let serial = match column.data_type {
                ast::DataType::BigInt(_) => "bigserial",
                ast::DataType::SmallInt(_) => "smallserial",
                _ => "serial",
            };
            return format!("{name} {serial}");
        }
        _ => format!("{name} {}", column.data_type),
    };
    let implied = matches!(column.generated, Some(Generated::Identity { .. }));
    if !column.nullable && !implied && !primary_key.contains(&column.name) {
        item.push_str(" NOT NULL");
    }
    if let Some(default) = &column.default {
        write!(item, " DEFAULT {default}").expect("writing to a string cannot fail");
    }
    match &column.generated {
        Some(Generated::Stored(expr)) => {
            write!(item, " GENERATED ALWAYS AS ({expr}) STORED")
                .expect("writing to a string cannot fail");
        }
        Some(Generated::Identity { always, options }) => {
            let when = if *always { "ALWAYS" } else { "BY DEFAULT" };
            write!(item, " GENERATED {when} AS IDENTITY").expect("writing to a string cannot fail");
            if !options.is_empty() {
                write!(item, " ({options})").expect("writing to a string cannot fail");
            }
        }
        Some(Generated::Serial) | None => {}
    }
    item
}

fn push_connector(
    sql: &mut String,
    include: &[IncludeColumn],
    format: Option<&FormatEncode>,
    options: RedactedOptions<'_>,
) {
    for column in include {
        sql.push_str(" INCLUDE ");
        sql.push_str(column.kind.word());
        if let IncludeKind::Header(Some(header)) = &column.kind {
            sql.push(' ');
            sql.push_str(&quote_literal(header));
        }
        if let Some(name) = &column.name {
            sql.push_str(" AS ");
            sql.push_str(&quote_identifier(name));
        }
    }
    sql.push_str(&clause(" WITH ", options.with));
    sql.push_str(&format_clause(format, options.encode));
}

fn format_clause(format: Option<&FormatEncode>, encode: &[(String, String)]) -> String {
    format.map_or_else(String::new, |f| {
        let key = f.key_encode.as_ref().map(|key| format!(" KEY ENCODE {key}"));
        let options = clause(" ", encode);
        format!(" FORMAT {} ENCODE {}{options}{}", f.format, f.encode, key.unwrap_or_default())
    })
}

/// `(key = 'value', ...)` after `before`; empty without options.
fn clause(before: &str, options: &[(String, String)]) -> String {
    if options.is_empty() {
        return String::new();
    }
    let pairs: Vec<String> =
        options.iter().map(|(k, v)| format!("{} = {}", option_key(k), quote_literal(v))).collect();
    format!("{before}({})", pairs.join(", "))
}

/// A dotted key stays bare when every part would parse back as it is.
fn option_key(key: &str) -> String {
    let bare = key.split('.').all(|part| {
        let mut chars = part.chars();
        chars.next().is_some_and(|c| c.is_ascii_lowercase() || c == '_')
            && chars.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
    });
    if bare { key.to_owned() } else { quote_literal(key) }
}

/// ` (a, b)`, or nothing for no names.
fn name_list(names: &[String]) -> String {
    if names.is_empty() {
        return String::new();
    }
    let names: Vec<_> = names.iter().map(|name| quote_identifier(name)).collect();
    format!(" ({})", names.join(", "))
}

/// A name as it has to be written in SQL: quoted when folding or a reserved word would change it.
pub fn quote_identifier(name: &str) -> String {
    let mut chars = name.chars();
    let plain = chars.next().is_some_and(|c| c.is_ascii_lowercase() || c == '_')
        && chars.all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    if plain && RESERVED.binary_search(&name).is_err() {
        name.to_owned()
    } else {
        format!("\"{}\"", name.replace('"', "\"\""))
    }
}

/// A string literal; backslashes are ordinary characters in it.
pub fn quote_literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// PostgreSQL 15's words that cannot name a column or a function without quotes, sorted.
const RESERVED: &[&str] = &[
    "all",
    "analyse",
    "analyze",
    "and",
    "any",
    "array",
    "as",
    "asc",
    "asymmetric",
    "authorization",
    "between",
    "bigint",
    "binary",
    "bit",
    "boolean",
    "both",
    "case",
    "cast",
    "char",
    "character",
    "check",
    "coalesce",
    "collate",
    "collation",
    "column",
    "concurrently",
    "constraint",
    "create",
    "cross",
    "current_catalog",
    "current_date",
    "current_role",
    "current_schema",
    "current_time",
    "current_timestamp",
    "current_user",
    "dec",
    "decimal",
    "default",
    "deferrable",
    "desc",
    "distinct",
    "do",
    "else",
    "end",
    "except",
    "exists",
    "extract",
    "false",
    "fetch",
    "float",
    "for",
    "foreign",
    "freeze",
    "from",
    "full",
    "grant",
    "greatest",
    "group",
    "grouping",
    "having",
    "ilike",
    "in",
    "initially",
    "inner",
    "inout",
    "int",
    "integer",
    "intersect",
    "interval",
    "into",
    "is",
    "isnull",
    "join",
    "lateral",
    "leading",
    "least",
    "left",
    "like",
    "limit",
    "localtime",
    "localtimestamp",
    "national",
    "natural",
    "nchar",
    "none",
    "normalize",
    "not",
    "notnull",
    "null",
    "nullif",
    "numeric",
    "offset",
    "on",
    "only",
    "or",
    "order",
    "out",
    "outer",
    "overlaps",
    "overlay",
    "placing",
    "position",
    "precision",
    "primary",
    "real",
    "references",
    "returning",
    "right",
    "row",
    "select",
    "session_user",
    "setof",
    "similar",
    "smallint",
    "some",
    "substring",
    "symmetric",
    "table",
    "tablesample",
    "then",
    "time",
    "timestamp",
    "to",
    "trailing",
    "treat",
    "trim",
    "true",
    "union",
    "unique",
    "user",
    "using",
    "values",
    "varchar",
    "variadic",
    "verbose",
    "when",
    "where",
    "window",
    "with",
    "xmlattributes",
    "xmlconcat",
    "xmlelement",
    "xmlexists",
    "xmlforest",
    "xmlnamespaces",
    "xmlparse",
    "xmlpi",
    "xmlroot",
    "xmlserialize",
    "xmltable",
];
