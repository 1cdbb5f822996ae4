//! Values with Python's semantics: equality, order and containment. Values are immutable, and each knows its depth and
//! its printed size, so printing, comparing and dropping one takes a bounded stack and time.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;

use super::calls::Callable;
use super::display::type_name;
use super::loops::Loop;
use super::text::Text;
use super::{Fault, failed};

/// Nesting of a value, in levels.
pub(crate) const MAX_DEPTH: usize = 128;
/// Approximate printed size of a value, in bytes. The limit matters because values can contain others many times.
pub(crate) const MAX_WEIGHT: usize = 1 << 27;
/// The printed size of a value besides its text.
const NODE_WEIGHT: usize = 8;
/// Mappings with fewer keys compare keys one by one.
const MIN_INDEXED: usize = 9;

#[derive(Debug, Clone)]
pub(crate) enum Value {
    Undefined,
    None,
    Bool(bool),
    Int(i128),
    Float(f64),
    Text(Text),
    List(Rc<List>),
    Tuple(Rc<List>),
    /// A Python generator: items without a length.
    Iterator(Rc<List>),
    Map(Rc<Map>),
    Range(Span),
    /// Index of a namespace of the run.
    Namespace(usize),
    Loop(Rc<Loop>),
    Callable(Rc<Callable>),
}

/// `range(start, end, step)`; `len` is the number of its items.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) start: i128,
    pub(crate) end: i128,
    pub(crate) step: i128,
    pub(crate) len: usize,
}

impl Span {
    pub(crate) fn get(&self, index: usize) -> Value {
        Value::Int(self.start + self.step * index as i128)
    }
}

/// Depth and printed size of a value.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Size {
    pub(crate) depth: usize,
    pub(crate) weight: usize,
}

/// Items and their size.
#[derive(Debug, Default)]
pub(crate) struct List {
    pub(crate) items: Vec<Value>,
    size: Size,
}

/// A mapping in insertion order.
#[derive(Debug, Default)]
pub(crate) struct Map {
    pub(crate) entries: Vec<(Value, Value)>,
    index: HashMap<Key, usize>,
    size: Size,
}

/// The hash key of a value. Equal values have equal keys.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Key {
    Undefined,
    None,
    Int(i128),
    Float(u64),
    Text(Rc<str>),
    Tuple(Vec<Key>),
}

impl Value {
    pub(crate) fn own(text: &str) -> Self {
        Self::Text(Text::own(text))
    }

    pub(crate) fn int(number: usize) -> Self {
        Self::Int(number as i128)
    }

    pub(crate) fn list(items: Vec<Self>) -> Result<Self, Fault> {
        List::new(items).map(|list| Self::List(Rc::new(list)))
    }

    pub(crate) fn tuple(items: Vec<Self>) -> Result<Self, Fault> {
        List::new(items).map(|list| Self::Tuple(Rc::new(list)))
    }

    pub(crate) fn iterator(items: Vec<Self>) -> Result<Self, Fault> {
        List::new(items).map(|list| Self::Iterator(Rc::new(list)))
    }

    pub(crate) fn map(entries: Vec<(Self, Self)>) -> Result<Self, Fault> {
        Map::new(entries).map(|map| Self::Map(Rc::new(map)))
    }

    pub(crate) fn size(&self) -> Size {
        match self {
            Self::List(list) | Self::Tuple(list) | Self::Iterator(list) => list.size,
            Self::Map(map) => map.size,
            Self::Loop(state) => state.size,
            Self::Callable(callable) => callable.size(),
            Self::Text(text) => Size { depth: 0, weight: NODE_WEIGHT + text.len() },
            _ => Size { depth: 0, weight: NODE_WEIGHT },
        }
    }

    pub(crate) fn is_true(&self) -> bool {
        match self {
            Self::Undefined | Self::None => false,
            Self::Bool(is_true) => *is_true,
            Self::Int(number) => *number != 0,
            Self::Float(number) => *number != 0.0,
            Self::Text(text) => !text.is_empty(),
            Self::List(list) | Self::Tuple(list) => !list.items.is_empty(),
            Self::Map(map) => !map.entries.is_empty(),
            Self::Range(span) => span.len > 0,
            Self::Iterator(_) | Self::Namespace(_) | Self::Loop(_) | Self::Callable(_) => true,
        }
    }

