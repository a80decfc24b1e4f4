//! PostgreSQL's patterns for numbers, as `to_char(number, '999.99')` takes them.
//!
//! Owns the reading of a pattern, the writing of a number by it and the reading of one, in the C locale: a point, commas, no
//! currency sign. A number with more digits than the pattern shows as `#`s.

use super::moment_pattern::write_ordinal;
use crate::error::{Error, Result, SqlState};

/// A part of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Nine,
    Zero,
    Point,
    Group,
    /// `L`: a blank where there is no currency sign.
    Currency,
    Minus,
    Plus,
    Sign,
    Ordinal(&'static str),
    Literal(String),
}

/// Where `S` puts the sign.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Anchor {
    Before,
    After,
}

/// A pattern and what is known of it as a whole.
#[derive(Clone, Debug, Default)]
pub(super) struct NumberPattern {
    parts: Vec<Part>,
    /// Digits before the point.
    whole: usize,
    /// Digits behind it.
    pub fraction: usize,
    /// The first and the last place, counted from one, that show at least a zero; none are 0.
    zero_start: usize,
    zero_end: usize,
    point: bool,
    bare: bool,
    brackets: bool,
    plus: bool,
    minus: bool,
    anchor: Option<Anchor>,
    digits_before_anchor: usize,
    /// Whether digits stand behind a `V`, and how many: the number is shown ten to their power as large.
    shifts: bool,
    pub shift: usize,
    /// `EEEE`: one digit before the point and an exponent.
    pub scientific: bool,
    roman: Option<Roman>,
}

/// How `RN` writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Roman {
    Upper,
    Lower,
}

/// A number cut for writing: rounded to the pattern's fraction digits, without sign.
pub(super) struct Digits {
    pub negative: bool,
    /// Digits, and where the pattern has any, a point and its fraction digits.
    pub text: String,
}

const KEYWORDS: &[&str] = &[
    ",", ".", "0", "9", "B", "D", "EEEE", "FM", "G", "L", "MI", "PL", "PR", "RN", "SG", "S", "TH",
    "V",
];

impl NumberPattern {
    /// Reads a pattern; 42601 for parts that exclude each other, 0A000 for what is not served.
    pub(super) fn parse(pattern: &str) -> Result<NumberPattern> {
        let mut read = NumberPattern::default();
        let mut rest = pattern;
        while let Some(first) = rest.chars().next() {
            let keyword = KEYWORDS.iter().find(|keyword| {
                let head = rest.get(..keyword.len());
                head == Some(keyword) || head == Some(keyword.to_lowercase().as_str())
            });
            if read.scientific {
                return Err(Error::syntax("\"EEEE\" must be the last pattern used"));
            }
            match keyword {
                Some(keyword) => {
                    let lower = rest.starts_with("th") || rest.starts_with("rn");
                    rest = &rest[keyword.len()..];
                    read.add(keyword, lower)?;
                }
                None if first == '"' => {
                    let end = rest[1..].find('"').map_or(rest.len(), |end| end + 1);
                    read.parts.push(Part::Literal(rest[1..end].to_owned()));
                    rest = rest.get(end + 1..).unwrap_or_default();
                }
                None => {
                    read.parts.push(Part::Literal(first.to_string()));
                    rest = &rest[first.len_utf8()..];
                }
            }
        }
        read.whole += read.shift;
        if read.anchor == Some(Anchor::Before) && read.whole == read.digits_before_anchor {
            read.anchor = Some(Anchor::After);
        }
        Ok(read)
    }

