//! The arguments of filters, tests, functions and methods.

use super::display::type_name;
use super::text::Text;
use super::value::{Name, Value};
use super::{Fault, failed};

#[derive(Debug, Default, Clone)]
pub(crate) struct Arguments {
    pub(crate) positional: Vec<Value>,
    pub(crate) named: Vec<(Name, Value)>,
}

impl Arguments {
    /// Assigns the arguments to parameters by name. Fails on unknown or excess arguments.
    pub(crate) fn bind<const N: usize>(self, what: &str, names: [&str; N]) -> Result<[Option<Value>; N], Fault> {
        let mut bound = [const { None }; N];
        if self.positional.len() > N {
            return failed(format!("`{what}` takes {N} arguments at most"));
        }
        for (place, value) in self.positional.into_iter().enumerate() {
            bound[place] = Some(value);
        }
        for (name, value) in self.named {
            match names.iter().position(|other| **other == *name) {
                Some(place) if bound[place].is_none() => bound[place] = Some(value),
                Some(_) => return failed(format!("`{what}` is given `{name}` twice")),
                None => return failed(format!("`{what}` has no parameter `{name}`")),
            }
        }
        Ok(bound)
    }

    /// Fails if there are arguments.
    pub(crate) fn none(self, what: &str) -> Result<(), Fault> {
        self.bind(what, []).map(drop)
    }

    /// Exactly one required argument.
    pub(crate) fn one(self, what: &str, name: &str) -> Result<Value, Fault> {
        let [value] = self.bind(what, [name])?;
        required(what, name, value)
    }
}

pub(crate) fn required(what: &str, name: &str, value: Option<Value>) -> Result<Value, Fault> {
    value.map_or_else(|| failed(format!("`{what}` needs `{name}`")), Ok)
}

/// The value as a text.
pub(crate) fn text(what: &str, value: &Value) -> Result<Text, Fault> {
    match value {
        Value::Text(text) => Ok(text.clone()),
        other => failed(format!("`{what}` needs a text, not {}", type_name(other))),
    }
}

/// The value as a whole number; `None` if it is absent or `none`.
pub(crate) fn whole(what: &str, value: Option<&Value>) -> Result<Option<i128>, Fault> {
    match value {
        None | Some(Value::None) => Ok(None),
        Some(value) => match value.as_int() {
            Some(number) => Ok(Some(number)),
            None => failed(format!("`{what}` needs a whole number, not {}", type_name(value))),
        },
    }
}

/// The value as a boolean.
pub(crate) fn flag(value: Option<&Value>, default: bool) -> bool {
    value.map_or(default, Value::is_true)
}
