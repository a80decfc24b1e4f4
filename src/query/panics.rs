//! A panic while a query is planned or evaluated is that query's error, XX000, and nobody else's.
//!
//! Planning and evaluating change nothing outside of themselves, so nothing is left half done when they are cut off; what
//! does change something (sessions, the coordinator) is not run in here. The panic itself is logged by the hook.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::error::{Error, Result};

/// What the work gives, or the error that its panic is.
pub(super) fn contained<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| Err(panicked(panic.as_ref())))
}

/// The error that stands for a panic.
pub(super) fn panicked(panic: &(dyn Any + Send)) -> Error {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    Error::internal(format!("a query panicked: {}", text.unwrap_or("no message")))
        .with_hint("This is a defect; please report it.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_an_internal_error_with_its_message() {
        let error = contained::<()>(|| panic!("of {}", 7)).unwrap_err();
        assert_eq!((error.code.0, error.message.as_str()), ("XX000", "a query panicked: of 7"));
        assert_eq!(contained(|| Ok(1)).unwrap(), 1);
    }
}