    pub(crate) fn is_undefined(&self) -> bool {
        matches!(self, Self::Undefined)
    }

    /// The value of an integer or boolean.
    pub(crate) fn as_int(&self) -> Option<i128> {
        match self {
            Self::Int(number) => Some(*number),
            Self::Bool(is_true) => Some(i128::from(*is_true)),
            _ => None,
        }
    }

    pub(crate) fn as_float(&self) -> Option<f64> {
        match self {
            Self::Float(number) => Some(*number),
            other => other.as_int().map(|number| number as f64),
        }
    }

    pub(crate) fn len(&self) -> Result<usize, Fault> {
        match self {
            Self::Undefined => Ok(0),
            Self::Text(text) => Ok(text.chars().count()),
            Self::List(list) | Self::Tuple(list) | Self::Iterator(list) => Ok(list.items.len()),
            Self::Map(map) => Ok(map.entries.len()),
            Self::Range(span) => Ok(span.len),
            other => failed(format!("{} has no length", type_name(other))),
        }
    }

    /// The items of a loop over this value.
    pub(crate) fn items(&self) -> Result<Vec<Self>, Fault> {
        match self {
            Self::Undefined => Ok(Vec::new()),
            Self::Text(text) => Ok(chars(text).map(Self::Text).collect()),
            Self::List(list) | Self::Tuple(list) | Self::Iterator(list) => Ok(list.items.clone()),
            Self::Map(map) => Ok(map.entries.iter().map(|(key, _)| key.clone()).collect()),
            Self::Range(span) => Ok((0..span.len).map(|index| span.get(index)).collect()),
            other => failed(format!("{} cannot be iterated over", type_name(other))),
        }
    }

    /// The item at an index. Negative indices count from the end.
    pub(crate) fn at(&self, place: i128) -> Option<Self> {
        let len = match self {
            Self::Map(_) | Self::Iterator(_) | Self::Undefined => return None,
            value => value.len().ok()?,
        };
        let place = usize::try_from(if place < 0 { place + len as i128 } else { place }).ok().filter(|at| *at < len)?;
        match self {
            Self::Text(text) => chars(text).nth(place).map(Self::Text),
            Self::List(list) | Self::Tuple(list) => list.items.get(place).cloned(),
            Self::Range(span) => Some(span.get(place)),
            _ => None,
        }
    }

    /// Python's `==`.
    pub(crate) fn equals(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Undefined, Self::Undefined) | (Self::None, Self::None) => true,
            (Self::Text(left), Self::Text(right)) => **left == **right,
            (Self::List(left), Self::List(right)) | (Self::Tuple(left), Self::Tuple(right)) => {
                let items = left.items.iter().zip(&right.items);
                left.items.len() == right.items.len() && items.into_iter().all(|(left, right)| left.equals(right))
            }
            (Self::Map(left), Self::Map(right)) => {
                let has = |(key, value): &(Self, Self)| right.get(key).is_some_and(|other| other.equals(value));
                left.entries.len() == right.entries.len() && left.entries.iter().all(has)
            }
            (Self::Range(left), Self::Range(right)) => left == right,
            (Self::Namespace(left), Self::Namespace(right)) => left == right,
            (Self::Loop(left), Self::Loop(right)) => Rc::ptr_eq(left, right),
            (Self::Callable(left), Self::Callable(right)) => Rc::ptr_eq(left, right),
            _ => match (self.as_int(), other.as_int()) {
                (Some(left), Some(right)) => left == right,
                _ => self.as_float().is_some_and(|left| other.as_float() == Some(left)),
            },
        }
    }

    /// The order of two values. Fails where Python has no order.
    pub(crate) fn order(&self, other: &Self) -> Result<Ordering, Fault> {
        if let (Some(left), Some(right)) = (self.as_int(), other.as_int()) {
            return Ok(left.cmp(&right));
        }
        if let (Some(left), Some(right)) = (self.as_float(), other.as_float()) {
            return Ok(left.partial_cmp(&right).unwrap_or(Ordering::Equal));
        }
        match (self, other) {
            (Self::Text(left), Self::Text(right)) => Ok((**left).cmp(&**right)),
            (Self::List(left), Self::List(right)) | (Self::Tuple(left), Self::Tuple(right)) => {
                for (left, right) in left.items.iter().zip(&right.items) {
                    if !left.equals(right) {
                        return left.order(right);
                    }
                }
                Ok(left.items.len().cmp(&right.items.len()))
            }
            _ => failed(format!("{} and {} have no order", type_name(self), type_name(other))),
        }
    }

    /// `item in self`.
    pub(crate) fn contains(&self, item: &Self) -> Result<bool, Fault> {
        match (self, item) {
            (Self::Text(text), Self::Text(part)) => Ok(text.contains(&**part)),
            (Self::Text(_), other) => failed(format!("a text cannot hold {}", type_name(other))),
            (Self::Map(map), key) => Ok(map.get(key).is_some()),
            (container, item) => Ok(container.items()?.iter().any(|other| other.equals(item))),
        }
    }

    fn key(&self) -> Option<Key> {
        match self {
            Self::Undefined => Some(Key::Undefined),
            Self::None => Some(Key::None),
            Self::Text(text) => Some(Key::Text(Rc::from(&**text))),
            Self::Tuple(list) => list.items.iter().map(Self::key).collect::<Option<_>>().map(Key::Tuple),
            Self::Float(number) => {
                #[expect(clippy::cast_possible_truncation, reason = "compared with the number afterwards")]
                let whole = *number as i128;
                #[expect(clippy::float_cmp, reason = "equal keys are exactly equal")]
                Some(if whole as f64 == *number { Key::Int(whole) } else { Key::Float(number.to_bits()) })
            }
            other => other.as_int().map(Key::Int),
        }
    }
}

