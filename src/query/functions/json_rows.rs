//! The elements, members and keys of JSON documents as rows: `jsonb_array_elements`, `jsonb_each`, `jsonb_object_keys` and
//! their kin for json and for text.

use std::sync::Arc;

use arrow_array::builder::{ArrayBuilder, StringBuilder};
use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef};
use arrow_schema::{DataType, FieldRef};

use super::json::{as_text, items};
use super::row_sets::Sets;
use crate::error::{Error, Result, SqlState};
use crate::query::sql_types::{marked, plain};

/// `binary`: of jsonb, not json. `text`: values as text instead of JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum JsonRows {
    Elements { binary: bool, text: bool },
    Members { binary: bool, text: bool },
    Keys { binary: bool },
}

impl JsonRows {
    pub fn name(self) -> &'static str {
        match self {
            JsonRows::Elements { binary: true, text: false } => "jsonb_array_elements",
            JsonRows::Elements { binary: true, text: true } => "jsonb_array_elements_text",
            JsonRows::Elements { binary: false, text: false } => "json_array_elements",
            JsonRows::Elements { binary: false, text: true } => "json_array_elements_text",
            JsonRows::Members { binary: true, text: false } => "jsonb_each",
            JsonRows::Members { binary: true, text: true } => "jsonb_each_text",
            JsonRows::Members { binary: false, text: false } => "json_each",
            JsonRows::Members { binary: false, text: true } => "json_each_text",
            JsonRows::Keys { binary: true } => "jsonb_object_keys",
            JsonRows::Keys { binary: false } => "json_object_keys",
        }
    }

    pub fn coerce(self, types: &[DataType]) -> Option<Vec<DataType>> {
        match types {
            [DataType::Utf8 | DataType::Utf8View | DataType::LargeUtf8 | DataType::Null] => {
                Some(vec![DataType::Utf8])
            }
            _ => None,
        }
    }

    pub fn columns(self) -> Vec<FieldRef> {
        let text = || plain(DataType::Utf8);
        let value = |binary: bool, as_text: bool| match (binary, as_text) {
            (_, true) => text(),
            (true, false) => marked(DataType::Utf8, "jsonb"),
            (false, false) => marked(DataType::Utf8, "json"),
        };
        match self {
            JsonRows::Elements { binary, text } => vec![value(binary, text)],
            JsonRows::Members { binary, text: as_text } => vec![text(), value(binary, as_text)],
            JsonRows::Keys { .. } => vec![text()],
        }
    }

    pub fn sets(self, documents: &ArrayRef) -> Result<Sets> {
        let documents =
            documents.as_string_opt::<i32>().ok_or_else(|| Error::internal("JSON is text"))?;
        let (mut keys, mut values) = (StringBuilder::new(), StringBuilder::new());
        let mut lengths = Vec::with_capacity(documents.len());
        for document in documents {
            let before = keys.len().max(values.len());
            if let Some(document) = document {
                self.rows(document.trim_start(), &mut keys, &mut values)?;
            }
            lengths.push(keys.len().max(values.len()) - before);
        }
        let (keys, values): (ArrayRef, ArrayRef) =
            (Arc::new(keys.finish()), Arc::new(values.finish()));
        let columns = match self {
            JsonRows::Elements { .. } => vec![values],
            JsonRows::Members { .. } => vec![keys, values],
            JsonRows::Keys { .. } => vec![keys],
        };
        Sets::of_lengths(lengths, columns)
    }

    fn rows(
        self,
        document: &str,
        keys: &mut StringBuilder,
        values: &mut StringBuilder,
    ) -> Result<()> {
        let wanted = if matches!(self, JsonRows::Elements { .. }) { "[" } else { "{" };
        if !document.starts_with(wanted) {
            return Err(self.refused(document));
        }
        let mut parts = items(document);
        let mut put = |value: &str, text: bool| match text {
            true => values.append_option(as_text(value)),
            false => values.append_value(value),
        };
        match self {
            JsonRows::Elements { text, .. } => parts.for_each(|value| put(value, text)),
            JsonRows::Members { text, .. } => {
                while let (Some(key), Some(value)) = (parts.next(), parts.next()) {
                    keys.append_option(as_text(key));
                    put(value, text);
                }
            }
            JsonRows::Keys { .. } => {
                parts.step_by(2).for_each(|key| keys.append_option(as_text(key)))
            }
        }
        Ok(())
    }

    /// 22023 for a document of the wrong kind.
    fn refused(self, document: &str) -> Error {
        let name = self.name();
        let kind = document.bytes().next();
        let message = match (self, kind) {
            (JsonRows::Elements { binary: true, .. }, Some(b'{')) => {
                "cannot extract elements from an object".to_owned()
            }
            (JsonRows::Elements { binary: true, .. }, _) => {
                "cannot extract elements from a scalar".to_owned()
            }
            (JsonRows::Elements { binary: false, .. }, Some(b'{')) => {
                format!("cannot call {name} on a non-array")
            }
            (JsonRows::Members { binary: true, .. }, _) => {
                format!("cannot call {name} on a non-object")
            }
            (JsonRows::Members { binary: false, .. }, Some(b'[')) => {
                "cannot deconstruct an array as an object".to_owned()
            }
            (JsonRows::Members { binary: false, .. }, _) => {
                "cannot deconstruct a scalar".to_owned()
            }
            (JsonRows::Keys { .. }, Some(b'[')) => format!("cannot call {name} on an array"),
            (JsonRows::Elements { .. } | JsonRows::Keys { .. }, _) => {
                format!("cannot call {name} on a scalar")
            }
        };
        Error::new(SqlState::INVALID_PARAMETER_VALUE, message)
    }
}
