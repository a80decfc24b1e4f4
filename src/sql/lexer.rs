//! Cuts a query string into the tokens of its statements and words errors as PostgreSQL does.
//!
//! A semicolon separates statements wherever it is a token of its own, so never inside strings, dollar quotes, quoted names or
//! comments. Statements whose tree would be deep enough to exhaust the stack of whoever walks or drops it are refused here,
//! by counting tokens, before any tree exists.

use std::ops::Range;

use super::dialect::PgDialect;
use sqlparser::parser::ParserError;
use sqlparser::tokenizer::{Location, Token, TokenWithSpan, Tokenizer};

use super::cursor::{Cursor, Failure};
use crate::error::{Error, Result, SqlState};

/// sqlparser's guarded recursions: nested parentheses, subqueries and joins cost one to three each.
pub(super) const RECURSION_LIMIT: usize = 150;

/// How deep a chain such as `a + b + c` or `q UNION q` may become. The parser builds such chains in a loop, so only the
/// later recursion over the tree is at risk: this many frames fit in a 2 MiB stack of a debug build.
const CHAIN_DEPTH_MAX: usize = 2_000;

/// What one level of `ARRAY<` or `STRUCT<` counts: types are parsed by unguarded recursion with large frames.
const TYPE_LEVEL_COST: usize = 50;

/// The tokens of one statement.
pub(super) struct StatementTokens {
    pub tokens: Vec<TokenWithSpan>,
    /// Bytes of the query string from the first token to the last.
    pub text: Range<usize>,
    /// Where the semicolon that ends it starts, if one does.
    semicolon: Option<Location>,
}

/// A query string with its tokens by statement.
pub(super) struct Lexed<'a> {
    text: &'a str,
    /// Byte offset of every line's start.
    line_starts: Vec<usize>,
    statements: Vec<StatementTokens>,
}

impl<'a> Lexed<'a> {
    pub fn new(text: &'a str) -> Result<Lexed<'a>> {
        let newlines = text.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(i, _)| i + 1);
        let line_starts = std::iter::once(0).chain(newlines).collect();
        let mut lexed = Lexed { text, line_starts, statements: vec![] };
        let tokens = Tokenizer::new(&PgDialect, text)
            .tokenize_with_location()
            .map_err(|e| unterminated(text).unwrap_or_else(|| lexed.error_at(e.location)))?;
        let mut current = vec![];
        for token in tokens {
            match token.token {
                Token::SemiColon => lexed.close(&mut current, Some(token.span.start)),
                Token::Whitespace(_) | Token::EOF => {}
                // A string like others, also where sqlparser expects one in single quotes only.
                Token::DollarQuotedString(string) => {
                    let string = Token::SingleQuotedString(string.value);
                    current.push(TokenWithSpan::new(string, token.span));
                }
                Token::Word(_) if follows_table_command(&current) => {
                    let span = current.pop().expect("TABLE precedes").span;
                    let words =
                        [Token::make_keyword("SELECT"), Token::Mul, Token::make_keyword("FROM")];
                    current.extend(words.into_iter().map(|word| TokenWithSpan::new(word, span)));
                    current.push(token);
                }
                Token::Mul if follows_row(&current) => {
                    current.push(TokenWithSpan::new(Token::make_word(ROW_STAR, None), token.span));
                }
                _ => current.push(token),
            }
        }
        lexed.close(&mut current, None);
        Ok(lexed)
    }

    pub fn statements(&self) -> &[StatementTokens] {
        &self.statements
    }

    fn close(&mut self, current: &mut Vec<TokenWithSpan>, semicolon: Option<Location>) {
        let tokens = std::mem::take(current);
        if let (Some(first), Some(last)) = (tokens.first(), tokens.last()) {
            let text = self.byte_of(first.span.start)..self.byte_of(last.span.end);
            self.statements.push(StatementTokens { tokens, text, semicolon });
        }
    }

