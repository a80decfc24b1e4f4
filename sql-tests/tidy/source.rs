//! A Rust source as tokens: enough to see paths, functions and test modules, not a parser.
//!
//! Comments and the insides of literals are gone, so that a word in a sentence is no import.

use std::path::Path;

pub struct Source {
    /// Relative to the checkout, with forward slashes.
    pub path: String,
    pub text: String,
    pub tokens: Vec<Token>,
    /// First and last line of each item under `#[cfg(test)]`.
    test_spans: Vec<(usize, usize)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// An identifier, a literal as `"`, a lifetime as `'`, `::`, or one character.
    pub text: String,
    /// From 1.
    pub line: usize,
}

/// `a::b::c`, as written or as a `use` tree says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedPath {
    pub segments: Vec<String>,
    pub line: usize,
}

impl Source {
    pub fn read(root: &Path, path: &Path) -> Source {
        let text = std::fs::read_to_string(path).unwrap();
        let relative = path.strip_prefix(root).unwrap().to_string_lossy().replace('\\', "/");
        Source::new(relative, text)
    }

    pub fn new(path: impl Into<String>, text: impl Into<String>) -> Source {
        let text = text.into();
        let tokens = tokens(&text);
        let test_spans = test_spans(&tokens);
        Source { path: path.into(), text, tokens, test_spans }
    }

    /// A file of its own under `#[cfg(test)] mod tests;`, or a test target.
    pub fn is_test_file(&self) -> bool {
        self.path.ends_with("/tests.rs")
            || self.path.ends_with("_tests.rs")
            || self.path.contains("/tests/")
    }

    pub fn is_test_line(&self, line: usize) -> bool {
        self.is_test_file()
            || self.test_spans.iter().any(|(from, to)| (*from..=*to).contains(&line))
    }

    /// Lines that are not tests.
    pub fn production_lines(&self) -> usize {
        (1..=self.text.lines().count()).filter(|line| !self.is_test_line(*line)).count()
    }

    /// Every path that the file names, `use` trees taken apart.
    pub fn paths(&self) -> Vec<NamedPath> {
        let mut found = Vec::new();
        let mut at = 0;
        while at < self.tokens.len() {
            let next = self.tokens.get(at + 1).map(|t| t.text.as_str());
            if self.tokens[at].text == "use" && next != Some("<") {
                at = use_tree(&self.tokens, at + 1, &[], &mut found);
            } else if is_identifier(&self.tokens[at].text) && next == Some("::") {
                at = plain_path(&self.tokens, at, &mut found);
            } else {
                at += 1;
            }
        }
        found
    }
}

pub fn is_identifier(text: &str) -> bool {
    text.starts_with(|c: char| c.is_alphabetic() || c == '_')
}

/// The index after the bracket that closes the one at `open`.
pub fn after_closing(tokens: &[Token], open: usize) -> usize {
    let mut depth = 0usize;
    for (at, token) in tokens.iter().enumerate().skip(open) {
        match token.text.as_str() {
            "{" | "(" | "[" => depth += 1,
            "}" | ")" | "]" => {
                depth -= 1;
                if depth == 0 {
                    return at + 1;
                }
            }
            _ => {}
        }
    }
    tokens.len()
}

fn plain_path(tokens: &[Token], start: usize, found: &mut Vec<NamedPath>) -> usize {
    let mut segments = vec![tokens[start].text.clone()];
    let mut at = start + 1;
    while at + 1 < tokens.len() && tokens[at].text == "::" && is_identifier(&tokens[at + 1].text) {
        segments.push(tokens[at + 1].text.clone());
        at += 2;
    }
    found.push(NamedPath { segments, line: tokens[start].line });
    at
}

/// One branch of a `use` tree; gives the index behind it.
fn use_tree(
    tokens: &[Token],
    start: usize,
    prefix: &[String],
    found: &mut Vec<NamedPath>,
) -> usize {
    let mut segments = prefix.to_vec();
    let mut at = start;
    while let Some(token) = tokens.get(at) {
        match token.text.as_str() {
            "::" => at += 1,
            "as" => at += 2,
            "{" => {
                at += 1;
                while tokens.get(at).is_some_and(|t| t.text != "}") {
                    at = use_tree(tokens, at, &segments, found);
                    at += usize::from(tokens.get(at).is_some_and(|t| t.text == ","));
                }
                return at + 1;
            }
            "," | "}" | ";" => break,
            text => {
                segments.push(text.to_owned());
                at += 1;
            }
        }
    }
    let line = tokens[start.min(tokens.len() - 1)].line;
    found.push(NamedPath { segments, line });
    at
}

fn test_spans(tokens: &[Token]) -> Vec<(usize, usize)> {
    const ATTRIBUTE: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let mut spans = Vec::new();
    for (at, window) in tokens.windows(ATTRIBUTE.len()).enumerate() {
        if !window.iter().map(|t| t.text.as_str()).eq(ATTRIBUTE) {
            continue;
        }
        let mut end = at + ATTRIBUTE.len();
        while end < tokens.len() && tokens[end].text != ";" {
            match tokens[end].text.as_str() {
                "{" => {
                    end = after_closing(tokens, end) - 1;
                    break;
                }
                "(" | "[" => end = after_closing(tokens, end),
                _ => end += 1,
            }
        }
        let last = tokens[end.min(tokens.len() - 1)].line;
        spans.push((window[0].line, last));
    }
    spans
}

