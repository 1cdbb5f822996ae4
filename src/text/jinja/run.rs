//! Runs the statements of a template: scopes, captured text and the budget. `eval` evaluates expressions.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use super::calls::{Callable, MacroValue};
use super::display::write_text;
use super::loops::Loop;
use super::syntax::{Body, Expr, Filter, For, Kind, Macro, Statement, Target};
use super::text::{Text, Writer};
use super::value::{Name, Value};
use super::{Fault, Limits, Rendered, failed, filters};
use crate::text::date::Clock;

/// Nesting of statements, expressions and macro calls while they run. Each level takes up to a few KB of stack.
const MAX_NESTING: usize = 400;
/// The time is checked once in this many steps.
const STEPS_PER_LOOK: u64 = 1 << 12;
/// The cost of a list item, in bytes.
const ITEM_BYTES: usize = 64;
/// Bytes that count as one more step.
const BYTES_PER_STEP: usize = 256;

/// The names of a block, and the scope around it.
#[derive(Default)]
struct Scope {
    values: Vec<(Name, Value)>,
    /// Index of the scope around it; the first scope has its own index.
    around: usize,
}

pub(crate) struct Run {
    /// All open scopes. Code sees the current scope and the scopes around it, so a macro does not see the scope of its
    /// caller.
    scopes: Vec<Scope>,
    current: usize,
    pub(super) namespaces: Vec<Vec<(Name, Value)>>,
    /// The output, and above it the texts that are being captured.
    out: Vec<Writer>,
    escapes: bool,
    nesting: usize,
    limits: Limits,
    start: Instant,
    pub(super) clock: Clock,
}

/// How a block continues after a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flow {
    Next,
    Break,
    Continue,
}

impl Run {
    pub(crate) fn new(variables: Vec<(Name, Value)>, limits: Limits, clock: Clock) -> Self {
        Self {
            scopes: vec![Scope { values: variables, around: 0 }],
            current: 0,
            namespaces: Vec::new(),
            out: vec![Writer::default()],
            escapes: false,
            nesting: 0,
            limits,
            start: Instant::now(),
            clock,
        }
    }

    pub(crate) fn whole(mut self, body: &Body) -> Result<Rendered, Fault> {
        self.body(body)?;
        let (text, outside) = self.out.pop().unwrap_or_default().into_parts();
        Ok(Rendered { text, outside })
    }

    /// Counts a step.
    pub(crate) fn take_step(&mut self) -> Result<(), Fault> {
        self.take_steps(1)
    }

    fn take_steps(&mut self, steps: u64) -> Result<(), Fault> {
        let before = self.limits.steps / STEPS_PER_LOOK;
        let Some(left) = self.limits.steps.checked_sub(steps) else {
            return Err(Fault::Spent("did not end within its budget of steps".to_owned()));
        };
        self.limits.steps = left;
        if left / STEPS_PER_LOOK != before && self.start.elapsed() > self.limits.time {
            let time = self.limits.time.as_millis();
            return Err(Fault::Spent(format!("did not end within its budget of {time} ms")));
        }
        Ok(())
    }

    /// Counts a text of this length, before it is created.
    pub(crate) fn take_bytes(&mut self, bytes: usize) -> Result<(), Fault> {
        if bytes > self.limits.text_bytes {
            return Err(Fault::Spent(format!("creates a text longer than {} bytes", self.limits.text_bytes)));
        }
        self.take_memory(bytes)
    }

    /// Counts the growth of a text.
    pub(crate) fn take_growth(&mut self, before: usize, after: usize) -> Result<(), Fault> {
        if after > self.limits.text_bytes {
            return self.take_bytes(after);
        }
        self.take_memory(after - before)
    }

    /// Counts a list of this length, before it is created.
    pub(crate) fn take_items(&mut self, items: usize) -> Result<(), Fault> {
        self.take_memory(items.saturating_mul(ITEM_BYTES))
    }

    fn take_memory(&mut self, bytes: usize) -> Result<(), Fault> {
        let Some(left) = self.limits.bytes.checked_sub(bytes as u64) else {
            return Err(Fault::Spent("creates more texts and lists than its budget allows".to_owned()));
        };
        self.limits.bytes = left;
        self.take_steps((bytes / BYTES_PER_STEP) as u64)
    }

