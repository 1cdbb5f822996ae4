//! The syntax tree of a template. Expressions know their depth, which is limited, so running, checking and dropping a
//! tree takes a bounded stack.

use std::sync::Arc;

use super::value::Name;

/// Statements in a row.
pub(crate) type Body = Vec<Statement>;

#[derive(Debug)]
pub(crate) struct Statement {
    /// The line, from 1.
    pub(crate) line: usize,
    pub(crate) kind: Kind,
}

#[derive(Debug)]
pub(crate) enum Kind {
    Write(Arc<str>),
    Print(Expr),
    /// Branches with their conditions; the last condition may be absent.
    If(Vec<(Option<Expr>, Body)>),
    For(Arc<For>),
    Set(Target, Expr),
    SetBlock(Target, Vec<Filter>, Body),
    Macro(Arc<Macro>),
    /// A call, and the macro that it can call as `caller`.
    Call(Expr, Arc<Macro>),
    FilterBlock(Vec<Filter>, Body),
    With(Vec<(Target, Expr)>, Body),
    Escape(Expr, Body),
    Break,
    Continue,
    /// A tag that needs other templates, such as `include`.
    Refused(&'static str),
}

#[derive(Debug)]
pub(crate) struct For {
    pub(crate) target: Target,
    pub(crate) over: Expr,
    pub(crate) filter: Option<Expr>,
    pub(crate) body: Body,
    pub(crate) otherwise: Body,
    pub(crate) is_recursive: bool,
}

#[derive(Debug)]
pub(crate) struct Macro {
    pub(crate) name: Name,
    /// Parameters and their defaults.
    pub(crate) params: Vec<(Name, Option<Expr>)>,
    pub(crate) body: Body,
}

/// The target of an assignment.
#[derive(Debug)]
pub(crate) enum Target {
    Name(Name),
    Tuple(Vec<Target>),
    Attribute(Name, Name),
}

/// An expression and its depth.
#[derive(Debug)]
pub(crate) struct Expr {
    pub(crate) node: Box<Node>,
    pub(crate) depth: usize,
}

#[derive(Debug)]
pub(crate) enum Node {
    None,
    Bool(bool),
    Int(i128),
    Float(f64),
    Text(Arc<str>),
    Name(Name),
    List(Vec<Expr>),
    Tuple(Vec<Expr>),
    Map(Vec<(Expr, Expr)>),
    Attribute(Expr, Name),
    Item(Expr, Expr),
    Slice(Expr, [Option<Expr>; 3]),
    Call(Expr, Args),
    Filter(Expr, Filter),
    Test { value: Expr, name: Name, args: Args, is_negated: bool },
    Not(Expr),
    Minus(Expr),
    Plus(Expr),
    And(Vec<Expr>),
    Or(Vec<Expr>),
    Join(Vec<Expr>),
    Binary(Operator, Expr, Expr),
    Compare(Expr, Vec<(Comparison, Expr)>),
    If { condition: Expr, then: Expr, otherwise: Option<Expr> },
}

/// A filter without its input value.
#[derive(Debug)]
pub(crate) struct Filter {
    pub(crate) name: Name,
    pub(crate) args: Args,
}

#[derive(Debug, Default)]
pub(crate) struct Args {
    pub(crate) positional: Vec<Expr>,
    pub(crate) named: Vec<(Name, Expr)>,
    /// `*args`
    pub(crate) rest: Option<Expr>,
    /// `**kwargs`
    pub(crate) named_rest: Option<Expr>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operator {
    Add,
    Subtract,
    Multiply,
    Divide,
    DivideWhole,
    Remainder,
    Power,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    In,
    NotIn,
}

impl Args {
    pub(crate) fn depth(&self) -> usize {
        let named = self.named.iter().map(|(_, value)| value);
        let rests = self.rest.iter().chain(&self.named_rest);
        self.positional.iter().chain(named).chain(rests).map(|arg| arg.depth).max().unwrap_or(0)
    }
}
