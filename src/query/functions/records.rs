//! Rows as values: `ROW(...)`, a table's name standing for its whole row, and the pairs that aggregates collect.
//!
//! The fields keep the marks of their types, which DataFusion's own struct does not.

use std::sync::Arc;

use arrow_array::{ArrayRef, StructArray};
use arrow_schema::{DataType, Field, FieldRef, Fields};
use datafusion::common::{DFSchema, Result as DfResult};
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
    TypeSignature, Volatility,
};

use crate::query::sql_types::{plain, renamed};

/// The function `row`.
pub(super) fn all() -> Vec<Arc<ScalarUDF>> {
    vec![record(vec![]), Arc::new(ScalarUDF::from(Record { name: PAIR, ..pair_of_aggregate() }))]
}

/// The name of the function that makes a pair for an aggregate to collect; no user can write a colon.
pub(in crate::query) const PAIR: &str = "row:pair";

fn pair_of_aggregate() -> Record {
    Record::new(super::json::PAIR.map(str::to_owned).into())
}

fn record(names: Vec<String>) -> Arc<ScalarUDF> {
    Arc::new(ScalarUDF::from(Record::new(names)))
}

/// The whole row of the relation that a name stands for in `schema`; `None` where it is no relation's, or a column's.
pub(in crate::query) fn whole_row(name: &str, schema: &DFSchema) -> Option<Expr> {
    if schema.has_column_with_unqualified_name(name) {
        return None;
    }
    let of_relation = |qualifier: Option<&datafusion::common::TableReference>| {
        qualifier.is_some_and(|qualifier| qualifier.table() == name)
    };
    let columns: Vec<_> = schema.iter().filter(|(q, _)| of_relation(*q)).collect();
    if columns.is_empty() {
        return None;
    }
    let names = columns.iter().map(|(_, f)| crate::query::visible_name(f.name()).to_owned());
    let names = names.collect();
    Some(record(names).call(columns.into_iter().map(|c| Expr::Column(c.into())).collect()))
}

/// Makes a record of its arguments.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Record {
    name: &'static str,
    /// The fields' names; without any they are f1, f2 and so on.
    names: Vec<String>,
    signature: Signature,
}

impl Record {
    fn new(names: Vec<String>) -> Record {
        let signature = Signature::one_of(
            vec![TypeSignature::Nullary, TypeSignature::VariadicAny],
            Volatility::Immutable,
        );
        Record { name: "row", names, signature }
    }

    fn fields(&self, given: &[FieldRef]) -> Fields {
        let field = |(i, field): (usize, &FieldRef)| {
            let name = self.names.get(i).cloned().unwrap_or_else(|| format!("f{}", i + 1));
            match field.data_type() {
                DataType::Null => Field::new(name, DataType::Utf8, true),
                _ => renamed(field, &name, true),
            }
        };
        given.iter().enumerate().map(field).collect()
    }
}

impl ScalarUDFImpl for Record {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, types: &[DataType]) -> DfResult<DataType> {
        let given: Vec<FieldRef> = types.iter().map(|t| plain(t.clone())).collect();
        Ok(DataType::Struct(self.fields(&given)))
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> DfResult<FieldRef> {
        Ok(plain(DataType::Struct(self.fields(args.arg_fields))))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let DataType::Struct(fields) = args.return_field.data_type() else {
            return Err(crate::query::errors::to_datafusion(crate::error::Error::internal(
                "a record is a struct",
            )));
        };
        let columns = args.args.iter().zip(fields).map(|(value, field)| {
            let column = value.to_array(args.number_rows)?;
            Ok(match column.data_type() {
                DataType::Null => arrow_array::new_null_array(field.data_type(), args.number_rows),
                _ => column,
            })
        });
        let columns = columns.collect::<DfResult<Vec<ArrayRef>>>()?;
        let record =
            StructArray::try_new_with_length(fields.clone(), columns, None, args.number_rows)?;
        Ok(ColumnarValue::Array(Arc::new(record)))
    }
}
