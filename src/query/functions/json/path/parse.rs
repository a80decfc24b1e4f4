//! The text of a jsonpath as a tree. Errors: 42601, 2201B for a regular expression.

use regex::{Regex, RegexBuilder};

use crate::error::{Error, Result, SqlState};
use crate::types::{jsonb_of_text, push_json_string};

/// A jsonpath.
#[derive(Debug)]
pub(super) struct JsonPath {
    pub lax: bool,
    pub expr: Expr,
}

/// An expression: gives any number of items.
#[derive(Debug)]
pub(super) enum Expr {
    /// A canonical scalar.
    Literal(String),
    Root,
    Current,
    Variable(String),
    /// The last index of the array that is subscripted.
    Last,
    Arithmetic(Operation, Box<[Expr; 2]>),
    /// Whether the sign is inverted.
    Sign(bool, Box<Expr>),
    Access(Box<Expr>, Vec<Step>),
    /// Gives true, false or, where it is unknown, null.
    Predicate(Box<Predicate>),
}

#[derive(Debug)]
pub(super) enum Predicate {
    Compare(Comparison, Expr, Expr),
    And(Expr, Expr),
    Or(Expr, Expr),
    Not(Expr),
    IsUnknown(Expr),
    Exists(Expr),
    StartsWith(Expr, Expr),
    LikeRegex(Expr, Regex),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Comparison {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

#[derive(Debug)]
pub(super) enum Step {
    Member(String),
    AnyMember,
    AnyElement,
    Elements(Vec<(Expr, Option<Expr>)>),
    /// Levels from and to; [`LEVEL_LAST`] in both is the leaves.
    Descend(u32, u32),
    Filter(Expr),
    Method(Method),
}

/// The level that every other is below.
pub(super) const LEVEL_LAST: u32 = u32::MAX;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Method {
    Type,
    Size,
    Double,
    Ceiling,
    Floor,
    Abs,
    KeyValue,
}

impl Method {
    const ALL: [(&'static str, Method); 7] = [
        ("type", Method::Type),
        ("size", Method::Size),
        ("double", Method::Double),
        ("ceiling", Method::Ceiling),
        ("floor", Method::Floor),
        ("abs", Method::Abs),
        ("keyvalue", Method::KeyValue),
    ];

    pub fn name(self) -> &'static str {
        Method::ALL.iter().find(|(_, m)| *m == self).map_or("", |(name, _)| name)
    }
}

/// Deepest nesting: bounds the recursion.
const NESTING_MAX: usize = 500;

/// Reads a jsonpath.
pub(super) fn parse(text: &str) -> Result<JsonPath> {
    let mut parser = Parser { tokens: tokens(text)?, at: 0, depth: 0, filters: 0, subscripts: 0 };
    let lax = !parser.eat_word("strict");
    if lax {
        parser.eat_word("lax");
    }
    let expr = parser.or()?;
    match parser.peek() {
        None => Ok(JsonPath { lax, expr }),
        Some(_) => Err(parser.unexpected()),
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    /// A bare word.
    Word(String),
    String(String),
    Variable(String),
    /// Canonical.
    Number(String),
    Symbol(&'static str),
}

const SYMBOLS: &[&str] = &[
    "**", "==", "!=", "<>", "<=", ">=", "&&", "||", "$", "@", ".", "[", "]", "(", ")", "{", "}",
    "?", "*", "+", "-", "/", "%", "<", ">", "!", ",",
];

fn syntax(near: Option<&str>) -> Error {
    Error::syntax(match near {
        Some(near) => format!("syntax error at or near \"{near}\" of jsonpath input"),
        None => "syntax error at end of jsonpath input".to_owned(),
    })
}

fn tokens(text: &str) -> Result<Vec<Token>> {
    let mut tokens = vec![];
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches([' ', '\t', '\n', '\r', '\x0c']);
        let Some(first) = rest.chars().next() else { return Ok(tokens) };
        if let Some(comment) = rest.strip_prefix("/*") {
            rest = &comment[comment.find("*/").ok_or_else(|| syntax(None))? + 2..];
        } else if first == '"' {
            let (string, after) = quoted(rest)?;
            tokens.push(Token::String(string));
            rest = after;
        } else if first.is_ascii_digit() || first == '.' && starts_with_digit(&rest[1..]) {
            let (number, after) = number(rest)?;
            tokens.push(Token::Number(number));
            rest = after;
        } else if let Some(name) = rest.strip_prefix('$').filter(|r| names_variable(r)) {
            let (name, after) = if name.starts_with('"') { quoted(name)? } else { word(name)? };
            tokens.push(Token::Variable(name));
            rest = after;
        } else if let Some(symbol) = SYMBOLS.iter().find(|symbol| rest.starts_with(**symbol)) {
            tokens.push(Token::Symbol(symbol));
            rest = &rest[symbol.len()..];
        } else {
            let (name, after) = word(rest)?;
            tokens.push(Token::Word(name));
            rest = after;
        }
    }
}

fn starts_with_digit(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_digit())
}

fn is_word(c: char) -> bool {
    !c.is_ascii_whitespace() && !"?%$.[]{}()|&!=<>@#,*:-+/\"".contains(c)
}

fn names_variable(rest: &str) -> bool {
    rest.starts_with(|c: char| is_word(c) || c == '"')
}

/// A bare word, in which a backslash escapes.
fn word(text: &str) -> Result<(String, &str)> {
    let end = text.find(|c| !is_word(c)).unwrap_or(text.len());
    match end {
        0 => Err(syntax(text.get(..1).or(Some(text)))),
        _ if text[..end].contains('\\') => {
            let (name, _) =
                quoted(&format!("\"{}\"", &text[..end])).map(|(name, rest)| (name, rest.len()))?;
            Ok((name, &text[end..]))
        }
        _ => Ok((text[..end].to_owned(), &text[end..])),
    }
}

/// A string in quotes, with the escapes of JavaScript.
fn quoted(text: &str) -> Result<(String, &str)> {
    let mut out = String::new();
    let mut rest = &text[1..];
    loop {
        let c = rest.chars().next().ok_or_else(|| syntax(None))?;
        rest = &rest[c.len_utf8()..];
        match c {
            '"' => return Ok((out, rest)),
            '\\' => rest = escape(rest, &mut out)?,
            c => out.push(c),
        }
    }
}

fn escape<'a>(rest: &'a str, out: &mut String) -> Result<&'a str> {
    let invalid = || Error::syntax("invalid escape sequence of jsonpath input");
    let c = rest.chars().next().ok_or_else(|| syntax(None))?;
    let after = &rest[c.len_utf8()..];
    let hex = |text: &str, digits: usize| -> Result<u32> {
        let digits = text.get(..digits).ok_or_else(invalid)?;
        u32::from_str_radix(digits, 16).map_err(|_| invalid())
    };
    let (c, after) = match c {
        'b' => ('\u{8}', after),
        'f' => ('\u{c}', after),
        'n' => ('\n', after),
        'r' => ('\r', after),
        't' => ('\t', after),
        'v' => ('\u{b}', after),
        'x' => (char::from_u32(hex(after, 2)?).ok_or_else(invalid)?, &after[2..]),
        'u' if after.starts_with('{') => {
            let end = after.find('}').ok_or_else(invalid)?;
            let code = u32::from_str_radix(&after[1..end], 16).map_err(|_| invalid())?;
            (char::from_u32(code).ok_or_else(invalid)?, &after[end + 1..])
        }
        'u' => {
            let high = hex(after, 4)?;
            let rest = &after[4..];
            match (char::from_u32(high), rest.strip_prefix("\\u")) {
                (Some(c), _) => (c, rest),
                (None, Some(low)) => {
                    let code = 0x10000 + ((high & 0x3ff) << 10) + (hex(low, 4)? & 0x3ff);
                    (char::from_u32(code).ok_or_else(invalid)?, &low[4..])
                }
                (None, None) => return Err(invalid()),
            }
        }
        c => (c, after),
    };
    out.push(c);
    Ok(after)
}

