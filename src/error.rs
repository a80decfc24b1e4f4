//! What a client sees when something fails: SQLSTATE, message, DETAIL, HINT and position, as PostgreSQL has them.
//!
//! Messages are lowercase, without a full stop, names quoted; facts belong in DETAIL, what to do in HINT. Secrets never
//! get here: options that carry credentials are a type of their own and print as `[redacted]`.

use std::fmt;

/// PostgreSQL's SQLSTATE codes, as far as Tidewater raises them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SqlState(pub &'static str);

macro_rules! sqlstates {
    ($($(#[$doc:meta])* $name:ident = $code:literal),+ $(,)?) => {
        impl SqlState {
            $($(#[$doc])* pub const $name: SqlState = SqlState($code);)+

            /// The code as one of ours; unknown ones become `XX000`.
            pub fn of(code: &str) -> SqlState {
                match code { $($code => SqlState($code),)+ _ => SqlState::INTERNAL_ERROR }
            }
        }
    };
}

sqlstates! {
    SUCCESSFUL_COMPLETION = "00000",
    WARNING = "01000",
    CONNECTION_EXCEPTION = "08000",
    CONNECTION_FAILURE = "08006",
    PROTOCOL_VIOLATION = "08P01",
    FEATURE_NOT_SUPPORTED = "0A000",
    CARDINALITY_VIOLATION = "21000",
    STRING_DATA_RIGHT_TRUNCATION = "22001",
    NUMERIC_VALUE_OUT_OF_RANGE = "22003",
    INVALID_DATETIME_FORMAT = "22007",
    DATETIME_FIELD_OVERFLOW = "22008",
    DIVISION_BY_ZERO = "22012",
    INVALID_PRECEDING_OR_FOLLOWING_SIZE = "22013",
    INVALID_ARGUMENT_FOR_NTILE = "22014",
    INVALID_ARGUMENT_FOR_NTH_VALUE = "22016",
    INVALID_PARAMETER_VALUE = "22023",
    CHARACTER_NOT_IN_REPERTOIRE = "22021",
    SEQUENCE_LIMIT_EXCEEDED = "2200H",
    INVALID_TEXT_REPRESENTATION = "22P02",
    INVALID_BINARY_REPRESENTATION = "22P03",
    BAD_COPY_FILE_FORMAT = "22P04",
    NOT_NULL_VIOLATION = "23502",
    FOREIGN_KEY_VIOLATION = "23503",
    UNIQUE_VIOLATION = "23505",
    CHECK_VIOLATION = "23514",
    ACTIVE_SQL_TRANSACTION = "25001",
    READ_ONLY_SQL_TRANSACTION = "25006",
    NO_ACTIVE_SQL_TRANSACTION = "25P01",
    IN_FAILED_SQL_TRANSACTION = "25P02",
    IDLE_IN_TRANSACTION_SESSION_TIMEOUT = "25P03",
    DEADLOCK_DETECTED = "40P01",
    INVALID_SQL_STATEMENT_NAME = "26000",
    DEPENDENT_OBJECTS_STILL_EXIST = "2BP01",
    INVALID_CURSOR_NAME = "34000",
    INVALID_SAVEPOINT = "3B001",
    INVALID_CATALOG_NAME = "3D000",
    INVALID_SCHEMA_NAME = "3F000",
    SERIALIZATION_FAILURE = "40001",
    INSUFFICIENT_PRIVILEGE = "42501",
    GENERATED_ALWAYS = "428C9",
    SYNTAX_ERROR = "42601",
    RESERVED_NAME = "42939",
    DUPLICATE_CURSOR = "42P03",
    INVALID_CURSOR_DEFINITION = "42P11",
    INVALID_PREPARED_STATEMENT_DEFINITION = "42P14",
    DUPLICATE_SCHEMA = "42P06",
    DUPLICATE_COLUMN = "42701",
    AMBIGUOUS_COLUMN = "42702",
    UNDEFINED_COLUMN = "42703",
    UNDEFINED_OBJECT = "42704",
    DUPLICATE_OBJECT = "42710",
    DUPLICATE_ALIAS = "42712",
    GROUPING_ERROR = "42803",
    DATATYPE_MISMATCH = "42804",
    WRONG_OBJECT_TYPE = "42809",
    CANNOT_COERCE = "42846",
    UNDEFINED_FUNCTION = "42883",
    UNDEFINED_TABLE = "42P01",
    UNDEFINED_PARAMETER = "42P02",
    DUPLICATE_PREPARED_STATEMENT = "42P05",
    DUPLICATE_TABLE = "42P07",
    WINDOWING_ERROR = "42P20",
    INVALID_TABLE_DEFINITION = "42P16",
    INDETERMINATE_DATATYPE = "42P18",
    INVALID_COLUMN_REFERENCE = "42P10",
    INVALID_OBJECT_DEFINITION = "42P17",
    INSUFFICIENT_RESOURCES = "53000",
    DISK_FULL = "53100",
    OUT_OF_MEMORY = "53200",
    TOO_MANY_CONNECTIONS = "53300",
    CONFIGURATION_LIMIT_EXCEEDED = "53400",
    STATEMENT_TOO_COMPLEX = "54001",
    TOO_MANY_COLUMNS = "54011",
    OBJECT_NOT_IN_PREREQUISITE_STATE = "55000",
    OBJECT_IN_USE = "55006",
    CANT_CHANGE_RUNTIME_PARAM = "55P02",
    QUERY_CANCELED = "57014",
    ADMIN_SHUTDOWN = "57P01",
    IDLE_SESSION_TIMEOUT = "57P05",
    CANNOT_CONNECT_NOW = "57P03",
    IO_ERROR = "58030",
    INTERNAL_ERROR = "XX000",
    DATA_CORRUPTED = "XX001",
}

impl SqlState {
    /// Whether a notice with this code is a warning: PostgreSQL warns of what it ignored in transaction control and where
    /// the code itself is a warning's.
    pub fn is_warning(self) -> bool {
        self.0.starts_with("01") || self.0.starts_with("25")
    }
}

impl fmt::Display for SqlState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

/// An error (or a notice) on its way to a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    pub code: SqlState,
    pub message: String,
    pub detail: Option<String>,
    pub hint: Option<Box<str>>,
    /// 1-based character position in the statement's text.
    pub position: Option<usize>,
    /// Where in the data it happened, as PostgreSQL's CONTEXT lines have it.
    pub context: Option<Box<str>>,
    /// What a constraint's violation is about, for programs that tell one from another.
    pub subject: Option<Box<Subject>>,
}

/// The names that belong to a violated constraint, each where there is one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subject {
    pub table: String,
    pub column: Option<String>,
    pub constraint: Option<String>,
}

pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    pub fn new(code: SqlState, message: impl Into<String>) -> Error {
        Error {
            code,
            message: message.into(),
            detail: None,
            hint: None,
            position: None,
            context: None,
            subject: None,
        }
    }

    /// Something that cannot happen did: XX000.
    pub fn internal(message: impl Into<String>) -> Error {
        Error::new(SqlState::INTERNAL_ERROR, message)
    }

    /// A construct that is refused: 0A000; say in the hint what to do instead.
    pub fn unsupported(message: impl Into<String>) -> Error {
        Error::new(SqlState::FEATURE_NOT_SUPPORTED, message)
    }

    pub fn syntax(message: impl Into<String>) -> Error {
        Error::new(SqlState::SYNTAX_ERROR, message)
    }

    pub fn with_detail(mut self, detail: impl Into<String>) -> Error {
        self.detail = Some(detail.into());
        self
    }

    pub fn with_hint(mut self, hint: impl Into<String>) -> Error {
        self.hint = Some(hint.into().into_boxed_str());
        self
    }

    pub fn with_context(mut self, context: impl Into<String>) -> Error {
        self.context = Some(context.into().into_boxed_str());
        self
    }

    pub fn about_column(mut self, table: &str, column: &str) -> Error {
        let (table, column) = (table.to_owned(), Some(column.to_owned()));
        self.subject = Some(Box::new(Subject { table, column, constraint: None }));
        self
    }

    pub fn about_constraint(mut self, table: &str, constraint: &str) -> Error {
        let (table, constraint) = (table.to_owned(), Some(constraint.to_owned()));
        self.subject = Some(Box::new(Subject { table, column: None, constraint }));
        self
    }

    pub fn at(mut self, position: usize) -> Error {
        self.position = Some(position);
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.message, self.code)?;
        if let Some(detail) = &self.detail {
            write!(f, "; {detail}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}