    fn add(&mut self, keyword: &str, lower: bool) -> Result<()> {
        let refused = |message: &str| Err(Error::new(SqlState::SYNTAX_ERROR, message));
        let part = match keyword {
            "9" | "0" if self.brackets => {
                return refused(&format!("\"{keyword}\" must be ahead of \"PR\""));
            }
            "9" | "0" if self.shifts => {
                self.shift += 1;
                if keyword == "0" { Part::Zero } else { Part::Nine }
            }
            "9" | "0" => {
                if keyword == "0" && self.zero_start == 0 && !self.point {
                    self.zero_start = self.whole + 1;
                }
                *(if self.point { &mut self.fraction } else { &mut self.whole }) += 1;
                if keyword == "0" {
                    self.zero_end = self.whole + self.fraction;
                }
                if keyword == "0" { Part::Zero } else { Part::Nine }
            }
            "." | "D" if self.point => return refused("multiple decimal points"),
            "." | "D" if self.shifts => {
                return refused("cannot use \"V\" and decimal point together");
            }
            "." | "D" => {
                self.point = true;
                Part::Point
            }
            "," | "G" => Part::Group,
            "MI" | "PL" | "SG" if self.anchor.is_some() => {
                return refused(&format!("cannot use \"S\" and \"{keyword}\" together"));
            }
            "MI" => {
                self.minus = true;
                Part::Minus
            }
            "PL" => {
                self.plus = true;
                Part::Plus
            }
            "SG" => {
                (self.plus, self.minus) = (true, true);
                Part::Sign
            }
            "L" => Part::Currency,
            "TH" => Part::Ordinal(if lower { "th" } else { "TH" }),
            mode => return self.set(mode, lower),
        };
        self.parts.push(part);
        Ok(())
    }

    /// A keyword that changes how the whole number is written.
    fn set(&mut self, mode: &str, lower: bool) -> Result<()> {
        let refused = |message: &str| Err(Error::new(SqlState::SYNTAX_ERROR, message));
        match mode {
            "S" if self.anchor.is_some() => return refused("cannot use \"S\" twice"),
            "S" if self.plus || self.minus || self.brackets => {
                return refused("cannot use \"S\" and \"PL\"/\"MI\"/\"SG\"/\"PR\" together");
            }
            "S" => {
                self.anchor = Some(if self.point { Anchor::After } else { Anchor::Before });
                self.digits_before_anchor = self.whole;
            }
            "PR" => self.brackets = true,
            "FM" => self.bare = true,
            "V" if self.point => return refused("cannot use \"V\" and decimal point together"),
            "V" => self.shifts = true,
            "RN" => self.roman = Some(if lower { Roman::Lower } else { Roman::Upper }),
            "EEEE" => {
                let other = self.bare || self.plus || self.minus || self.brackets || self.shifts;
                if other || self.anchor.is_some() || self.roman.is_some() {
                    return refused("\"EEEE\" is incompatible with other formats");
                }
                self.scientific = true;
            }
            // `B`, the last of the keywords.
            _ => {}
        }
        Ok(())
    }

    /// Writes a number.
    pub(super) fn write(&self, digits: &Digits, out: &mut String) {
        match self.roman {
            Some(roman) => self.write_roman(roman, digits, out),
            None => Writer::new(self, digits).write(out),
        }
    }

    /// The digits behind the point that a number is rounded to before it is written.
    pub(super) fn places(&self) -> usize {
        if self.roman.is_some() { 0 } else { self.fraction + self.shift }
    }

    fn write_roman(&self, roman: Roman, digits: &Digits, out: &mut String) {
        let value =
            digits.text.parse::<usize>().ok().filter(|v| !digits.negative && (1..4000).contains(v));
        let mut text = match value {
            Some(value) => roman_numeral(value),
            None => "#".repeat(ROMAN_WIDTH),
        };
        if roman == Roman::Lower {
            text.make_ascii_lowercase();
        }
        if !self.bare {
            out.extend(std::iter::repeat_n(' ', ROMAN_WIDTH - text.len().min(ROMAN_WIDTH)));
        }
        out.push_str(&text);
    }

    /// Reads a number that was written by the pattern, as plain digits with a sign and a point.
    pub(super) fn read(&self, text: &str) -> Result<String> {
        if self.scientific || self.roman.is_some() {
            let keyword = if self.scientific { "EEEE" } else { "RN" };
            return Err(Error::unsupported(format!("\"{keyword}\" not supported for input")));
        }
        let mut read = Reader { rest: text, negative: false, digits: String::new() };
        for part in &self.parts {
            match part {
                Part::Nine | Part::Zero => read.digit(),
                Part::Point => {
                    if read.skip('.') {
                        read.digits.push('.');
                    }
                }
                Part::Group => {
                    read.skip(',');
                }
                Part::Minus | Part::Plus | Part::Sign => read.sign(),
                Part::Currency => read.skip_others(1),
                Part::Ordinal(_) => read.skip_others(2),
                Part::Literal(text) => read.skip_others(text.chars().count()),
            }
        }
        read.sign();
        if self.shift > 0 {
            let at = read.digits.len().saturating_sub(self.shift);
            read.digits.insert(at, '.');
        }
        if read.negative {
            read.digits.insert(0, '-');
        }
        Ok(read.digits)
    }
}