    /// Refuses statements with chains of operators, casts, subscripts or set operations that are too long.
    pub fn check_depth(&self, statement: &StatementTokens) -> Result<()> {
        // One counter a parenthesis level: operators since the last comma, and what no comma ends (set operations).
        let mut levels = vec![(0usize, 0usize)];
        let mut depth = 0usize;
        let mut previous_is_type = false;
        for token in &statement.tokens {
            let nested = levels.len() > 1;
            let top = levels.last_mut().expect("the outermost level is never popped");
            match &token.token {
                Token::LParen | Token::LBracket | Token::LBrace => {
                    top.0 += 1;
                    depth += 1;
                    levels.push((0, 0));
                }
                Token::RParen | Token::RBracket | Token::RBrace if nested => {
                    let (operators, sets) = levels.pop().expect("more than one level");
                    depth -= operators + sets;
                }
                Token::Comma => {
                    depth -= top.0;
                    top.0 = 0;
                }
                token => {
                    let cost = chain_cost(token, previous_is_type);
                    if is_set_operation(token) {
                        top.1 += cost
                    } else {
                        top.0 += cost
                    }
                    depth += cost;
                }
            }
            if depth > CHAIN_DEPTH_MAX {
                return Err(too_complex());
            }
            previous_is_type = is_word(&token.token, &["ARRAY", "STRUCT"]);
        }
        Ok(())
    }

    /// A clause where FROM wants a relation: sqlparser takes `FROM WHERE` for a table called "where".
    pub fn check_relations(&self, statement: &StatementTokens) -> Result<()> {
        const CLAUSES: &[&str] = &[
            "WHERE",
            "GROUP",
            "HAVING",
            "ORDER",
            "LIMIT",
            "OFFSET",
            "FETCH",
            "UNION",
            "INTERSECT",
            "EXCEPT",
            "FROM",
            "ON",
            "USING",
            "INTO",
        ];
        for pair in statement.tokens.windows(2) {
            let [from, next] = pair else { continue };
            if is_word(&from.token, &["FROM", "JOIN"]) && is_word(&next.token, CLAUSES) {
                return Err(self.near(next.span.start, self.byte_of(next.span.end)));
            }
        }
        Ok(())
    }

    /// An error of a statement in PostgreSQL's words.
    pub fn error(&self, statement: &StatementTokens, cursor: &Cursor, failure: Failure) -> Error {
        match failure {
            Failure::Ours(error) => error,
            Failure::Sql(ParserError::RecursionLimitExceeded) => too_complex(),
            Failure::Sql(
                ParserError::ParserError(message) | ParserError::TokenizerError(message),
            ) => {
                let at = location_in(&message);
                let found = match at {
                    Some(at) => statement.tokens.iter().find(|t| t.span.start == at),
                    None if message.ends_with("found: EOF") => None,
                    None => {
                        let next = cursor.next_location();
                        statement.tokens.iter().find(|t| Some(t.span.start) == next)
                    }
                };
                match found {
                    Some(token) => self.near(token.span.start, self.byte_of(token.span.end)),
                    None => self.error_at_end(statement),
                }
            }
        }
    }

    fn error_at_end(&self, statement: &StatementTokens) -> Error {
        match statement.semicolon {
            Some(at) => self.near(at, self.byte_of(at) + 1),
            None => Error::syntax("syntax error at end of input").at(self.text.chars().count() + 1),
        }
    }

    fn error_at(&self, at: Location) -> Error {
        let start = self.byte_of(at);
        let length = self.text[start..].chars().next().map_or(0, char::len_utf8);
        match length {
            0 => Error::syntax("syntax error at end of input").at(self.text.chars().count() + 1),
            _ => self.near(at, start + length),
        }
    }

