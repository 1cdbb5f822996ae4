//! Parses expressions with Jinja2's precedence.

use super::lexer::Token;
use super::parser::{MAX_DEPTH, Parser};
use super::syntax::{Args, Comparison, Expr, Filter, Node, Operator};
use super::value::Name;
use super::{Fault, broken};

/// Operators of one level of precedence. Products bind tighter than sums.
const SUMS: [(&str, Operator); 2] = [("+", Operator::Add), ("-", Operator::Subtract)];
const PRODUCTS: [(&str, Operator); 4] =
    [("*", Operator::Multiply), ("/", Operator::Divide), ("//", Operator::DivideWhole), ("%", Operator::Remainder)];

impl Parser {
    /// One expression, or a tuple without parentheses.
    pub(super) fn tuple(&mut self) -> Result<Expr, Fault> {
        self.tuple_of(Self::expression)
    }

    /// Like [`Self::tuple`], without conditional expressions, because a loop's own `if` may follow.
    pub(super) fn tuple_without_condition(&mut self) -> Result<Expr, Fault> {
        self.tuple_of(Self::either)
    }

    fn tuple_of(&mut self, item: fn(&mut Self) -> Result<Expr, Fault>) -> Result<Expr, Fault> {
        let first = item(self)?;
        if !self.is_sign(",") {
            return Ok(first);
        }
        let mut items = vec![first];
        while self.skip_sign(",") {
            let ends = [")", "]", "=", "}"].into_iter().any(|sign| self.is_sign(sign));
            if ends || matches!(self.peek(), None | Some(Token::BlockEnd | Token::PrintEnd)) {
                break;
            }
            items.push(item(self)?);
        }
        self.node(depth_of(&items), Node::Tuple(items))
    }

    /// Makes a node. `inner` is the depth of its deepest child.
    fn node(&self, inner: usize, node: Node) -> Result<Expr, Fault> {
        if inner >= 2 * MAX_DEPTH {
            return broken(self.line(), &format!("an expression is nested deeper than {} levels", 2 * MAX_DEPTH));
        }
        Ok(Expr { node: Box::new(node), depth: inner + 1 })
    }

    pub(super) fn expression(&mut self) -> Result<Expr, Fault> {
        self.enter()?;
        let mut expr = self.either()?;
        while self.skip_word("if") {
            let condition = self.either()?;
            let otherwise = if self.skip_word("else") { Some(self.expression()?) } else { None };
            let inner = expr.depth.max(condition.depth).max(otherwise.as_ref().map_or(0, |expr| expr.depth));
            expr = self.node(inner, Node::If { condition, then: expr, otherwise })?;
        }
        self.leave();
        Ok(expr)
    }

    fn either(&mut self) -> Result<Expr, Fault> {
        let first = self.both()?;
        if !self.is_word("or") {
            return Ok(first);
        }
        let mut items = vec![first];
        while self.skip_word("or") {
            items.push(self.both()?);
        }
        self.node(depth_of(&items), Node::Or(items))
    }

    fn both(&mut self) -> Result<Expr, Fault> {
        let first = self.negated()?;
        if !self.is_word("and") {
            return Ok(first);
        }
        let mut items = vec![first];
        while self.skip_word("and") {
            items.push(self.negated()?);
        }
        self.node(depth_of(&items), Node::And(items))
    }

    fn negated(&mut self) -> Result<Expr, Fault> {
        let mut num_nots = 0;
        while self.skip_word("not") {
            num_nots += 1;
        }
        let mut expr = self.comparison()?;
        for _ in 0..num_nots {
            expr = self.node(expr.depth, Node::Not(expr))?;
        }
        Ok(expr)
    }

    fn comparison(&mut self) -> Result<Expr, Fault> {
        let first = self.sum()?;
        let mut others = Vec::new();
        while let Some(comparison) = self.comparison_sign() {
            others.push((comparison, self.sum()?));
        }
        if others.is_empty() {
            return Ok(first);
        }
        let inner = others.iter().map(|(_, expr)| expr.depth).max().unwrap_or(0).max(first.depth);
        self.node(inner, Node::Compare(first, others))
    }

    fn comparison_sign(&mut self) -> Option<Comparison> {
        use Comparison::{Equal, Greater, GreaterOrEqual, In, Less, LessOrEqual, NotEqual, NotIn};
        let signs =
            [("==", Equal), ("!=", NotEqual), ("<=", LessOrEqual), (">=", GreaterOrEqual), ("<", Less), (">", Greater)];
        if let Some((_, comparison)) = signs.into_iter().find(|(sign, _)| self.skip_sign(sign)) {
            return Some(comparison);
        }
        if self.skip_word("in") {
            return Some(In);
        }
        if self.is_word("not") && matches!(self.peek_after(), Some(Token::Name(name)) if name == "in") {
            self.skip_word("not");
            self.skip_word("in");
            return Some(NotIn);
        }
        None
    }