fn tokens(text: &str) -> Vec<Token> {
    let mut lexer = Lexer { chars: text.chars().collect(), at: 0, line: 1, tokens: Vec::new() };
    while lexer.at < lexer.chars.len() {
        lexer.step();
    }
    lexer.tokens
}

struct Lexer {
    chars: Vec<char>,
    at: usize,
    line: usize,
    tokens: Vec<Token>,
}

impl Lexer {
    fn peek(&self, ahead: usize) -> char {
        self.chars.get(self.at + ahead).copied().unwrap_or('\0')
    }

    fn bump(&mut self) {
        self.line += usize::from(self.peek(0) == '\n');
        self.at += 1;
    }

    fn push(&mut self, text: impl Into<String>, line: usize) {
        self.tokens.push(Token { text: text.into(), line });
    }

    fn step(&mut self) {
        match (self.peek(0), self.peek(1)) {
            ('/', '/') => {
                while self.at < self.chars.len() && self.peek(0) != '\n' {
                    self.bump();
                }
            }
            ('/', '*') => self.block_comment(),
            ('"', _) => self.string(),
            ('r', '"' | '#') | ('b', 'r') | ('c', 'r') if self.raw_hashes().is_some() => {
                self.raw_string()
            }
            ('\'', _) => self.character_or_lifetime(),
            (':', ':') => {
                self.push("::", self.line);
                self.at += 2;
            }
            (c, _) if c.is_alphanumeric() || c == '_' => self.word(),
            (c, _) => {
                if !c.is_whitespace() {
                    self.push(c, self.line);
                }
                self.bump();
            }
        }
    }

    fn word(&mut self) {
        let start = self.at;
        while self.peek(0).is_alphanumeric() || self.peek(0) == '_' {
            self.at += 1;
        }
        let word: String = self.chars[start..self.at].iter().collect();
        self.push(word, self.line);
    }

    fn block_comment(&mut self) {
        let mut depth = 0;
        while self.at < self.chars.len() {
            match (self.peek(0), self.peek(1)) {
                ('/', '*') => depth += 1,
                ('*', '/') => depth -= 1,
                _ => {
                    self.bump();
                    continue;
                }
            }
            self.at += 2;
            if depth == 0 {
                return;
            }
        }
    }

    fn string(&mut self) {
        self.push("\"", self.line);
        self.bump();
        while self.at < self.chars.len() && self.peek(0) != '"' {
            if self.peek(0) == '\\' {
                self.bump();
            }
            self.bump();
        }
        self.bump();
    }

    /// The number of `#` when a raw string begins here, and where its quote is.
    fn raw_hashes(&self) -> Option<(usize, usize)> {
        let prefix = if self.peek(0) == 'r' { 1 } else { 2 };
        let hashes = (0..).take_while(|i| self.peek(prefix + i) == '#').count();
        (self.peek(prefix + hashes) == '"').then_some((hashes, prefix + hashes))
    }

    fn raw_string(&mut self) {
        let Some((hashes, quote)) = self.raw_hashes() else { return };
        self.push("\"", self.line);
        self.at += quote + 1;
        while self.at < self.chars.len() {
            let closes = self.peek(0) == '"' && (1..=hashes).all(|i| self.peek(i) == '#');
            self.bump();
            if closes {
                self.at += hashes;
                return;
            }
        }
    }

    fn character_or_lifetime(&mut self) {
        self.push("'", self.line);
        if self.peek(1) == '\\' {
            self.at += 3;
            while self.at < self.chars.len() && self.peek(0) != '\'' {
                self.bump();
            }
            self.bump();
        } else if self.peek(2) == '\'' {
            self.at += 1;
            self.bump();
            self.at += 1;
        } else {
            self.at += 1;
            while self.peek(0).is_alphanumeric() || self.peek(0) == '_' {
                self.at += 1;
            }
        }
    }
}

#[test]
fn words_in_comments_and_literals_are_no_tokens() {
    let text = r####"
        // timely
        /* timely /* nested */ timely */
        let a = "timely \" timely"; let b = r#"timely " timely"#; let c = '"'; let d = '\'';
        fn f<'timely>(x: &'timely str) { real::path() }
    "####;
    let source = Source::new("src/x.rs", text);
    assert!(!source.tokens.iter().any(|t| t.text.contains("timely")), "{:?}", source.tokens);
    assert_eq!(source.paths()[0].segments, ["real", "path"]);
    assert_eq!(source.paths()[0].line, 5);
}

#[test]
fn use_trees_are_taken_apart() {
    let source = Source::new("src/x.rs", "use a::{b::{self, c as d}, e::*};\npub use f;\n");
    let paths: Vec<String> = source.paths().iter().map(|p| p.segments.join("::")).collect();
    assert_eq!(paths, ["a::b::self", "a::b::c", "a::e::*", "f"]);
}

#[test]
fn lines_under_cfg_test_are_not_production() {
    let text =
        "fn a() {}\n#[cfg(test)]\nmod tests {\n  fn b() {}\n}\nfn c() {}\n#[cfg(test)]\nmod d;\n";
    let source = Source::new("src/x.rs", text);
    assert_eq!(source.production_lines(), 2);
    assert!(source.is_test_line(4) && !source.is_test_line(6) && source.is_test_line(8));
}