/// Blanks and letters of a Roman numeral, as many as the longest has.
const ROMAN_WIDTH: usize = 15;

fn roman_numeral(value: usize) -> String {
    const LETTERS: [(usize, &str); 13] = [
        (1000, "M"),
        (900, "CM"),
        (500, "D"),
        (400, "CD"),
        (100, "C"),
        (90, "XC"),
        (50, "L"),
        (40, "XL"),
        (10, "X"),
        (9, "IX"),
        (5, "V"),
        (4, "IV"),
        (1, "I"),
    ];
    let mut rest = value;
    let mut text = String::new();
    for (worth, letters) in LETTERS {
        text.push_str(&letters.repeat(rest / worth));
        rest %= worth;
    }
    text
}

/// A text on its way through a pattern.
struct Reader<'a> {
    rest: &'a str,
    negative: bool,
    digits: String,
}

impl Reader<'_> {
    fn skip(&mut self, c: char) -> bool {
        let behind = self.rest.strip_prefix(c);
        self.rest = behind.unwrap_or(self.rest);
        behind.is_some()
    }

    fn sign(&mut self) {
        let negative = self.skip('-') || self.skip('<');
        self.negative |= negative;
        if !negative && !self.skip('+') {
            self.skip('>');
        }
    }

    fn digit(&mut self) {
        self.rest = self.rest.trim_start_matches(' ');
        if self.digits.is_empty() {
            self.sign();
        }
        if let Some(digit) = self.rest.chars().next().filter(char::is_ascii_digit) {
            self.digits.push(digit);
            self.rest = &self.rest[1..];
        }
    }

    /// Passes over characters that belong to no number, so many at most.
    fn skip_others(&mut self, most: usize) {
        for _ in 0..most {
            let other = |c: &char| !c.is_ascii_digit() && !matches!(c, '.' | ',' | '+' | '-');
            let Some(c) = self.rest.chars().next().filter(other) else { return };
            self.rest = &self.rest[c.len_utf8()..];
        }
    }
}

/// One number on its way through a pattern, place by place.
struct Writer<'a> {
    pattern: &'a NumberPattern,
    negative: bool,
    /// The number, its sign left out.
    text: Vec<u8>,
    /// How much of it is written.
    at: usize,
    /// Places of the pattern before the number begins.
    blanks: usize,
    /// The last character that `FM` keeps, where it cuts any.
    last_relevant: Option<usize>,
    sign_written: bool,
    brackets: bool,
    /// Whether the place before was a digit of the number.
    inside: bool,
    place: usize,
    places: usize,
    overflow: bool,
}

