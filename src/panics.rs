//! Turns a panic into a value. The caller decides which error it becomes, and whether the state behind it is still
//! sound.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// The payload of an unwind that ends the thread: [`catch`] does not stop it.
#[derive(Debug)]
pub(crate) struct EndOfThread;

/// Runs `work`; a panic in it comes back as its message.
pub(crate) fn catch<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| {
        if panic.is::<EndOfThread>() {
            resume_unwind(panic);
        }
        message(&*panic).to_owned()
    })
}

fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("no message")
}
