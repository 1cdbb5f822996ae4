//! Parses the statements of a template. Nesting is limited while parsing, so that parsing and all later steps need a
//! bounded stack.

use std::sync::Arc;

use super::lexer::{Placed, Token, tokens};
use super::syntax::{Body, Expr, Filter, For, Kind, Macro, Statement, Target};
use super::value::Name;
use super::{Fault, broken};

/// Nesting of blocks, and of brackets and operators in an expression.
pub(crate) const MAX_DEPTH: usize = 100;

/// Parses a template.
pub(crate) fn parse(source: &str) -> Result<Body, Fault> {
    let mut parser = Parser { tokens: tokens(source)?, at: 0, depth: 0 };
    let (body, _) = parser.body(&[])?;
    Ok(body)
}

pub(super) struct Parser {
    tokens: Vec<Placed>,
    at: usize,
    pub(super) depth: usize,
}

impl Parser {
    pub(super) fn line(&self) -> usize {
        self.tokens.get(self.at).or(self.tokens.last()).map_or(1, |(_, line)| *line)
    }

    pub(super) fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at).map(|(token, _)| token)
    }

    pub(super) fn peek_after(&self) -> Option<&Token> {
        self.tokens.get(self.at + 1).map(|(token, _)| token)
    }

    pub(super) fn next(&mut self) -> Option<Token> {
        let (token, _) = self.tokens.get_mut(self.at)?;
        self.at += 1;
        // Each token is read once, so it can be taken out.
        Some(std::mem::replace(token, Token::Sign(";")))
    }

    pub(super) fn is_sign(&self, sign: &str) -> bool {
        matches!(self.peek(), Some(Token::Sign(other)) if *other == sign)
    }

    pub(super) fn is_word(&self, word: &str) -> bool {
        matches!(self.peek(), Some(Token::Name(name)) if name == word)
    }

    /// Skips the sign if it is next.
    pub(super) fn skip_sign(&mut self, sign: &str) -> bool {
        let is_next = self.is_sign(sign);
        self.at += usize::from(is_next);
        is_next
    }

    pub(super) fn skip_word(&mut self, word: &str) -> bool {
        let is_next = self.is_word(word);
        self.at += usize::from(is_next);
        is_next
    }

    pub(super) fn expect_sign(&mut self, sign: &str) -> Result<(), Fault> {
        if self.skip_sign(sign) { Ok(()) } else { self.unexpected(&format!("`{sign}`")) }
    }

    pub(super) fn expect_name(&mut self) -> Result<Name, Fault> {
        if !matches!(self.peek(), Some(Token::Name(_))) {
            return self.unexpected("a name");
        }
        match self.next() {
            Some(Token::Name(name)) => Ok(name.into()),
            _ => self.unexpected("a name"),
        }
    }

    pub(super) fn unexpected<T>(&self, wanted: &str) -> Result<T, Fault> {
        let found = match self.peek() {
            None => "the end of the template".to_owned(),
            Some(Token::Name(name)) => format!("`{name}`"),
            Some(Token::Sign(sign)) => format!("`{sign}`"),
            Some(Token::BlockEnd) => "`%}`".to_owned(),
            Some(Token::PrintEnd) => "`}}`".to_owned(),
            Some(Token::Text(_)) => "a text".to_owned(),
            Some(Token::Int(_) | Token::Float(_)) => "a number".to_owned(),
            Some(Token::Data(_) | Token::BlockStart | Token::PrintStart) => "the end of the tag".to_owned(),
        };
        broken(self.line(), &format!("expected {wanted}, found {found}"))
    }

    /// Enters a level of nesting; [`Self::leave`] leaves it.
    pub(super) fn enter(&mut self) -> Result<(), Fault> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return broken(self.line(), &format!("it is nested deeper than {MAX_DEPTH} levels"));
        }
        Ok(())
    }

    pub(super) fn leave(&mut self) {
        self.depth -= 1;
    }

    /// Parses statements up to a tag whose name is in `ends`. Returns the statements and that name.
    fn body(&mut self, ends: &[&str]) -> Result<(Body, String), Fault> {
        self.enter()?;
        let mut body = Body::new();
        let end = loop {
            let line = self.line();
            match self.next() {
                None if ends.is_empty() => break String::new(),
                None => return broken(line, &format!("`{}` is missing", ends[ends.len() - 1])),
                Some(Token::Data(text)) => body.push(Statement { line, kind: Kind::Write(text.into()) }),
                Some(Token::PrintStart) => {
                    let expr = self.tuple()?;
                    self.expect(&Token::PrintEnd)?;
                    body.push(Statement { line, kind: Kind::Print(expr) });
                }
                Some(_) => {
                    let name = self.expect_name()?;
                    if ends.contains(&&*name) {
                        break name.to_string();
                    }
                    self.block(&name, line, &mut body)?;
                }
            }
        };
        self.leave();
        Ok((body, end))
    }

    fn expect(&mut self, token: &Token) -> Result<(), Fault> {
        if self.peek() == Some(token) {
            self.at += 1;
            return Ok(());
        }
        self.unexpected(if *token == Token::BlockEnd { "`%}`" } else { "`}}`" })
    }

    /// Parses statements up to and including the tag that ends them.
    fn body_until(&mut self, end: &str) -> Result<Body, Fault> {
        self.expect(&Token::BlockEnd)?;
        let (body, _) = self.body(&[end])?;
        // `{% endblock name %}` may repeat the name.
        if end == "endblock" && matches!(self.peek(), Some(Token::Name(_))) {
            self.at += 1;
        }
        self.expect(&Token::BlockEnd)?;
        Ok(body)
    }

    fn block(&mut self, name: &str, line: usize, body: &mut Body) -> Result<(), Fault> {
        let kind = match name {
            "if" => self.if_block()?,
            "for" => self.for_block()?,
            "set" => self.set_block()?,
            "macro" => self.macro_block()?,
            "call" => self.call_block()?,
            "filter" => {
                let filters = self.filters(true)?;
                Kind::FilterBlock(filters, self.body_until("endfilter")?)
            }
            "with" => self.with_block()?,
            "autoescape" => Kind::Escape(self.expression()?, self.body_until("endautoescape")?),
            // Marks the text of an assistant for training. It has no effect here.
            "generation" => Kind::With(Vec::new(), self.body_until("endgeneration")?),
            "block" => {
                self.expect_name()?;
                while self.skip_word("scoped") || self.skip_word("required") {}
                Kind::With(Vec::new(), self.body_until("endblock")?)
            }
            "break" | "continue" => {
                self.expect(&Token::BlockEnd)?;
                if name == "break" { Kind::Break } else { Kind::Continue }
            }
            "include" | "import" | "from" | "extends" => self.refused(name)?,
            _ => return broken(line, &format!("`{name}` is not a tag, or is not allowed here")),
        };
        body.push(Statement { line, kind });
        Ok(())
    }

    /// There is only one template, so a reference to another one fails when it runs.
    fn refused(&mut self, name: &str) -> Result<Kind, Fault> {
        while self.peek().is_some_and(|token| *token != Token::BlockEnd) {
            self.at += 1;
        }
        self.expect(&Token::BlockEnd)?;
        Ok(Kind::Refused(match name {
            "include" => "include",
            "extends" => "extends",
            _ => "import",
        }))
    }

    fn if_block(&mut self) -> Result<Kind, Fault> {
        let mut branches = Vec::new();
        let mut condition = Some(self.tuple()?);
        loop {
            self.expect(&Token::BlockEnd)?;
            let ends: &[&str] = if condition.is_some() { &["elif", "else", "endif"] } else { &["endif"] };
            let (body, end) = self.body(ends)?;
            branches.push((condition.take(), body));
            match &*end {
                "elif" => condition = Some(self.tuple()?),
                "else" => {}
                _ => break,
            }
        }
        self.expect(&Token::BlockEnd)?;
        Ok(Kind::If(branches))
    }

    fn for_block(&mut self) -> Result<Kind, Fault> {
        let target = self.target()?;
        if !self.skip_word("in") {
            return self.unexpected("`in`");
        }
        let over = self.tuple_without_condition()?;
        let filter = if self.skip_word("if") { Some(self.expression()?) } else { None };
        let is_recursive = self.skip_word("recursive");
        self.expect(&Token::BlockEnd)?;
        let (body, end) = self.body(&["else", "endfor"])?;
        let otherwise = if end == "else" { self.body_until("endfor")? } else { Body::new() };
        if end != "else" {
            self.expect(&Token::BlockEnd)?;
        }
        Ok(Kind::For(Arc::new(For { target, over, filter, body, otherwise, is_recursive })))
    }

    fn set_block(&mut self) -> Result<Kind, Fault> {
        let target = self.target()?;
        if self.skip_sign("=") {
            let value = self.tuple()?;
            self.expect(&Token::BlockEnd)?;
            return Ok(Kind::Set(target, value));
        }
        let filters = self.filters(false)?;
        Ok(Kind::SetBlock(target, filters, self.body_until("endset")?))
    }

    fn macro_block(&mut self) -> Result<Kind, Fault> {
        let name = self.expect_name()?;
        let params = self.params()?;
        let body = self.body_until("endmacro")?;
        Ok(Kind::Macro(Arc::new(Macro { name, params, body })))
    }

    fn call_block(&mut self) -> Result<Kind, Fault> {
        let params = if self.is_sign("(") { self.params()? } else { Vec::new() };
        let call = self.expression()?;
        let body = self.body_until("endcall")?;
        Ok(Kind::Call(call, Arc::new(Macro { name: "caller".into(), params, body })))
    }

    fn params(&mut self) -> Result<Vec<(Name, Option<Expr>)>, Fault> {
        self.expect_sign("(")?;
        let mut params = Vec::new();
        while !self.skip_sign(")") {
            let name = self.expect_name()?;
            params.push((name, if self.skip_sign("=") { Some(self.expression()?) } else { None }));
            if !self.skip_sign(",") && !self.is_sign(")") {
                return self.unexpected("`,` or `)`");
            }
        }
        Ok(params)
    }

    fn with_block(&mut self) -> Result<Kind, Fault> {
        let mut values = Vec::new();
        while self.peek() != Some(&Token::BlockEnd) {
            let target = self.target()?;
            self.expect_sign("=")?;
            values.push((target, self.expression()?));
            if !self.skip_sign(",") {
                break;
            }
        }
        Ok(Kind::With(values, self.body_until("endwith")?))
    }

    /// Filters in a row. The first one may lack `|`.
    fn filters(&mut self, mut is_bare: bool) -> Result<Vec<Filter>, Fault> {
        let mut filters = Vec::new();
        while is_bare || self.skip_sign("|") {
            is_bare = false;
            filters.push(self.filter()?);
        }
        Ok(filters)
    }

    /// The target of an assignment: names, with or without parentheses, or an attribute of a namespace.
    fn target(&mut self) -> Result<Target, Fault> {
        let mut targets = vec![self.single_target()?];
        let mut is_tuple = false;
        while self.skip_sign(",") {
            is_tuple = true;
            if self.is_word("in") || self.is_sign("=") || self.is_sign(")") {
                break;
            }
            targets.push(self.single_target()?);
        }
        Ok(if is_tuple { Target::Tuple(targets) } else { targets.remove(0) })
    }

    fn single_target(&mut self) -> Result<Target, Fault> {
        if self.skip_sign("(") {
            self.enter()?;
            let target = self.target()?;
            self.leave();
            self.expect_sign(")")?;
            return Ok(target);
        }
        let name = self.expect_name()?;
        if self.skip_sign(".") {
            return Ok(Target::Attribute(name, self.expect_name()?));
        }
        Ok(Target::Name(name))
    }
}
