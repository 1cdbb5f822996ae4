//! Evaluates expressions.

use std::rc::Rc;

use super::arguments::Arguments;
use super::calls::Callable;
use super::display::{type_name, write_text};
use super::run::Run;
use super::syntax::{Args, Comparison, Expr, Filter, Node, Operator};
use super::text::Writer;
use super::value::{Name, Value};
use super::{Fault, checks, failed, filters, functions, methods, ops, slices};

impl Run {
    pub(super) fn eval(&mut self, expr: &Expr) -> Result<Value, Fault> {
        self.take_step()?;
        match &*expr.node {
            Node::None => Ok(Value::None),
            Node::Bool(is_true) => Ok(Value::Bool(*is_true)),
            Node::Int(number) => Ok(Value::Int(*number)),
            Node::Float(number) => Ok(Value::Float(*number)),
            Node::Text(text) => Ok(Value::own(text)),
            Node::Name(name) => Ok(self.named(name)),
            node => self.deeper(|run| run.eval_node(node)),
        }
    }

    fn named(&self, name: &str) -> Value {
        self.lookup(name).or_else(|| functions::named(name)).unwrap_or(Value::Undefined)
    }

    fn eval_node(&mut self, node: &Node) -> Result<Value, Fault> {
        match node {
            Node::List(items) => self.eval_all(items).and_then(Value::list),
            Node::Tuple(items) => self.eval_all(items).and_then(Value::tuple),
            Node::Map(entries) => self.eval_map(entries),
            Node::Attribute(inner, name) => self.eval_attribute(inner, name),
            Node::Item(inner, key) => self.eval_item(inner, key),
            Node::Slice(inner, parts) => self.eval_slice(inner, parts),
            Node::Call(callee, args) => self.eval_call(callee, args, None),
            Node::Filter(inner, filter) => {
                let value = self.eval(inner)?;
                self.filter(value, filter)
            }
            Node::Test { value, name, args, is_negated } => {
                let is_true = self.eval_test(value, name, args)?;
                Ok(Value::Bool(is_true != *is_negated))
            }
            node => self.eval_operator(node),
        }
    }

    fn eval_attribute(&mut self, inner: &Expr, name: &str) -> Result<Value, Fault> {
        let value = self.eval(inner)?;
        self.attribute(&value, name).map_err(|fault| of_undefined(fault, &value, inner))
    }

    fn eval_item(&mut self, inner: &Expr, key: &Expr) -> Result<Value, Fault> {
        let value = self.eval(inner)?;
        let key = self.eval(key)?;
        self.item(&value, &key).map_err(|fault| of_undefined(fault, &value, inner))
    }

    fn eval_slice(&mut self, inner: &Expr, parts: &[Option<Expr>; 3]) -> Result<Value, Fault> {
        let value = self.eval(inner)?;
        let mut bounds = [const { None }; 3];
        for (bound, part) in bounds.iter_mut().zip(parts) {
            *bound = part.as_ref().map(|part| self.eval(part)).transpose()?;
        }
        slices::slice(self, &value, &bounds).map_err(|fault| of_undefined(fault, &value, inner))
    }

    fn eval_test(&mut self, value: &Expr, name: &str, args: &Args) -> Result<bool, Fault> {
        let value = self.eval(value)?;
        let args = self.arguments(args)?;
        checks::check(self, name, &value, args)
    }

    fn eval_operator(&mut self, node: &Node) -> Result<Value, Fault> {
        match node {
            Node::Not(inner) => Ok(Value::Bool(!self.eval(inner)?.is_true())),
            Node::Minus(inner) => ops::minus(&self.eval(inner)?),
            Node::Plus(inner) => ops::plus(&self.eval(inner)?),
            Node::And(items) => self.first_that(items, false),
            Node::Or(items) => self.first_that(items, true),
            Node::Join(items) => self.eval_join(items),
            Node::Binary(operator, left, right) => self.eval_binary(*operator, left, right),
            Node::Compare(first, others) => self.compare(first, others),
            Node::If { condition, then, otherwise } => {
                if self.eval(condition)?.is_true() {
                    return self.eval(then);
                }
                otherwise.as_ref().map_or(Ok(Value::Undefined), |otherwise| self.eval(otherwise))
            }
            _ => failed("it is not an expression"),
        }
    }

    fn eval_join(&mut self, items: &[Expr]) -> Result<Value, Fault> {
        let mut out = Writer::default();
        for value in self.eval_all(items)? {
            let before = out.len();
            write_text(&mut out, &value);
            self.take_growth(before, out.len())?;
        }
        Ok(Value::Text(out.finish()))
    }

    fn eval_binary(&mut self, operator: Operator, left: &Expr, right: &Expr) -> Result<Value, Fault> {
        let first = self.eval(left)?;
        let second = self.eval(right)?;
        let result = ops::binary(self, operator, &first, &second);
        result.map_err(|fault| of_undefined(of_undefined(fault, &second, right), &first, left))
    }

    fn eval_all(&mut self, items: &[Expr]) -> Result<Vec<Value>, Fault> {
        items.iter().map(|item| self.eval(item)).collect()
    }

    fn eval_map(&mut self, entries: &[(Expr, Expr)]) -> Result<Value, Fault> {
        let mut values = Vec::with_capacity(entries.len());
        for (key, value) in entries {
            values.push((self.eval(key)?, self.eval(value)?));
        }
        Value::map(values)
    }

    /// The first value with this truth value, else the last value.
    fn first_that(&mut self, items: &[Expr], is_true: bool) -> Result<Value, Fault> {
        let mut value = Value::Undefined;
        for item in items {
            value = self.eval(item)?;
            if value.is_true() == is_true {
                break;
            }
        }
        Ok(value)
    }

