//! SQL functions about sessions: `current_setting(name [, missing_ok])`, `set_config(name, value, is_local)`,
//! `pg_cancel_backend(pid)` and `pg_terminate_backend(pid)`.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int32Type;
use arrow_array::{Array, BooleanArray, StringArray};
use arrow_schema::DataType;
use datafusion::error::Result as DfResult;
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature,
    Volatility,
};

use super::settings::{Settings, unknown};
use crate::backends::Backends;
use crate::error::Error;
use crate::query::errors::to_datafusion;

/// The session's function of this name, over its settings as they are now.
pub fn session_function(
    name: &str,
    settings: &Settings,
    backends: &Arc<Backends>,
) -> Option<Arc<ScalarUDF>> {
    match name {
        "current_setting" => {}
        "pg_cancel_backend" | "pg_terminate_backend" => {
            let signature = Signature::exact(vec![DataType::Int32], Volatility::Volatile);
            let (terminate, backends) = (name == "pg_terminate_backend", backends.clone());
            return Some(Arc::new(ScalarUDF::from(Stop { signature, terminate, backends })));
        }
        "set_config" => {
            let types = vec![DataType::Utf8, DataType::Utf8, DataType::Boolean];
            let signature = Signature::exact(types, Volatility::Volatile);
            let settings = settings.clone();
            return Some(Arc::new(ScalarUDF::from(SetConfig { signature, settings })));
        }
        _ => return None,
    }
    let text = TypeSignature::Exact(vec![DataType::Utf8]);
    let lenient = TypeSignature::Exact(vec![DataType::Utf8, DataType::Boolean]);
    let signature = Signature::one_of(vec![text, lenient], Volatility::Stable);
    let values = settings
        .all()
        .into_iter()
        .chain(settings.custom())
        .map(|(name, value)| (name.to_lowercase(), value));
    Some(Arc::new(ScalarUDF::from(CurrentSetting { signature, values: values.collect() })))
}

#[derive(Debug)]
struct CurrentSetting {
    signature: Signature,
    /// By lower-case name.
    values: BTreeMap<String, String>,
}

impl PartialEq for CurrentSetting {
    fn eq(&self, other: &Self) -> bool {
        self.values == other.values
    }
}

impl Eq for CurrentSetting {}

impl Hash for CurrentSetting {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.values.hash(state);
    }
}

impl CurrentSetting {
    fn of(&self, name: &str, missing_ok: bool) -> DfResult<Option<String>> {
        match self.values.get(&name.to_lowercase()) {
            Some(value) => Ok(Some(value.clone())),
            None if missing_ok => Ok(None),
            None => Err(to_datafusion(unknown(name))),
        }
    }
}

impl ScalarUDFImpl for CurrentSetting {
    fn name(&self) -> &str {
        "current_setting"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _types: &[DataType]) -> DfResult<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let names = args.args[0].to_array(args.number_rows)?;
        let names = names
            .as_string_opt::<i32>()
            .ok_or_else(|| to_datafusion(Error::internal("a setting's name is text")))?;
        let lenient = args.args.get(1).map(|arg| arg.to_array(args.number_rows)).transpose()?;
        let lenient = lenient.as_ref().map(|array| array.as_boolean());
        let values = (0..names.len()).map(|row| {
            let missing_ok = lenient.is_some_and(|l| l.is_valid(row) && l.value(row));
            match names.is_null(row) {
                true => Ok(None),
                false => self.of(names.value(row), missing_ok),
            }
        });
        Ok(ColumnarValue::Array(Arc::new(values.collect::<DfResult<StringArray>>()?)))
    }
}

/// `set_config(name, value, is_local)`: SET or SET LOCAL, from the session's next statement on.
#[derive(Debug)]
struct SetConfig {
    signature: Signature,
    settings: Settings,
}

impl PartialEq for SetConfig {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other)
    }
}

impl Eq for SetConfig {}

impl Hash for SetConfig {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name().hash(state);
    }
}

impl ScalarUDFImpl for SetConfig {
    fn name(&self) -> &str {
        "set_config"
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _types: &[DataType]) -> DfResult<DataType> {
        Ok(DataType::Utf8)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let arrays = args
            .args
            .iter()
            .map(|arg| arg.to_array(args.number_rows))
            .collect::<DfResult<Vec<_>>>()?;
        let text = |i: usize| {
            let texts: Option<&StringArray> = arrays[i].as_string_opt();
            texts.ok_or_else(|| to_datafusion(Error::internal("a setting is text")))
        };
        let (names, values) = (text(0)?, text(1)?);
        let local = arrays[2].as_boolean();
        let set = (0..names.len()).map(|row| {
            if names.is_null(row) || values.is_null(row) {
                return Ok(None);
            }
            let local = local.is_valid(row) && local.value(row);
            self.settings
                .request(names.value(row), values.value(row), local)
                .map(Some)
                .map_err(to_datafusion)
        });
        Ok(ColumnarValue::Array(Arc::new(set.collect::<DfResult<StringArray>>()?)))
    }
}

/// `pg_cancel_backend(pid)` stops what a session runs, `pg_terminate_backend(pid)` the session; whether there is one.
struct Stop {
    signature: Signature,
    terminate: bool,
    backends: Arc<Backends>,
}

impl std::fmt::Debug for Stop {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl PartialEq for Stop {
    fn eq(&self, other: &Self) -> bool {
        self.terminate == other.terminate
    }
}

impl Eq for Stop {}

impl Hash for Stop {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.terminate.hash(state);
    }
}

impl ScalarUDFImpl for Stop {
    fn name(&self) -> &str {
        if self.terminate { "pg_terminate_backend" } else { "pg_cancel_backend" }
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _types: &[DataType]) -> DfResult<DataType> {
        Ok(DataType::Boolean)
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> DfResult<ColumnarValue> {
        let pids = args.args[0].to_array(args.number_rows)?;
        let stop = |pid: Option<i32>| {
            let found = self.backends.get(pid?);
            match &found {
                Some(backend) if self.terminate => backend.terminate.cancel(),
                Some(backend) => backend.cancel(),
                None => {}
            }
            Some(found.is_some())
        };
        let stopped: BooleanArray = pids.as_primitive::<Int32Type>().iter().map(stop).collect();
        Ok(ColumnarValue::Array(Arc::new(stopped)))
    }
}
