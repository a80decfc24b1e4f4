//! DateStyle's second half: which of `1/2/2003` is the month.
//!
//! Owns the rewriting of such a date into the order that `datetime_in` reads, month first. Dates that name their month or begin
//! with a year of three digits or more are the same in every order and are left alone.

use std::borrow::Cow;

/// The order of day, month and year in a date of three short numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum DateOrder {
    #[default]
    Mdy,
    Dmy,
    Ymd,
}

impl DateOrder {
    /// As in `ISO, DMY`; month first for anything else.
    pub fn of_style(date_style: &str) -> DateOrder {
        match date_style.rsplit(' ').next() {
            Some("DMY") => DateOrder::Dmy,
            Some("YMD") => DateOrder::Ymd,
            _ => DateOrder::Mdy,
        }
    }

    /// The text with its date as month, day, year.
    pub fn month_first(self, text: &str) -> Cow<'_, str> {
        if self == DateOrder::Mdy || !depends_on_order(text) {
            return Cow::Borrowed(text);
        }
        let reordered = |word: &str| match three_numbers(word) {
            Some(([a, b, c], separator)) => match self {
                DateOrder::Mdy => word.to_owned(),
                DateOrder::Dmy => format!("{b}{separator}{a}{separator}{c}"),
                DateOrder::Ymd => format!("{b}{separator}{c}{separator}{a}"),
            },
            None => word.to_owned(),
        };
        Cow::Owned(text.split_whitespace().map(reordered).collect::<Vec<_>>().join(" "))
    }
}

/// Whether the text is another date in another order.
pub fn depends_on_order(text: &str) -> bool {
    text.split_whitespace().any(|word| three_numbers(word).is_some())
}

/// `1/2/2003`, `01-02-03`, `1.2.2003`: the numbers and what stands between.
fn three_numbers(word: &str) -> Option<([&str; 3], char)> {
    let separator = word.chars().find(|c| !c.is_ascii_digit()).filter(|c| "/-.".contains(*c))?;
    let mut parts = word.splitn(3, separator);
    let parts = [parts.next()?, parts.next()?, parts.next()?];
    let number = |part: &&str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    (parts.iter().all(number) && parts[0].len() <= 2).then_some((parts, separator))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_of_three_short_numbers_are_put_month_first() {
        for (order, text, expected) in [
            (DateOrder::Mdy, "1/2/2003", "1/2/2003"),
            (DateOrder::Dmy, "1/2/2003", "2/1/2003"),
            (DateOrder::Dmy, "13-02-03", "02-13-03"),
            (DateOrder::Dmy, "1.2.2003 10:11:12", "2.1.2003 10:11:12"),
            (DateOrder::Ymd, "03/02/01", "02/01/03"),
            (DateOrder::Dmy, "2003-02-01", "2003-02-01"),
            (DateOrder::Dmy, "1-Feb-2003", "1-Feb-2003"),
            (DateOrder::Ymd, "20030201", "20030201"),
        ] {
            assert_eq!(order.month_first(text), expected, "{order:?}");
        }
    }
}