    fn compare(&mut self, first: &Expr, others: &[(Comparison, Expr)]) -> Result<Value, Fault> {
        let mut left = self.eval(first)?;
        for (comparison, right) in others {
            let right = self.eval(right)?;
            self.take_items(left.size().weight.min(right.size().weight) / 1024)?;
            if !ops::compare(*comparison, &left, &right)? {
                return Ok(Value::Bool(false));
            }
            left = right;
        }
        Ok(Value::Bool(true))
    }

    pub(super) fn arguments(&mut self, args: &Args) -> Result<Arguments, Fault> {
        let mut positional = self.eval_all(&args.positional)?;
        if let Some(rest) = &args.rest {
            positional.extend(self.eval(rest)?.items()?);
        }
        let mut named = Vec::with_capacity(args.named.len());
        for (name, value) in &args.named {
            named.push((Name::clone(name), self.eval(value)?));
        }
        if let Some(rest) = &args.named_rest {
            match self.eval(rest)? {
                Value::Map(map) => named.extend(map.entries.iter().filter_map(|(key, value)| match key {
                    Value::Text(key) => Some((Name::from(&**key), value.clone())),
                    _ => None,
                })),
                Value::Undefined => {}
                other => return failed(format!("`**` needs a mapping, not {}", type_name(&other))),
            }
        }
        Ok(Arguments { positional, named })
    }

    pub(super) fn filter(&mut self, value: Value, filter: &Filter) -> Result<Value, Fault> {
        let args = self.arguments(&filter.args)?;
        filters::apply(self, &filter.name, value, args)
    }

    fn eval_call(&mut self, function: &Expr, args: &Args, caller: Option<Value>) -> Result<Value, Fault> {
        if let Node::Attribute(inner, name) = &*function.node {
            let object = self.eval(inner)?;
            let args = self.arguments(args)?;
            let result = self.call_method(&object, name, args, caller);
            return result.map_err(|fault| of_undefined(fault, &object, inner));
        }
        let value = self.eval(function)?;
        let args = self.arguments(args)?;
        let result = self.call(&value, args, caller);
        result.map_err(|fault| of_undefined(fault, &value, function))
    }

    /// Evaluates a call block: calls its macro with `caller`.
    pub(super) fn call_with(&mut self, call: &Expr, caller: Value) -> Result<Value, Fault> {
        match &*call.node {
            Node::Call(function, args) => self.deeper(|run| run.eval_call(function, args, Some(caller))),
            _ => failed("`call` needs a call"),
        }
    }

    fn call_method(
        &mut self,
        object: &Value,
        name: &str,
        args: Arguments,
        caller: Option<Value>,
    ) -> Result<Value, Fault> {
        if methods::has(object, name) {
            return methods::call(self, object, name, args);
        }
        let value = self.attribute(object, name)?;
        if value.is_undefined() {
            return failed(format!("{} has no method `{name}`", type_name(object)));
        }
        self.call(&value, args, caller)
    }

    /// `value.name`: a method, else an item, as in Jinja2.
    pub(super) fn attribute(&self, value: &Value, name: &str) -> Result<Value, Fault> {
        if value.is_undefined() {
            return failed(format!("an undefined value has no attribute `{name}`"));
        }
        if methods::has(value, name) {
            let method = Callable::Method(value.clone(), name.into());
            return Ok(Value::Callable(Rc::new(method)));
        }
        let found = match value {
            Value::Map(map) => map.get_text(name).cloned(),
            Value::Namespace(number) => {
                self.namespaces[*number].iter().find(|(other, _)| **other == *name).map(|(_, value)| value.clone())
            }
            Value::Loop(state) => state.attribute(name),
            // Pairs from `groupby` have named items.
            Value::Tuple(pair) if name == "grouper" => pair.items.first().cloned(),
            Value::Tuple(pair) if name == "list" => pair.items.get(1).cloned(),
            Value::Callable(callable) => callable.attribute(name),
            _ => None,
        };
        Ok(found.unwrap_or(Value::Undefined))
    }

    /// `value[key]`: an item, else an attribute.
    pub(super) fn item(&self, value: &Value, key: &Value) -> Result<Value, Fault> {
        let found = match (value, key) {
            (Value::Undefined, _) => return failed("an undefined value has no items"),
            (Value::Map(map), key) => map.get(key).cloned(),
            (value, key) => key.as_int().and_then(|place| value.at(place)),
        };
        match (found, key) {
            (Some(found), _) => Ok(found),
            (None, Value::Text(name)) => self.attribute(value, name),
            (None, _) => Ok(Value::Undefined),
        }
    }
}

/// Names the undefined expression in the message, if one caused the fault.
fn of_undefined(fault: Fault, value: &Value, expr: &Expr) -> Fault {
    match (fault, value, described(expr)) {
        (Fault::Failed { line, .. }, Value::Undefined, Some(name)) => {
            Fault::Failed { message: format!("`{name}` is undefined"), line }
        }
        (fault, ..) => fault,
    }
}

fn described(expr: &Expr) -> Option<String> {
    match &*expr.node {
        Node::Name(name) => Some(name.to_string()),
        Node::Attribute(inner, name) => Some(format!("{}.{name}", described(inner)?)),
        Node::Item(inner, key) => {
            let key = match &*key.node {
                Node::Text(key) => format!("'{key}'"),
                Node::Int(place) => place.to_string(),
                _ => "…".to_owned(),
            };
            Some(format!("{}[{key}]", described(inner)?))
        }
        _ => None,
    }
}
