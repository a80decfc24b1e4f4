//! The connectors that read, one module each; [`crate::registry`] finds them by name.
//!
//! [`kafka`] reads a broker's topic; [`nexmark`] and [`datagen`] compute their rows from offsets alone and share
//! [`generator`], which paces them and holds the contract for them.

use arrow_array::{ArrayRef, make_array, new_null_array};
use arrow_schema::{DataType, Field};

use crate::contract::ConnectorError;
use crate::registry::SourceSpec;

pub mod datagen;
pub(crate) mod draws;
pub(crate) mod generator;
pub mod kafka;
pub mod nexmark;

/// What stands in a column that nobody uses: nulls, or, where the column is NOT NULL, the type's zero, so that the batch
/// still has the source's schema.
pub(crate) fn unused_column(field: &Field, rows: usize) -> ArrayRef {
    let nulls = new_null_array(field.data_type(), rows);
    if field.is_nullable() || *field.data_type() == DataType::Null {
        return nulls;
    }
    let zeroes = nulls.to_data().into_builder().nulls(None).build();
    zeroes.map_or(nulls, make_array)
}

/// Generators have no messages: nothing to decode and nothing to include.
pub(super) fn refuse_format_and_include(
    spec: &SourceSpec,
    connector: &str,
) -> Result<(), ConnectorError> {
    if spec.format.is_some() || spec.encode.is_some() {
        return Err(ConnectorError::fix(format!("connector \"{connector}\" takes no FORMAT"))
            .with_detail("Its rows are made, not decoded.")
            .with_hint("Leave out FORMAT ... ENCODE."));
    }
    if !spec.include.is_empty() {
        return Err(ConnectorError::fix(format!("connector \"{connector}\" takes no INCLUDE"))
            .with_detail("Its rows do not come from messages."));
    }
    Ok(())
}
