//! stub
use crate::contract::{ConnectorError, Source};
use crate::registry::SourceSpec;
use std::sync::Arc;
pub(crate) fn open(_spec: &SourceSpec) -> Result<Arc<dyn Source>, ConnectorError> {
    Err(ConnectorError::fix("no"))
}
