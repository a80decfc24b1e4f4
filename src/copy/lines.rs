//! Where rows of the text and CSV formats end.
//!
//! A file has one kind of line end, told by its first one; another kind outside of quotes is an error, since it is data that was not
//! escaped. The scan keeps its place, so bytes are looked at once however they are cut into messages.

use super::bad_format;
use crate::error::Result;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LineEnd {
    Newline,
    Return,
    Both,
}

/// A scan for line ends over bytes that come piece by piece.
pub(super) struct Lines {
    csv: bool,
    quote: u8,
    /// `None` where the quote escapes itself, which makes it a mere toggle.
    escape: Option<u8>,
    line_end: Option<LineEnd>,
    in_quote: bool,
    after_escape: bool,
    /// Bytes of the row under way that have been looked at.
    scanned: usize,
    /// Newlines inside of it.
    pub inner_newlines: u64,
}

/// A row without its line end, and the bytes it takes with it.
pub(super) struct Line {
    pub length: usize,
    pub taken: usize,
}

impl Lines {
    pub fn new(csv: bool, quote: u8, escape: u8) -> Lines {
        Lines {
            csv,
            quote,
            escape: (escape != quote).then_some(escape),
            line_end: None,
            in_quote: false,
            after_escape: false,
            scanned: 0,
            inner_newlines: 0,
        }
    }

    /// The row that `bytes` begin with; `None` where its end has not come yet. At the end of all data (`last`) a row needs no
    /// line end.
    pub fn next(&mut self, bytes: &[u8], last: bool) -> Result<Option<Line>> {
        let mut at = self.scanned;
        while let Some(&byte) = bytes.get(at) {
            if self.csv {
                self.quotes(byte);
            } else if byte == b'\\' {
                // What follows a backslash is data, a line end too.
                if at + 1 >= bytes.len() && !last {
                    break;
                }
                at += 2;
                continue;
            }
            let next = bytes.get(at + 1);
            match byte {
                b'\n' if self.in_quote => self.inner_newlines += 1,
                b'\n' => {
                    self.ends_with(LineEnd::Newline)?;
                    return Ok(Some(self.line(at, 1)));
                }
                b'\r' if !self.in_quote => match next {
                    None if !last && self.line_end != Some(LineEnd::Return) => break,
                    Some(b'\n') if self.line_end != Some(LineEnd::Return) => {
                        self.ends_with(LineEnd::Both)?;
                        return Ok(Some(self.line(at, 2)));
                    }
                    _ => {
                        self.ends_with(LineEnd::Return)?;
                        return Ok(Some(self.line(at, 1)));
                    }
                },
                _ => {}
            }
            at += 1;
        }
        if !last {
            self.scanned = at.min(bytes.len());
            return Ok(None);
        }
        Ok((!bytes.is_empty()).then(|| self.line(bytes.len(), 0)))
    }

    fn line(&mut self, length: usize, line_end: usize) -> Line {
        self.scanned = 0;
        self.in_quote = false;
        self.after_escape = false;
        Line { length, taken: length + line_end }
    }

    fn quotes(&mut self, byte: u8) {
        if self.in_quote && self.escape == Some(byte) {
            self.after_escape = !self.after_escape;
        }
        if byte == self.quote && !self.after_escape {
            self.in_quote = !self.in_quote;
        }
        if self.escape != Some(byte) {
            self.after_escape = false;
        }
    }

    fn ends_with(&mut self, found: LineEnd) -> Result<()> {
        let expected = *self.line_end.get_or_insert(found);
        if expected == found {
            return Ok(());
        }
        let (what, escape) = match found {
            LineEnd::Newline => ("newline", "\\n"),
            LineEnd::Return | LineEnd::Both => ("carriage return", "\\r"),
        };
        Err(match self.csv {
            true => bad_format(format!("unquoted {what} found in data"))
                .with_hint(format!("Use quoted CSV field to represent {what}.")),
            false => bad_format(format!("literal {what} found in data"))
                .with_hint(format!("Use \"{escape}\" to represent {what}.")),
        })
    }
}