/// Each character as a text.
pub(crate) fn chars(text: &Text) -> impl Iterator<Item = Text> + '_ {
    text.char_indices().map(|(at, c)| text.part(&text[at..at + c.len_utf8()]))
}

/// The size of a value with these items. Fails if it is too large.
pub(crate) fn size_around<'a>(inner: impl Iterator<Item = &'a Value>) -> Result<Size, Fault> {
    let mut size = Size { depth: 0, weight: NODE_WEIGHT };
    for value in inner {
        let Size { depth, weight } = value.size();
        size = Size { depth: size.depth.max(depth), weight: size.weight.saturating_add(weight) };
    }
    size.depth += 1;
    if size.depth > MAX_DEPTH {
        return failed(format!("a value is nested deeper than {MAX_DEPTH} levels"));
    }
    if size.weight > MAX_WEIGHT {
        return failed(format!("a value is larger than {MAX_WEIGHT} bytes"));
    }
    Ok(size)
}

impl List {
    fn new(items: Vec<Value>) -> Result<Self, Fault> {
        let size = size_around(items.iter())?;
        Ok(Self { items, size })
    }
}

impl Map {
    /// For equal keys, the first position and the last value count.
    fn new(given: Vec<(Value, Value)>) -> Result<Self, Fault> {
        let size = size_around(given.iter().flat_map(|(key, value)| [key, value]))?;
        let mut map = Self { entries: Vec::with_capacity(given.len()), index: HashMap::new(), size };
        let mut places = HashMap::new();
        for (key, value) in given {
            let Some(hashed) = key.key() else { return failed(format!("{} cannot be a key", type_name(&key))) };
            if let Some(place) = places.get(&hashed) {
                let entry: &mut (Value, Value) = &mut map.entries[*place];
                entry.1 = value;
            } else {
                places.insert(hashed, map.entries.len());
                map.entries.push((key, value));
            }
        }
        if map.entries.len() >= MIN_INDEXED {
            map.index = places;
        }
        Ok(map)
    }

    pub(crate) fn get(&self, key: &Value) -> Option<&Value> {
        if !self.index.is_empty() {
            return key.key().and_then(|key| self.index.get(&key)).map(|place| &self.entries[*place].1);
        }
        self.entries.iter().find(|(other, _)| other.equals(key)).map(|(_, value)| value)
    }

    pub(crate) fn get_text(&self, name: &str) -> Option<&Value> {
        if !self.index.is_empty() {
            return self.get(&Value::own(name));
        }
        self.entries.iter().find(|(key, _)| matches!(key, Value::Text(key) if **key == *name)).map(|(_, value)| value)
    }
}

/// A name in a template.
pub(crate) type Name = Arc<str>;