    /// Runs code one nesting level deeper.
    pub(super) fn deeper<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T, Fault>) -> Result<T, Fault> {
        if self.nesting == MAX_NESTING {
            return Err(Fault::Spent(format!("calls itself more than {MAX_NESTING} levels deep")));
        }
        self.nesting += 1;
        let result = work(self);
        self.nesting -= 1;
        result
    }

    pub(super) fn body(&mut self, body: &Body) -> Result<Flow, Fault> {
        self.deeper(|run| {
            for statement in body {
                let flow = run.statement(statement).map_err(|fault| placed(fault, statement.line))?;
                if flow != Flow::Next {
                    return Ok(flow);
                }
            }
            Ok(Flow::Next)
        })
    }

    fn statement(&mut self, statement: &Statement) -> Result<Flow, Fault> {
        self.take_step()?;
        match &statement.kind {
            Kind::Write(text) => self.write(|out| out.push_own(text))?,
            Kind::Print(expr) => self.print(expr)?,
            Kind::If(branches) => return self.branches(branches),
            Kind::For(each) => self.for_block(each)?,
            Kind::Set(target, value) => self.set_value(target, value)?,
            Kind::SetBlock(target, filters, body) => return self.set_block(target, filters, body),
            Kind::Macro(definition) => {
                let value = self.macro_value(definition);
                self.store(&definition.name, value);
            }
            Kind::Call(call, caller) => self.call_block(call, caller)?,
            Kind::FilterBlock(filters, body) => return self.filter_block(filters, body),
            Kind::With(values, body) => return self.with(values, body),
            Kind::Escape(wanted, body) => return self.escape_block(wanted, body),
            Kind::Break => return Ok(Flow::Break),
            Kind::Continue => return Ok(Flow::Continue),
            Kind::Refused(tag) => return failed(format!("`{tag}` needs another template, and there is none")),
        }
        Ok(Flow::Next)
    }

    fn for_block(&mut self, each: &Arc<For>) -> Result<(), Fault> {
        let over = self.eval(&each.over)?;
        self.each(each, &over, 0)
    }

    fn set_value(&mut self, target: &Target, value: &Expr) -> Result<(), Fault> {
        let value = self.eval(value)?;
        self.assign(target, value)
    }

    fn set_block(&mut self, target: &Target, filters: &[Filter], body: &Body) -> Result<Flow, Fault> {
        let (text, flow) = self.captured(|run| run.scoped(|run| run.body(body)))?;
        let value = self.apply(filters, Value::Text(text))?;
        self.assign(target, value)?;
        Ok(flow)
    }

    fn call_block(&mut self, call: &Expr, caller: &Arc<Macro>) -> Result<(), Fault> {
        let caller = self.macro_value(caller);
        let value = self.call_with(call, caller)?;
        self.write(|out| write_text(out, &value))
    }

    fn filter_block(&mut self, filters: &[Filter], body: &Body) -> Result<Flow, Fault> {
        let (text, flow) = self.captured(|run| run.scoped(|run| run.body(body)))?;
        let value = self.apply(filters, Value::Text(text))?;
        self.write(|out| write_text(out, &value))?;
        Ok(flow)
    }

    fn escape_block(&mut self, wanted: &Expr, body: &Body) -> Result<Flow, Fault> {
        let escapes = self.eval(wanted)?.is_true();
        let before = std::mem::replace(&mut self.escapes, escapes);
        let flow = self.scoped(|run| run.body(body));
        self.escapes = before;
        flow
    }

    pub(super) fn macro_value(&self, definition: &Arc<Macro>) -> Value {
        let value = MacroValue { definition: Arc::clone(definition), scope: self.current };
        Value::Callable(Rc::new(Callable::Macro(value)))
    }

    fn branches(&mut self, branches: &[(Option<Expr>, Body)]) -> Result<Flow, Fault> {
        for (condition, body) in branches {
            let is_taken = match condition {
                Some(condition) => self.eval(condition)?.is_true(),
                None => true,
            };
            if is_taken {
                return self.body(body);
            }
        }
        Ok(Flow::Next)
    }

    fn print(&mut self, expr: &Expr) -> Result<(), Fault> {
        let mut value = self.eval(expr)?;
        if self.escapes && matches!(value, Value::Text(_)) {
            value = filters::escape(&value);
        }
        self.write(|out| write_text(out, &value))
    }

    fn write(&mut self, write: impl FnOnce(&mut Writer)) -> Result<(), Fault> {
        let Some(out) = self.out.last_mut() else { return Ok(()) };
        let before = out.len();
        write(out);
        let after = out.len();
        self.take_growth(before, after)
    }

    /// Runs code and captures its output as a text.
    pub(super) fn captured<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T, Fault>) -> Result<(Text, T), Fault> {
        self.out.push(Writer::default());
        let result = work(self);
        let text = self.out.pop().unwrap_or_default().finish();
        result.map(|result| (text, result))
    }

    /// Runs code in a new scope.
    pub(super) fn scoped<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T, Fault>) -> Result<T, Fault> {
        self.scoped_in(self.current, work)
    }

    /// Runs code in a new scope inside of scope `around`.
    pub(super) fn scoped_in<T>(
        &mut self,
        around: usize,
        work: impl FnOnce(&mut Self) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        // A macro can outlive the scope of its definition. Then it sees only the template's variables.
        let around = if around < self.scopes.len() { around } else { 0 };
        self.scopes.push(Scope { values: Vec::new(), around });
        let before = std::mem::replace(&mut self.current, self.scopes.len() - 1);
        let result = work(self);
        self.current = before;
        self.scopes.pop();
        result
    }

    fn with(&mut self, values: &[(Target, Expr)], body: &Body) -> Result<Flow, Fault> {
        let given = values.iter().map(|(_, value)| self.eval(value)).collect::<Result<Vec<_>, _>>()?;
        self.scoped(|run| {
            for ((target, _), value) in values.iter().zip(given) {
                run.assign(target, value)?;
            }
            run.body(body)
        })
    }

    fn apply(&mut self, filters: &[Filter], value: Value) -> Result<Value, Fault> {
        filters.iter().try_fold(value, |value, filter| self.filter(value, filter))
    }

    /// Runs a loop; `depth` counts recursive calls of the same loop.
    pub(super) fn each(&mut self, each: &Arc<For>, over: &Value, depth: usize) -> Result<(), Fault> {
        self.take_items(over.len().unwrap_or(0))?;
        let mut items = over.items()?;
        if let Some(filter) = &each.filter {
            items = self.filtered(&each.target, filter, items)?;
        }
        if items.is_empty() {
            return self.scoped(|run| run.body(&each.otherwise)).map(drop);
        }
        let state = Rc::new(Loop::new(items, each, depth)?);
        self.scoped(|run| {
            for place in 0..state.items.len() {
                state.go_to(place);
                run.scopes[run.current].values.clear();
                run.assign(&each.target, state.items[place].clone())?;
                run.store("loop", Value::Loop(Rc::clone(&state)));
                if run.body(&each.body)? == Flow::Break {
                    break;
                }
            }
            Ok(())
        })
    }

    fn filtered(&mut self, target: &Target, filter: &Expr, items: Vec<Value>) -> Result<Vec<Value>, Fault> {
        self.scoped(|run| {
            let mut kept = Vec::new();
            for item in items {
                run.assign(target, item.clone())?;
                if run.eval(filter)?.is_true() {
                    kept.push(item);
                }
            }
            Ok(kept)
        })
    }

    fn assign(&mut self, target: &Target, value: Value) -> Result<(), Fault> {
        match target {
            Target::Name(name) => {
                self.store(name, value);
                Ok(())
            }
            Target::Tuple(targets) => {
                let items = value.items()?;
                if items.len() != targets.len() {
                    return failed(format!("{} values cannot be assigned to {} names", items.len(), targets.len()));
                }
                targets.iter().zip(items).try_for_each(|(target, item)| self.assign(target, item))
            }
            Target::Attribute(name, field) => {
                let Some(Value::Namespace(number)) = self.lookup(name) else {
                    return failed(format!("`{name}` is not a namespace: only those have attributes that can be set"));
                };
                set(&mut self.namespaces[number], field, value);
                Ok(())
            }
        }
    }

    pub(super) fn store(&mut self, name: &str, value: Value) {
        set(&mut self.scopes[self.current].values, name, value);
    }

    pub(super) fn lookup(&self, name: &str) -> Option<Value> {
        let mut place = self.current;
        loop {
            let scope = &self.scopes[place];
            if let Some((_, value)) = scope.values.iter().find(|(other, _)| **other == *name) {
                return Some(value.clone());
            }
            if place == 0 {
                return None;
            }
            place = scope.around;
        }
    }
}

/// Sets a named value.
pub(super) fn set(values: &mut Vec<(Name, Value)>, name: &str, value: Value) {
    match values.iter_mut().find(|(other, _)| **other == *name) {
        Some((_, old)) => *old = value,
        None => values.push((name.into(), value)),
    }
}

fn placed(fault: Fault, at: usize) -> Fault {
    match fault {
        Fault::Failed { message, line } => Fault::Failed { message, line: line.or(Some(at)) },
        other => other,
    }
}