    fn sum(&mut self) -> Result<Expr, Fault> {
        self.chain(&SUMS, Self::joined)
    }

    fn joined(&mut self) -> Result<Expr, Fault> {
        let first = self.product()?;
        if !self.is_sign("~") {
            return Ok(first);
        }
        let mut items = vec![first];
        while self.skip_sign("~") {
            items.push(self.product()?);
        }
        self.node(depth_of(&items), Node::Join(items))
    }

    fn product(&mut self) -> Result<Expr, Fault> {
        self.chain(&PRODUCTS, Self::power)
    }

    fn power(&mut self) -> Result<Expr, Fault> {
        self.chain(&[("**", Operator::Power)], |parser| parser.signed(true))
    }

    fn chain(
        &mut self,
        operators: &[(&str, Operator)],
        inner: fn(&mut Self) -> Result<Expr, Fault>,
    ) -> Result<Expr, Fault> {
        let mut left = inner(self)?;
        while let Some((_, operator)) = operators.iter().find(|(sign, _)| self.skip_sign(sign)) {
            let right = inner(self)?;
            left = self.node(left.depth.max(right.depth), Node::Binary(*operator, left, right))?;
        }
        Ok(left)
    }

    /// Signs bind tighter than filters and less tight than attributes.
    fn signed(&mut self, has_filters: bool) -> Result<Expr, Fault> {
        let mut expr = if self.is_sign("-") || self.is_sign("+") {
            self.enter()?;
            let is_minus = self.skip_sign("-");
            if !is_minus {
                self.skip_sign("+");
            }
            let inner = self.signed(false)?;
            self.leave();
            self.node(inner.depth, if is_minus { Node::Minus(inner) } else { Node::Plus(inner) })?
        } else {
            self.primary()?
        };
        expr = self.postfix(expr)?;
        if has_filters { self.filtered(expr) } else { Ok(expr) }
    }

    fn primary(&mut self) -> Result<Expr, Fault> {
        match self.peek() {
            Some(Token::Sign("(")) => self.parenthesized(),
            Some(Token::Sign("[")) => {
                self.skip_sign("[");
                let items = self.items("]")?;
                self.node(depth_of(&items), Node::List(items))
            }
            Some(Token::Sign("{")) => self.map(),
            Some(Token::Text(_)) => self.text(),
            Some(Token::Name(_) | Token::Int(_) | Token::Float(_)) => {
                let node = match self.next() {
                    Some(Token::Int(number)) => Node::Int(number),
                    Some(Token::Float(number)) => Node::Float(number),
                    Some(Token::Name(name)) => named(name),
                    _ => Node::None,
                };
                self.node(0, node)
            }
            _ => self.unexpected("an expression"),
        }
    }

    /// Adjacent string literals are one text.
    fn text(&mut self) -> Result<Expr, Fault> {
        let mut whole = String::new();
        while matches!(self.peek(), Some(Token::Text(_))) {
            if let Some(Token::Text(text)) = self.next() {
                whole.push_str(&text);
            }
        }
        self.node(0, Node::Text(whole.into()))
    }

    fn parenthesized(&mut self) -> Result<Expr, Fault> {
        self.skip_sign("(");
        if self.skip_sign(")") {
            return self.node(0, Node::Tuple(Vec::new()));
        }
        let expr = self.tuple()?;
        self.expect_sign(")")?;
        Ok(expr)
    }

    /// Comma-separated expressions up to a closing bracket.
    fn items(&mut self, end: &str) -> Result<Vec<Expr>, Fault> {
        let mut items = Vec::new();
        while !self.skip_sign(end) {
            items.push(self.expression()?);
            if !self.skip_sign(",") && !self.is_sign(end) {
                return self.unexpected(&format!("`,` or `{end}`"));
            }
        }
        Ok(items)
    }

    fn map(&mut self) -> Result<Expr, Fault> {
        self.skip_sign("{");
        let mut entries = Vec::new();
        while !self.skip_sign("}") {
            let key = self.expression()?;
            self.expect_sign(":")?;
            entries.push((key, self.expression()?));
            if !self.skip_sign(",") && !self.is_sign("}") {
                return self.unexpected("`,` or `}`");
            }
        }
        let inner = entries.iter().map(|(key, value)| key.depth.max(value.depth)).max().unwrap_or(0);
        self.node(inner, Node::Map(entries))
    }