    fn near(&self, start: Location, end: usize) -> Error {
        let from = self.byte_of(start);
        let (before, found) = (self.text[..from].trim_end().to_lowercase(), &self.text[from..end]);
        let of_frame = ["row", "preceding", "following"].iter().any(|end| before.ends_with(end));
        if found.eq_ignore_ascii_case("exclude") && of_frame {
            return Error::unsupported("EXCLUDE in a window frame is not supported")
                .at(self.position(start));
        }
        Error::syntax(format!("syntax error at or near \"{found}\"")).at(self.position(start))
    }

    /// A location as PostgreSQL counts: characters from 1.
    pub fn position(&self, at: Location) -> usize {
        self.text[..self.byte_of(at)].chars().count() + 1
    }

    /// The byte offset of a location; sqlparser counts lines by line feeds and columns by characters, both from 1.
    fn byte_of(&self, at: Location) -> usize {
        let line = (at.line.max(1) - 1) as usize;
        let Some(&start) = self.line_starts.get(line) else { return self.text.len() };
        let column = (at.column.max(1) - 1) as usize;
        let offset = self.text[start..].char_indices().nth(column).map(|(i, _)| i);
        offset.map_or(self.text.len(), |offset| start + offset)
    }
}

/// The `*` of `(row).*`, which the parser has for relations only: to it the star is a member's name.
pub(super) const ROW_STAR: &str = "*";

fn follows_row(tokens: &[TokenWithSpan]) -> bool {
    matches!(tokens, [.., row, dot] if row.token == Token::RParen && dot.token == Token::Period)
}

/// Whether the tokens end in the TABLE of the command `TABLE name`, short for `SELECT * FROM name`. It is replaced by the
/// long form here because sqlparser knows only some of its places.
fn follows_table_command(tokens: &[TokenWithSpan]) -> bool {
    const BEFORE: &[&str] = &[
        "UNION",
        "INTERSECT",
        "EXCEPT",
        "ALL",
        "DISTINCT",
        "AS",
        "EXPLAIN",
        "ANALYZE",
        "VERBOSE",
        "FOR",
    ];
    match tokens {
        [table] => is_word(&table.token, &["TABLE"]),
        [.., before, table] if is_word(&table.token, &["TABLE"]) => {
            matches!(before.token, Token::LParen | Token::RParen) || is_word(&before.token, BEFORE)
        }
        _ => false,
    }
}

fn too_complex() -> Error {
    Error::new(SqlState::STATEMENT_TOO_COMPLEX, "statement is too complex")
        .with_detail("Its expressions, subqueries or set operations are nested too deeply.")
        .with_hint("Use IN lists, VALUES or smaller statements instead of long chains.")
}

fn is_word(token: &Token, words: &[&str]) -> bool {
    matches!(token, Token::Word(w) if w.quote_style.is_none() && words.iter().any(|x| w.value.eq_ignore_ascii_case(x)))
}

fn is_set_operation(token: &Token) -> bool {
    is_word(token, &["UNION", "INTERSECT", "EXCEPT"])
}

/// How many levels of tree a token can add; 0 for operands, names and ordinary keywords.
fn chain_cost(token: &Token, previous_is_type: bool) -> usize {
    const OPERATORS: &[&str] = &[
        "AND",
        "OR",
        "NOT",
        "IS",
        "LIKE",
        "ILIKE",
        "SIMILAR",
        "BETWEEN",
        "IN",
        "ISNULL",
        "NOTNULL",
        "COLLATE",
        "AT",
        "CASE",
        "UNION",
        "INTERSECT",
        "EXCEPT",
        "OPERATOR",
        "EXPLAIN",
        "PREPARE",
    ];
    match token {
        Token::Lt if previous_is_type => TYPE_LEVEL_COST,
        Token::Word(_) => usize::from(is_word(token, OPERATORS)),
        Token::Number(..)
        | Token::Placeholder(_)
        | Token::Period
        | Token::RParen
        | Token::RBracket => 0,
        Token::SingleQuotedString(_)
        | Token::DollarQuotedString(_)
        | Token::EscapedStringLiteral(_) => 0,
        Token::RBrace | Token::UnicodeStringLiteral(_) | Token::HexStringLiteral(_) => 0,
        _ => 1,
    }
}