/// A number as jsonb writes it.
fn number(text: &str) -> Result<(String, &str)> {
    let digits = |text: &str| text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let whole = digits(text);
    let mut end = whole;
    // `1..2` does not exist, but `1.type()` does not either: a point belongs to the number.
    if text[end..].starts_with('.') {
        end += 1 + digits(&text[end + 1..]);
    }
    if text[end..].starts_with(['e', 'E']) {
        let sign = usize::from(text[end + 1..].starts_with(['+', '-']));
        let exponent = digits(&text[end + 1 + sign..]);
        if exponent > 0 {
            end += 1 + sign + exponent;
        }
    }
    if text[end..].starts_with(is_word) {
        return Err(Error::syntax("trailing junk after numeric literal of jsonpath input"));
    }
    let (mantissa, exponent) = match text[..end].find(['e', 'E']) {
        Some(at) => (&text[..at], &text[at..end]),
        None => (&text[..end], ""),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if whole.len() > 1 && whole.starts_with('0') {
        return Err(Error::syntax("trailing junk after numeric literal of jsonpath input"));
    }
    let whole = if whole.is_empty() { "0" } else { whole };
    let point = if fraction.is_empty() { "" } else { "." };
    Ok((jsonb_of_text(&format!("{whole}{point}{fraction}{exponent}"))?, &text[end..]))
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
    depth: usize,
    /// How many filters and how many subscripts enclose the position.
    filters: usize,
    subscripts: usize,
}

impl Parser {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn eat(&mut self, symbol: &str) -> bool {
        let found = matches!(self.peek(), Some(Token::Symbol(s)) if *s == symbol);
        self.at += usize::from(found);
        found
    }

    fn eat_word(&mut self, word: &str) -> bool {
        let found = matches!(self.peek(), Some(Token::Word(w)) if w == word);
        self.at += usize::from(found);
        found
    }

    fn expect(&mut self, symbol: &str) -> Result<()> {
        if self.eat(symbol) { Ok(()) } else { Err(self.unexpected()) }
    }

    fn unexpected(&self) -> Error {
        match self.peek() {
            None => syntax(None),
            Some(Token::Word(w) | Token::Variable(w) | Token::Number(w)) => syntax(Some(w)),
            Some(Token::String(s)) => syntax(Some(s)),
            Some(Token::Symbol(s)) => syntax(Some(s)),
        }
    }

    fn nested<T>(&mut self, parse: impl FnOnce(&mut Parser) -> Result<T>) -> Result<T> {
        self.depth += 1;
        if self.depth > NESTING_MAX {
            return Err(Error::new(SqlState::STATEMENT_TOO_COMPLEX, "stack depth limit exceeded"));
        }
        let parsed = parse(self);
        self.depth -= 1;
        parsed
    }

    fn predicate_of(&self, expr: Expr) -> Result<Expr> {
        match expr {
            Expr::Predicate(_) => Ok(expr),
            _ => Err(self.unexpected()),
        }
    }

    fn value_of(&self, expr: Expr) -> Result<Expr> {
        match expr {
            Expr::Predicate(_) => Err(self.unexpected()),
            _ => Ok(expr),
        }
    }

    fn or(&mut self) -> Result<Expr> {
        self.nested(|parser| {
            let mut left = parser.and()?;
            while parser.eat("||") {
                let right = parser.and()?;
                let (l, r) = (parser.predicate_of(left)?, parser.predicate_of(right)?);
                left = Expr::Predicate(Box::new(Predicate::Or(l, r)));
            }
            Ok(left)
        })
    }

    fn and(&mut self) -> Result<Expr> {
        let mut left = self.comparison()?;
        while self.eat("&&") {
            let right = self.comparison()?;
            let (l, r) = (self.predicate_of(left)?, self.predicate_of(right)?);
            left = Expr::Predicate(Box::new(Predicate::And(l, r)));
        }
        Ok(left)
    }

    fn comparison(&mut self) -> Result<Expr> {
        if self.eat("!") {
            let operand = self.nested(Parser::negated)?;
            return Ok(Expr::Predicate(Box::new(Predicate::Not(self.predicate_of(operand)?))));
        }
        let left = self.sum()?;
        let operators = [
            ("==", Comparison::Equal),
            ("!=", Comparison::NotEqual),
            ("<>", Comparison::NotEqual),
            ("<=", Comparison::LessOrEqual),
            (">=", Comparison::GreaterOrEqual),
            ("<", Comparison::Less),
            (">", Comparison::Greater),
        ];
        if let Some((_, op)) = operators.into_iter().find(|(symbol, _)| self.eat(symbol)) {
            let right = self.sum()?;
            let (left, right) = (self.value_of(left)?, self.value_of(right)?);
            return Ok(Expr::Predicate(Box::new(Predicate::Compare(op, left, right))));
        }
        if self.eat_word("starts") {
            if !self.eat_word("with") {
                return Err(self.unexpected());
            }
            let prefix = self.primary()?;
            let left = self.value_of(left)?;
            return Ok(Expr::Predicate(Box::new(Predicate::StartsWith(left, prefix))));
        }
        if self.eat_word("like_regex") {
            let left = self.value_of(left)?;
            let regex = self.regex()?;
            return Ok(Expr::Predicate(Box::new(Predicate::LikeRegex(left, regex))));
        }
        Ok(left)
    }

    /// What `!` is put before: a predicate in parentheses, or exists.
    fn negated(&mut self) -> Result<Expr> {
        match self.peek() {
            Some(Token::Symbol("(" | "!")) => self.comparison(),
            Some(Token::Word(word)) if word == "exists" => self.comparison(),
            _ => Err(self.unexpected()),
        }
    }

    fn regex(&mut self) -> Result<Regex> {
        let pattern = self.string()?;
        let flags = if self.eat_word("flag") { self.string()? } else { String::new() };
        let pattern = if flags.contains('q') { regex::escape(&pattern) } else { pattern };
        if flags.contains('x') {
            let message = "XQuery \"x\" flag (expanded regular expressions) is not implemented";
            return Err(Error::unsupported(message));
        }
        if let Some(flag) = flags.chars().find(|flag| !"ismxq".contains(*flag)) {
            return Err(Error::syntax("invalid input syntax for type jsonpath").with_detail(
                format!("Unrecognized flag character \"{flag}\" in LIKE_REGEX predicate."),
            ));
        }
        let regex = RegexBuilder::new(&pattern)
            .case_insensitive(flags.contains('i'))
            .dot_matches_new_line(flags.contains('s'))
            .multi_line(flags.contains('m'))
            .build();
        regex.map_err(|error| {
            Error::new(SqlState("2201B"), format!("invalid regular expression: {error}"))
        })
    }

    fn string(&mut self) -> Result<String> {
        match self.peek().cloned() {
            Some(Token::String(string)) => {
                self.at += 1;
                Ok(string)
            }
            _ => Err(self.unexpected()),
        }
    }

    fn sum(&mut self) -> Result<Expr> {
        let mut left = self.product()?;
        loop {
            let op = match self.peek() {
                Some(Token::Symbol("+")) => Operation::Add,
                Some(Token::Symbol("-")) => Operation::Subtract,
                _ => return Ok(left),
            };
            self.at += 1;
            let right = self.product()?;
            left = Expr::Arithmetic(op, Box::new([self.value_of(left)?, self.value_of(right)?]));
        }
    }

    fn product(&mut self) -> Result<Expr> {
        let mut left = self.signed()?;
        loop {
            let op = match self.peek() {
                Some(Token::Symbol("*")) => Operation::Multiply,
                Some(Token::Symbol("/")) => Operation::Divide,
                Some(Token::Symbol("%")) => Operation::Modulo,
                _ => return Ok(left),
            };
            self.at += 1;
            let right = self.signed()?;
            left = Expr::Arithmetic(op, Box::new([self.value_of(left)?, self.value_of(right)?]));
        }
    }

    fn signed(&mut self) -> Result<Expr> {
        let negative = match self.peek() {
            Some(Token::Symbol("-")) => true,
            Some(Token::Symbol("+")) => false,
            _ => return self.accessor(),
        };
        self.at += 1;
        let operand = self.nested(Parser::signed)?;
        Ok(Expr::Sign(negative, Box::new(self.value_of(operand)?)))
    }

    fn accessor(&mut self) -> Result<Expr> {
        let base = self.primary()?;
        let mut steps = vec![];
        while let Some(step) = self.step()? {
            steps.push(step);
        }
        Ok(match steps.is_empty() {
            true => base,
            false => Expr::Access(Box::new(base), steps),
        })
    }

    fn primary(&mut self) -> Result<Expr> {
        let Some(token) = self.peek().cloned() else { return Err(self.unexpected()) };
        self.at += 1;
        Ok(match token {
            Token::Number(number) => Expr::Literal(number),
            Token::String(string) => {
                let mut literal = String::new();
                push_json_string(&string, &mut literal);
                Expr::Literal(literal)
            }
            Token::Variable(name) => Expr::Variable(name),
            Token::Word(word) => match word.to_ascii_lowercase().as_str() {
                literal @ ("true" | "false" | "null") => Expr::Literal(literal.to_owned()),
                "last" if self.subscripts == 0 => {
                    return Err(Error::syntax("LAST is allowed only in array subscripts"));
                }
                "last" => Expr::Last,
                "exists" => {
                    self.expect("(")?;
                    let inner = self.or()?;
                    self.expect(")")?;
                    Expr::Predicate(Box::new(Predicate::Exists(self.value_of(inner)?)))
                }
                _ => {
                    self.at -= 1;
                    return Err(self.unexpected());
                }
            },
            Token::Symbol("$") => Expr::Root,
            Token::Symbol("@") if self.filters == 0 => {
                return Err(Error::syntax("@ is not allowed in root expressions"));
            }
            Token::Symbol("@") => Expr::Current,
            Token::Symbol("(") => {
                let inner = self.or()?;
                self.expect(")")?;
                if !self.eat_word("is") {
                    return Ok(inner);
                }
                if !self.eat_word("unknown") {
                    return Err(self.unexpected());
                }
                Expr::Predicate(Box::new(Predicate::IsUnknown(self.predicate_of(inner)?)))
            }
            _ => {
                self.at -= 1;
                return Err(self.unexpected());
            }
        })
    }

    fn step(&mut self) -> Result<Option<Step>> {
        if self.eat(".") {
            return self.dotted().map(Some);
        }
        if self.eat("[") {
            if self.eat("*") {
                self.expect("]")?;
                return Ok(Some(Step::AnyElement));
            }
            self.subscripts += 1;
            let mut elements = vec![];
            loop {
                let first = self.sum()?;
                let last = if self.eat_word("to") { Some(self.sum()?) } else { None };
                elements.push((first, last));
                if !self.eat(",") {
                    break;
                }
            }
            self.subscripts -= 1;
            self.expect("]")?;
            return Ok(Some(Step::Elements(elements)));
        }
        if self.eat("?") {
            self.expect("(")?;
            self.filters += 1;
            let filter = self.or()?;
            self.filters -= 1;
            self.expect(")")?;
            return Ok(Some(Step::Filter(self.predicate_of(filter)?)));
        }
        Ok(None)
    }

    /// What follows a point.
    fn dotted(&mut self) -> Result<Step> {
        if self.eat("**") {
            return self.levels();
        }
        if self.eat("*") {
            return Ok(Step::AnyMember);
        }
        let name = match self.peek().cloned() {
            Some(Token::String(name)) => {
                self.at += 1;
                return Ok(Step::Member(name));
            }
            Some(Token::Word(name)) => name,
            _ => return Err(self.unexpected()),
        };
        self.at += 1;
        if !self.eat("(") {
            return Ok(Step::Member(name));
        }
        if name == "datetime" {
            return Err(Error::unsupported("jsonpath item method .datetime() is not supported"));
        }
        self.expect(")")?;
        match Method::ALL.iter().find(|(known, _)| *known == name) {
            Some((_, method)) => Ok(Step::Method(*method)),
            None => Err(syntax(Some(&name))),
        }
    }

    fn levels(&mut self) -> Result<Step> {
        if !self.eat("{") {
            return Ok(Step::Descend(0, LEVEL_LAST));
        }
        let first = self.level()?;
        let last = if self.eat_word("to") { self.level()? } else { first };
        self.expect("}")?;
        Ok(Step::Descend(first, last))
    }

    fn level(&mut self) -> Result<u32> {
        if self.eat_word("last") {
            return Ok(LEVEL_LAST);
        }
        match self.peek() {
            Some(Token::Number(number)) => {
                let level = number.parse().map_err(|_| self.unexpected())?;
                self.at += 1;
                Ok(level)
            }
            _ => Err(self.unexpected()),
        }
    }
}
