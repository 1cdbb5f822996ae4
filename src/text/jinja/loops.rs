//! The variable `loop` inside a loop.

use std::cell::{Cell, RefCell};
use std::sync::Arc;

use super::Fault;
use super::arguments::Arguments;
use super::display::write_repr;
use super::failed;
use super::syntax::For;
use super::text::Writer;
use super::value::{Size, Value, size_around};

#[derive(Debug)]
pub(crate) struct Loop {
    pub(super) items: Vec<Value>,
    place: Cell<usize>,
    /// Nesting depth of recursive calls of the same loop.
    pub(super) depth: usize,
    /// The loop statement, if it is recursive.
    pub(super) again: Option<Arc<For>>,
    pub(super) size: Size,
    /// The arguments of the last `changed`, as `repr` formats them.
    last: RefCell<Option<String>>,
}

impl Loop {
    pub(super) fn new(items: Vec<Value>, each: &Arc<For>, depth: usize) -> Result<Self, Fault> {
        let again = each.is_recursive.then(|| Arc::clone(each));
        let size = size_around(items.iter())?;
        Ok(Self { items, place: Cell::new(0), depth, again, size, last: RefCell::new(None) })
    }

    pub(super) fn go_to(&self, place: usize) {
        self.place.set(place);
    }

    pub(super) fn attribute(&self, name: &str) -> Option<Value> {
        let (place, len) = (self.place.get(), self.items.len());
        Some(match name {
            "index" => Value::int(place + 1),
            "index0" => Value::int(place),
            "revindex" => Value::int(len - place),
            "revindex0" => Value::int(len - place - 1),
            "first" => Value::Bool(place == 0),
            "last" => Value::Bool(place + 1 == len),
            "length" => Value::int(len),
            "depth" => Value::int(self.depth + 1),
            "depth0" => Value::int(self.depth),
            "previtem" => place.checked_sub(1).and_then(|place| self.items.get(place)).cloned()?,
            "nextitem" => self.items.get(place + 1).cloned()?,
            _ => return None,
        })
    }

    /// The argument for the current iteration.
    pub(super) fn cycle(&self, args: &Arguments) -> Result<Value, Fault> {
        if args.positional.is_empty() {
            return failed("`loop.cycle` needs items");
        }
        Ok(args.positional[self.place.get() % args.positional.len()].clone())
    }

    /// Whether the arguments differ from those of the last call.
    pub(super) fn changed(&self, args: &Arguments) -> Value {
        let mut out = Writer::default();
        for value in &args.positional {
            write_repr(&mut out, value);
            out.push_own(",");
        }
        let (now, _) = out.into_parts();
        let before = self.last.replace(Some(now.clone()));
        Value::Bool(before != Some(now))
    }
}