impl<'a> Writer<'a> {
    fn new(pattern: &'a NumberPattern, digits: &Digits) -> Writer<'a> {
        let mut text = digits.text.clone().into_bytes();
        let whole = text.iter().position(|c| *c == b'.').unwrap_or(text.len());
        let overflow = whole > pattern.whole;
        if overflow {
            text = vec![b'#'; pattern.whole + usize::from(pattern.point) + pattern.fraction];
            if let Some(point) = text.get_mut(pattern.whole) {
                *point = b'.';
            }
        }
        let blanks = pattern.whole.saturating_sub(whole);
        let mut brackets = pattern.brackets;
        let sign_written = if pattern.plus || pattern.minus {
            !pattern.plus || pattern.minus
        } else {
            brackets &= digits.negative || !pattern.bare;
            !digits.negative && pattern.bare && pattern.anchor.is_none()
        };
        let places = (pattern.whole + pattern.fraction).saturating_sub(1)
            + usize::from(!sign_written && blanks == 0);
        let last_relevant = (pattern.bare && pattern.point)
            .then(|| last_relevant(&text, pattern, blanks))
            .flatten();
        Writer {
            pattern,
            negative: digits.negative,
            text,
            at: 0,
            blanks,
            last_relevant,
            sign_written,
            brackets,
            inside: false,
            place: 0,
            places,
            overflow,
        }
    }

    fn write(mut self, out: &mut String) {
        let bare = self.pattern.bare;
        for part in &self.pattern.parts {
            match part {
                Part::Nine | Part::Zero | Part::Point => self.write_place(part, out),
                Part::Group if self.inside => out.push(','),
                Part::Group if bare => {}
                Part::Group | Part::Currency => out.push(' '),
                Part::Minus if self.negative => out.push('-'),
                Part::Plus if !self.negative => out.push('+'),
                Part::Minus | Part::Plus if bare => {}
                Part::Minus | Part::Plus => out.push(' '),
                Part::Sign => out.push(if self.negative { '-' } else { '+' }),
                Part::Ordinal(suffix) => {
                    if !self.overflow && !self.negative && !self.pattern.point {
                        let start = out.len() - digits_at_end(out);
                        write_ordinal(start, suffix, out);
                    }
                }
                Part::Literal(text) => out.push_str(text),
            }
        }
    }

    fn zero_pads(&self) -> bool {
        self.pattern.zero_start > 0 && self.pattern.zero_start - 1 <= self.place
    }

    /// Whether the number's zero before the point shows as a blank: `9.9` writes 0.1 as ` .1`.
    fn hides_zero(&self) -> bool {
        self.pattern.zero_start == 0
            && self.at == 0
            && self.text.first() == Some(&b'0')
            && self.pattern.fraction != 0
    }

    /// Whether `FM` leaves nothing behind the point.
    fn ends_at_point(&self) -> bool {
        self.last_relevant.is_some_and(|last| self.text.get(last) == Some(&b'.'))
    }

    fn write_place(&mut self, part: &Part, out: &mut String) {
        self.inside = false;
        let (bare, blank) = (self.pattern.bare, self.place < self.blanks);
        let first_zero = self.pattern.zero_start > 0 && self.pattern.zero_start - 1 == self.place;
        if !self.sign_written
            && (!blank || first_zero)
            && (!self.hides_zero() || self.ends_at_point())
        {
            self.write_sign(out);
        }
        if blank && !self.zero_pads() {
            if !bare {
                out.push(' ');
            }
        } else if blank {
            out.push('0');
            self.inside = true;
        } else {
            self.write_character(part, out);
        }
        let end = self.places + usize::from(self.blanks > 0) + usize::from(self.pattern.point);
        let end = if self.last_relevant == Some(self.at) { self.place } else { end };
        if self.place + 1 == end {
            self.write_end(out);
        }
        self.place += 1;
    }

    fn write_sign(&mut self, out: &mut String) {
        match self.pattern.anchor {
            Some(Anchor::After) => return,
            Some(Anchor::Before) => out.push(if self.negative { '-' } else { '+' }),
            None if self.brackets => out.push(if self.negative { '<' } else { ' ' }),
            None if self.negative => out.push('-'),
            None if !self.pattern.bare => out.push(' '),
            None => {}
        }
        self.sign_written = true;
    }

    fn write_end(&self, out: &mut String) {
        if self.sign_written && self.brackets {
            out.push(if self.negative { '>' } else { ' ' });
        } else if self.pattern.anchor == Some(Anchor::After) {
            out.push(if self.negative { '-' } else { '+' });
        }
    }

    fn write_character(&mut self, part: &Part, out: &mut String) {
        let Some(&character) = self.text.get(self.at) else { return };
        let cut = self.last_relevant.is_some_and(|last| self.at > last);
        if character == b'.' {
            out.push('.');
        } else if cut && *part != Part::Zero {
            // What FM takes off the end.
        } else if self.hides_zero() {
            if !self.pattern.bare {
                out.push(' ');
            } else if self.ends_at_point() {
                out.push('0');
            }
        } else {
            out.push(char::from(character));
            self.inside = true;
        }
        self.at += 1;
    }
}

fn digits_at_end(text: &str) -> usize {
    text.bytes().rev().take_while(u8::is_ascii_digit).count()
}

/// The last digit behind the point that is not zero or that a `0` of the pattern keeps; the point where there is none.
fn last_relevant(text: &[u8], pattern: &NumberPattern, blanks: usize) -> Option<usize> {
    let point = text.iter().position(|c| *c == b'.')?;
    let last = text.iter().rposition(|c| *c != b'0').filter(|last| *last > point).unwrap_or(point);
    let kept = pattern.zero_end.saturating_sub(blanks).min(text.len() - 1);
    Some(if pattern.zero_end > blanks { last.max(kept) } else { last })
}