    fn postfix(&mut self, mut expr: Expr) -> Result<Expr, Fault> {
        loop {
            if self.skip_sign(".") {
                expr = self.attribute(expr)?;
            } else if self.skip_sign("[") {
                expr = self.subscript(expr)?;
            } else if self.is_sign("(") {
                let args = self.args()?;
                expr = self.node(expr.depth.max(args.depth()), Node::Call(expr, args))?;
            } else {
                return Ok(expr);
            }
        }
    }

    fn attribute(&mut self, expr: Expr) -> Result<Expr, Fault> {
        if let Some(Token::Int(place)) = self.peek() {
            let place = self.node(0, Node::Int(*place))?;
            self.next();
            return self.node(expr.depth, Node::Item(expr, place));
        }
        let name = self.expect_name()?;
        self.node(expr.depth, Node::Attribute(expr, name))
    }

    fn subscript(&mut self, expr: Expr) -> Result<Expr, Fault> {
        let mut parts = [None, None, None];
        let mut num_colons = 0;
        while !self.skip_sign("]") {
            if self.skip_sign(":") && num_colons < 2 {
                num_colons += 1;
            } else if parts[num_colons].is_none() && !self.is_sign(":") {
                parts[num_colons] = Some(if num_colons == 0 { self.tuple()? } else { self.expression()? });
            } else {
                return self.unexpected("`]`");
            }
        }
        let inner = parts.iter().flatten().map(|part| part.depth).max().unwrap_or(0).max(expr.depth);
        match (num_colons, parts) {
            (0, [Some(item), _, _]) => self.node(inner, Node::Item(expr, item)),
            (0, _) => self.unexpected("an expression"),
            (_, parts) => self.node(inner, Node::Slice(expr, parts)),
        }
    }

    fn filtered(&mut self, mut expr: Expr) -> Result<Expr, Fault> {
        loop {
            if self.skip_sign("|") {
                let filter = self.filter()?;
                expr = self.node(expr.depth.max(filter.args.depth()), Node::Filter(expr, filter))?;
            } else if self.skip_word("is") {
                expr = self.test(expr)?;
            } else if self.is_sign("(") {
                let args = self.args()?;
                expr = self.node(expr.depth.max(args.depth()), Node::Call(expr, args))?;
            } else {
                return Ok(expr);
            }
        }
    }

    /// The name of a filter or a test, which may contain dots.
    fn dotted(&mut self) -> Result<Name, Fault> {
        let mut name = self.expect_name()?.to_string();
        while self.skip_sign(".") {
            name = format!("{name}.{}", self.expect_name()?);
        }
        Ok(name.into())
    }

    /// A filter after `|`.
    pub(super) fn filter(&mut self) -> Result<Filter, Fault> {
        let name = self.dotted()?;
        let args = if self.is_sign("(") { self.args()? } else { Args::default() };
        Ok(Filter { name, args })
    }

    /// A test after `is`. A single argument needs no parentheses.
    fn test(&mut self, value: Expr) -> Result<Expr, Fault> {
        let is_negated = self.skip_word("not");
        let name = self.dotted()?;
        let mut args = Args::default();
        if self.is_sign("(") {
            args = self.args()?;
        } else if self.begins_argument() {
            let argument = self.primary()?;
            args.positional.push(self.postfix(argument)?);
        }
        self.node(value.depth.max(args.depth()), Node::Test { value, name, args, is_negated })
    }

    fn begins_argument(&self) -> bool {
        match self.peek() {
            Some(Token::Name(name)) => !matches!(&**name, "else" | "or" | "and" | "is" | "if" | "in" | "not"),
            Some(Token::Text(_) | Token::Int(_) | Token::Float(_) | Token::Sign("[" | "{")) => true,
            _ => false,
        }
    }

    fn args(&mut self) -> Result<Args, Fault> {
        self.enter()?;
        self.expect_sign("(")?;
        let mut args = Args::default();
        while !self.skip_sign(")") {
            let is_named = matches!(self.peek(), Some(Token::Name(_))) && self.peek_after() == Some(&Token::Sign("="));
            if self.skip_sign("**") {
                args.named_rest = Some(self.expression()?);
            } else if self.skip_sign("*") {
                args.rest = Some(self.expression()?);
            } else if is_named {
                let name = self.expect_name()?;
                self.expect_sign("=")?;
                args.named.push((name, self.expression()?));
            } else {
                args.positional.push(self.expression()?);
            }
            if !self.skip_sign(",") && !self.is_sign(")") {
                return self.unexpected("`,` or `)`");
            }
        }
        self.leave();
        Ok(args)
    }
}

fn named(name: String) -> Node {
    match &*name {
        "true" | "True" => Node::Bool(true),
        "false" | "False" => Node::Bool(false),
        "none" | "None" => Node::None,
        _ => Node::Name(name.into()),
    }
}

fn depth_of(items: &[Expr]) -> usize {
    items.iter().map(|item| item.depth).max().unwrap_or(0)
}
