//! Reads a filter by recursive descent, with a bound on length and depth.

use jiff::civil::Date;

use super::{DEPTH_MAX, Day, FILTER_BYTES_MAX, Field, Filter, FilterError, Flag, Problem, Side, Unit};

/// What names are made of without quotation marks.
pub(super) fn is_of_name(char: char) -> bool {
    char.is_alphanumeric() || matches!(char, '-' | '_' | '/')
}

struct Parser<'t> {
    text: &'t str,
    at: usize,
    depth: usize,
}

pub(super) fn parse(text: &str) -> Result<Filter, FilterError> {
    if text.len() > FILTER_BYTES_MAX {
        return Err(FilterError { problem: Problem::TooLong, at: FILTER_BYTES_MAX });
    }
    let mut parser = Parser { text, at: 0, depth: 0 };
    let filter = parser.any()?;
    match parser.peek() {
        None => Ok(filter),
        Some(_) => Err(parser.error(Problem::Rest)),
    }
}

impl<'t> Parser<'t> {
    fn error(&self, problem: Problem) -> FilterError {
        FilterError { problem, at: self.at }
    }

    /// The next character that is no space, without taking it.
    fn peek(&mut self) -> Option<char> {
        let rest = &self.text[self.at..];
        self.at += rest.len() - rest.trim_start().len();
        self.text[self.at..].chars().next()
    }

    fn take(&mut self, char: char) -> bool {
        let is_there = self.peek() == Some(char);
        if is_there {
            self.at += char.len_utf8();
        }
        is_there
    }

    /// The word at this place, which may be empty, without taking it.
    fn word(&mut self) -> &'t str {
        self.peek();
        let rest = &self.text[self.at..];
        let length = rest.find(|char: char| !is_of_name(char)).unwrap_or(rest.len());
        &rest[..length]
    }

    fn deeper(&mut self) -> Result<(), FilterError> {
        self.depth += 1;
        if self.depth > DEPTH_MAX { Err(self.error(Problem::TooDeep)) } else { Ok(()) }
    }

    fn any(&mut self) -> Result<Filter, FilterError> {
        let first = self.all()?;
        let mut filters = vec![first];
        while self.take('|') {
            filters.push(self.all()?);
        }
        Ok(one_or(filters, Filter::Any))
    }

    fn all(&mut self) -> Result<Filter, FilterError> {
        let first = self.not()?;
        let mut filters = vec![first];
        while self.take('&') {
            filters.push(self.not()?);
        }
        Ok(one_or(filters, Filter::All))
    }

    fn not(&mut self) -> Result<Filter, FilterError> {
        let begin = self.at;
        if self.take('!') {
            self.deeper()?;
            let filter = Filter::Not(Box::new(self.not()?));
            self.depth -= 1;
            return Ok(filter);
        }
        if self.take('(') {
            self.deeper()?;
            let filter = self.any()?;
            self.depth -= 1;
            if !self.take(')') {
                return Err(FilterError { problem: Problem::Open, at: begin });
            }
            return Ok(filter);
        }
        self.term()
    }

    fn term(&mut self) -> Result<Filter, FilterError> {
        if self.take('#') {
            return Ok(Filter::Tag(self.name()?));
        }
        if self.take('~') {
            return Ok(Filter::List(self.name()?));
        }
        let word = self.word();
        if word.is_empty() {
            return Err(self.error(Problem::Term));
        }
        let begin = self.at;
        self.at += word.len();
        let lower = word.to_lowercase();
        let field = match lower.as_str() {
            "overdue" => return Ok(Filter::Is(Flag::Overdue)),
            "recurring" => return Ok(Filter::Is(Flag::Recurring)),
            "subtask" => return Ok(Filter::Is(Flag::Subtask)),
            "assigned" => {
                let to = if self.take(':') { Some(self.name()?) } else { None };
                return Ok(Filter::Assigned(to));
            }
            "search" => {
                return if self.take(':') { self.name().map(Filter::Search) } else { Err(self.error(Problem::Colon)) };
            }
            "p1" => return Ok(Filter::Priority(1)),
            "p2" => return Ok(Filter::Priority(2)),
            "p3" => return Ok(Filter::Priority(3)),
            "p4" => return Ok(Filter::Priority(4)),
            "due" => Field::Due,
            "start" => Field::Start,
            "deadline" => Field::Deadline,
            "done" => Field::Done,
            "created" => Field::Created,
            _ => return Err(FilterError { problem: Problem::Unknown, at: begin }),
        };
        let side = match self.word().to_lowercase().as_str() {
            "before" => Some(Side::Before),
            "after" => Some(Side::After),
            "on" => Some(Side::On),
            _ => None,
        };
        if side.is_some() {
            self.at += self.word().len();
            if !self.take(':') {
                return Err(self.error(Problem::Colon));
            }
        } else if !self.take(':') {
            return Ok(Filter::Has(field));
        }
        Ok(Filter::When(field, side.unwrap_or(Side::On), self.day()?))
    }

    fn name(&mut self) -> Result<String, FilterError> {
        let begin = self.at;
        if self.take('"') {
            let rest = &self.text[self.at..];
            let Some(length) = rest.find('"') else { return Err(FilterError { problem: Problem::Open, at: begin }) };
            if rest[..length].trim().is_empty() {
                return Err(self.error(Problem::Name));
            }
            self.at += length + 1;
            return Ok(rest[..length].to_owned());
        }
        let word = self.word();
        if word.is_empty() {
            return Err(self.error(Problem::Name));
        }
        self.at += word.len();
        Ok(word.to_owned())
    }

    fn day(&mut self) -> Result<Day, FilterError> {
        let is_plus = self.take('+');
        let begin = self.at;
        let word = self.word();
        let lower = word.to_lowercase();
        let named = match lower.as_str() {
            _ if is_plus => None,
            "today" => Some(Day::Later(0, Unit::Day)),
            "tomorrow" => Some(Day::Later(1, Unit::Day)),
            "yesterday" => Some(Day::Later(-1, Unit::Day)),
            _ => None,
        };
        let counted = || {
            let (number, unit) = lower.split_at_checked(lower.len().checked_sub(1)?)?;
            let unit = match unit {
                "d" => Unit::Day,
                "w" => Unit::Week,
                "m" => Unit::Month,
                "y" => Unit::Year,
                _ => return None,
            };
            let digits = number.strip_prefix('-').filter(|_| !is_plus).unwrap_or(number);
            let is_number = (1..=4).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
            is_number.then(|| number.parse().ok()).flatten().map(|number| Day::Later(number, unit))
        };
        let date = || {
            let is_date =
                !is_plus && lower.len() == 10 && lower.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
            is_date.then(|| lower.parse::<Date>().ok()).flatten().map(Day::On)
        };
        let found = named.or_else(counted).or_else(date).ok_or(FilterError { problem: Problem::Day, at: begin })?;
        self.at += word.len();
        Ok(found)
    }
}

fn one_or(mut filters: Vec<Filter>, many: impl FnOnce(Vec<Filter>) -> Filter) -> Filter {
    match filters.pop() {
        Some(one) if filters.is_empty() => one,
        Some(last) => {
            filters.push(last);
            many(filters)
        }
        None => many(filters),
    }
}
