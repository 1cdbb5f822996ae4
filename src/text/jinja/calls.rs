//! Calls of macros, functions, methods and callable objects.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use super::arguments::Arguments;
use super::display::type_name;
use super::functions::Function;
use super::run::Run;
use super::syntax::Macro;
use super::text::Text;
use super::value::{Name, Size, Value};
use super::{Fault, failed, functions, methods};

/// A value that can be called.
#[derive(Debug)]
pub(crate) enum Callable {
    Function(Function),
    Method(Value, Name),
    Macro(MacroValue),
    /// Returns an empty text the first time, and then its separator.
    Joiner(Text, Cell<bool>),
    /// Returns the items of a list one after another.
    Cycler(Value, Cell<usize>),
}

/// A macro and the scope of its definition.
#[derive(Debug)]
pub(crate) struct MacroValue {
    pub(super) definition: Arc<Macro>,
    /// The scope of the definition.
    pub(super) scope: usize,
}

impl Callable {
    pub(super) fn size(&self) -> Size {
        match self {
            Self::Method(value, _) | Self::Cycler(value, _) => {
                let Size { depth, weight } = value.size();
                Size { depth: depth + 1, weight }
            }
            Self::Function(_) | Self::Macro(_) | Self::Joiner(..) => Size::default(),
        }
    }

    pub(super) fn attribute(&self, name: &str) -> Option<Value> {
        match (self, name) {
            (Self::Macro(of), "name") => Some(Value::own(&of.definition.name)),
            (Self::Cycler(items, place), "current") => items.at(place.get() as i128),
            _ => None,
        }
    }
}

impl Run {
    pub(super) fn call(&mut self, value: &Value, args: Arguments, caller: Option<Value>) -> Result<Value, Fault> {
        match value {
            Value::Callable(callable) => match &**callable {
                Callable::Function(function) => functions::call(self, *function, args),
                Callable::Method(object, name) => methods::call(self, object, name, args),
                Callable::Macro(of) => self.call_macro(of, args, caller),
                Callable::Joiner(text, is_first) => {
                    let is_first = is_first.replace(false);
                    Ok(Value::Text(if is_first { Text::own("") } else { text.clone() }))
                }
                Callable::Cycler(..) => failed("a cycler is not a function: call its `next`"),
            },
            Value::Loop(state) => match &state.again {
                Some(each) => {
                    let over = args.one("loop", "items")?;
                    let (text, ()) = self.captured(|run| run.each(each, &over, state.depth + 1))?;
                    Ok(Value::Text(text))
                }
                None => failed("`loop` can be called in a loop that is `recursive`"),
            },
            other => failed(format!("{} cannot be called", type_name(other))),
        }
    }

    fn call_macro(&mut self, of: &MacroValue, args: Arguments, caller: Option<Value>) -> Result<Value, Fault> {
        let (text, _) = self.captured(|run| {
            run.scoped_in(of.scope, |run| {
                run.bind_params(&of.definition, args)?;
                if let Some(caller) = caller {
                    run.store("caller", caller);
                }
                run.body(&of.definition.body)
            })
        })?;
        Ok(Value::Text(text))
    }

    fn bind_params(&mut self, definition: &Macro, args: Arguments) -> Result<(), Fault> {
        let mut positional = args.positional.into_iter();
        let mut named = args.named;
        for (name, default) in &definition.params {
            let place = named.iter().position(|(other, _)| other == name);
            let value = match (positional.next(), place) {
                (Some(_), Some(_)) => return failed(format!("`{}` is given `{name}` twice", definition.name)),
                (Some(value), None) => value,
                (None, Some(place)) => named.remove(place).1,
                (None, None) => match default {
                    Some(default) => self.eval(default)?,
                    None => Value::Undefined,
                },
            };
            self.store(name, value);
        }
        let entries = named.into_iter().map(|(name, value)| (Value::own(&name), value)).collect();
        self.store("varargs", Value::tuple(positional.collect())?);
        self.store("kwargs", Value::map(entries)?);
        Ok(())
    }
}

/// A callable as a value.
pub(super) fn callable(callable: Callable) -> Value {
    Value::Callable(Rc::new(callable))
}
