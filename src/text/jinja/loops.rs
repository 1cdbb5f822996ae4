//! The `loop` that the body of a loop sees.

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
    /// How many loops of the same statement this one is in.
    pub(super) depth: usize,
    /// The statement, where it may be run again for what is inside of an item.
    pub(super) again: Option<Arc<For>>,
    pub(super) size: Size,
    /// What `changed` was given last, as Python prints it.
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

    /// The item whose turn it is.
    pub(super) fn cycle(&self, args: &Arguments) -> Result<Value, Fault> {
        if args.positional.is_empty() {
            return failed("`loop.cycle` needs items");
        }
        Ok(args.positional[self.place.get() % args.positional.len()].clone())
    }

    /// Whether the values differ from those of the call before.
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