/// The location at the end of sqlparser's message, ` at Line: 1, Column: 8`.
fn location_in(message: &str) -> Option<Location> {
    let (_, tail) = message.rsplit_once(" at Line: ")?;
    let (line, column) = tail.split_once(", Column: ")?;
    Some(Location { line: line.parse().ok()?, column: column.trim().parse().ok()? })
}

/// PostgreSQL's error for the string, quoted name or comment that the text does not close.
fn unterminated(text: &str) -> Option<Error> {
    let mut at = 0;
    while at < text.len() {
        let rest = &text[at..];
        let first = rest.chars().next().expect("at is a character boundary before the end");
        let (what, length) = match first {
            '\'' => ("quoted string", quoted_length(rest, '\'', is_escape_string(text, at))),
            '"' => ("quoted identifier", quoted_length(rest, '"', false)),
            '-' if rest.starts_with("--") => ("", Some(rest.find('\n').unwrap_or(rest.len()))),
            '/' if rest.starts_with("/*") => ("/* comment", comment_length(rest)),
            '$' => match dollar_tag(rest) {
                Some(tag) => {
                    let end = rest[tag.len()..].find(tag);
                    ("dollar-quoted string", end.map(|end| end + 2 * tag.len()))
                }
                None => ("", Some(1)),
            },
            c if c.is_alphanumeric() || c == '_' => {
                let word = rest.find(|c: char| !c.is_alphanumeric() && c != '_' && c != '$');
                ("", Some(word.unwrap_or(rest.len())))
            }
            c => ("", Some(c.len_utf8())),
        };
        match length {
            Some(length) => at += length,
            None => {
                // The error starts at the prefix of an E'...' string.
                let start = at - usize::from(first == '\'' && is_escape_string(text, at));
                let message = format!("unterminated {what} at or near \"{}\"", &text[start..]);
                return Some(Error::syntax(message).at(text[..start].chars().count() + 1));
            }
        }
    }
    None
}

/// Whether the quote at `at` opens an `E'...'` string, in which a backslash escapes a quote.
fn is_escape_string(text: &str, at: usize) -> bool {
    let before = &text.as_bytes()[..at];
    let prefixed = matches!(before.last(), Some(b'e' | b'E'));
    let in_word = before.len() > 1
        && (before[before.len() - 2].is_ascii_alphanumeric() || before[before.len() - 2] == b'_');
    prefixed && !in_word
}

fn quoted_length(rest: &str, quote: char, escapes: bool) -> Option<usize> {
    let mut chars = rest.char_indices().skip(1).peekable();
    while let Some((i, c)) = chars.next() {
        if c == '\\' && escapes {
            chars.next();
        } else if c == quote {
            match chars.peek() {
                Some((_, next)) if *next == quote => {
                    chars.next();
                }
                _ => return Some(i + quote.len_utf8()),
            }
        }
    }
    None
}

fn comment_length(rest: &str) -> Option<usize> {
    let (mut depth, mut at) = (0usize, 0);
    while at < rest.len() {
        let tail = &rest[at..];
        if tail.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if tail.starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return Some(at);
            }
        } else {
            at += tail.chars().next().map_or(1, char::len_utf8);
        }
    }
    None
}

/// `$$` or `$tag$` at the start of the text.
fn dollar_tag(rest: &str) -> Option<&str> {
    let end = rest[1..].find(|c: char| !c.is_alphanumeric() && c != '_')? + 1;
    let tag = rest.get(..end + 1)?;
    let digit_first = tag.as_bytes()[1].is_ascii_digit();
    (tag.ends_with('$') && !digit_first).then_some(tag)
}
