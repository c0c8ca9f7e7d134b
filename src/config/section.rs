//! Reads one TOML table key by key, and reports the keys nobody asked for.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt::Display;
use std::ops::{Range, RangeInclusive};

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::finding::{Report, nearest};

/// A table of the file, or the defaults where the file does not have it.
pub(super) struct Section<'a> {
    report: &'a Report<'a>,
    /// As the operator would write it: `gateway`, `trust.plant`, `peer`.
    title: String,
    table: Option<&'a DeTable<'a>>,
    span: Range<usize>,
    known: RefCell<BTreeSet<String>>,
}

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(super) struct Located<T> {
    pub value: T,
    pub span: Range<usize>,
}

/// What is wrong with a value, and what to write instead.
pub(super) struct Mistake {
    pub what: String,
    pub remedy: String,
}

impl Mistake {
    pub fn new(what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { what: what.into(), remedy: remedy.into() }
    }
}

impl<'a> Section<'a> {
    /// The whole file.
    pub fn document(report: &'a Report<'a>, document: &'a Spanned<DeTable<'a>>) -> Self {
        Self::new(report, String::new(), Some(document.get_ref()), 0..0)
    }

    /// The table under `key`; absent counts as empty.
    pub fn child(&self, key: &str) -> Section<'a> {
        let title = self.titled(key);
        let Some(value) = self.get(key) else {
            return Self::new(self.report, title, None, self.span.clone());
        };
        let table = value.get_ref().as_table();
        if table.is_none() {
            self.wrong_type(key, value, "a table");
        }
        Self::new(self.report, title, table, value.span())
    }

    /// The tables of the array `[[key]]`.
    pub fn children(&self, key: &str) -> Vec<Section<'a>> {
        let Some(value) = self.get(key) else {
            return Vec::new();
        };
        let items: Vec<_> = value.get_ref().as_array().map(|array| array.iter().collect()).unwrap_or_default();
        let tables: Vec<_> = items
            .iter()
            .filter_map(|item| Some((item.get_ref().as_table()?, item.span())))
            .map(|(table, span)| Self::new(self.report, self.titled(key), Some(table), span))
            .collect();
        if tables.len() != items.len() || items.is_empty() {
            let remedy = format!("write each one as a table that starts with [[{key}]]");
            self.report.mistake(&value.span(), key, format!("`{key}` is a list of tables"), remedy);
        }
        tables
    }

    /// The names of all tables in here, for sections whose keys the operator chooses.
    pub fn names(&self) -> Vec<Located<String>> {
        let entries = self.table.into_iter().flat_map(|table| table.iter());
        entries.map(|(key, _)| Located { value: key.get_ref().to_string(), span: key.span() }).collect()
    }

    /// A text turned into a `T`; None where it is absent or, after a report, wrong.
    pub fn parsed<T>(&self, key: &str, parse: impl Fn(&str) -> Result<T, Mistake>) -> Option<Located<T>> {
        let value = self.get(key)?;
        let Some(text) = value.get_ref().as_str() else {
            self.wrong_type(key, value, "a text in quotes");
            return None;
        };
        self.judged(key, value.span(), parse(text))
    }

    /// Like [`Self::parsed`], and absence is a mistake.
    pub fn required<T>(
        &self,
        key: &str,
        example: &str,
        parse: impl Fn(&str) -> Result<T, Mistake>,
    ) -> Option<Located<T>> {
        self.require(key, example);
        self.parsed(key, parse)
    }

    /// Reports that `key` is absent, with an example of what to write.
    pub fn require(&self, key: &str, example: &str) {
        if self.get(key).is_none() {
            let what = format!("`{key}` is missing in {}", self.headline());
            self.report.mistake(&self.span, &self.titled(key), what, format!("add a line such as {key} = {example}"));
        }
    }

    /// A list of texts, each turned into a `T`; those that are wrong are reported and left out.
    pub fn parsed_list<T>(&self, key: &str, parse: impl Fn(&str) -> Result<T, Mistake>) -> Option<Vec<Located<T>>> {
        self.list(key, "a list of texts such as [\"...\"]", |value| value.as_str().map(&parse))
    }

    /// A list of whole numbers within `range`.
    pub fn integer_list<T>(&self, key: &str, range: RangeInclusive<T>) -> Option<Vec<Located<T>>>
    where
        T: TryFrom<i128> + PartialOrd + Display,
    {
        self.list(key, "a list of whole numbers such as [443]", |value| Some(within(integer(value)?, &range)))
    }

    /// A whole number within `range`, or `default` where it is absent or, after a report, wrong.
    pub fn integer<T>(&self, key: &str, range: RangeInclusive<T>, default: T) -> T
    where
        T: TryFrom<i128> + PartialOrd + Display,
    {
        let Some(value) = self.get(key) else {
            return default;
        };
        let Some(number) = integer(value.get_ref()) else {
            self.wrong_type(key, value, "a whole number");
            return default;
        };
        self.judged(key, value.span(), within(number, &range)).map_or(default, |located| located.value)
    }

    /// A yes or no.
    pub fn boolean(&self, key: &str, default: bool) -> bool {
        let Some(value) = self.get(key) else {
            return default;
        };
        value.get_ref().as_bool().unwrap_or_else(|| {
            self.wrong_type(key, value, "true or false, without quotes");
            default
        })
    }

    /// Reports every key that was never asked for.
    pub fn finish(&self) {
        let known = self.known.borrow();
        for name in self.names().iter().filter(|name| !known.contains(&name.value)) {
            let what = format!("{} knows no `{}`", self.headline(), name.value);
            let remedy = match nearest(&name.value, known.iter().map(String::as_str)) {
                Some(word) => format!("did you mean `{word}`?"),
                None => {
                    let words: Vec<&str> = known.iter().map(String::as_str).collect();
                    format!("remove it; what can stand here is {}", words.join(", "))
                }
            };
            self.report.mistake(&name.span, &self.titled(&name.value), what, remedy);
        }
    }

    /// Reports a mistake in the value of `key`.
    pub fn mistake(&self, span: &Range<usize>, key: &str, what: impl Into<String>, remedy: impl Into<String>) {
        self.report.mistake(span, &self.titled(key), what, remedy);
    }

    /// Reports something doubtful in the value of `key`.
    pub fn warning(&self, span: &Range<usize>, key: &str, what: impl Into<String>, remedy: impl Into<String>) {
        self.report.warning(span, &self.titled(key), what, remedy);
    }

    /// How many items were written in the list `key`, sound or not.
    pub fn items(&self, key: &str) -> usize {
        self.get(key).and_then(|value| value.get_ref().as_array()).map_or(0, |array| array.iter().count())
    }

    /// Whether `key` is there, as a list of nothing.
    pub fn is_empty_list(&self, key: &str) -> bool {
        self.get(key).is_some_and(|value| value.get_ref().as_array().is_some()) && self.items(key) == 0
    }

    /// Whether the file has this table.
    pub fn is_present(&self) -> bool {
        self.table.is_some()
    }

    /// Where the section starts.
    pub fn span(&self) -> Range<usize> {
        self.span.clone()
    }

    /// Where the value of `key` stands, or the section where it is absent.
    pub fn span_of(&self, key: &str) -> Range<usize> {
        self.get(key).map_or(self.span(), Spanned::span)
    }

    fn new(report: &'a Report<'a>, title: String, table: Option<&'a DeTable<'a>>, span: Range<usize>) -> Self {
        Self { report, title, table, span, known: RefCell::default() }
    }

    fn get(&self, key: &str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.known.borrow_mut().insert(key.to_owned());
        self.table?.get(key)
    }

    fn list<T>(
        &self,
        key: &str,
        shape: &str,
        parse: impl Fn(&DeValue<'_>) -> Option<Result<T, Mistake>>,
    ) -> Option<Vec<Located<T>>> {
        let value = self.get(key)?;
        let Some(array) = value.get_ref().as_array() else {
            self.wrong_type(key, value, shape);
            return None;
        };
        let parsed = array.iter().filter_map(|item| match parse(item.get_ref()) {
            Some(result) => self.judged(key, item.span(), result),
            None => {
                self.wrong_type(key, item, shape);
                None
            }
        });
        Some(parsed.collect())
    }

    fn judged<T>(&self, key: &str, span: Range<usize>, result: Result<T, Mistake>) -> Option<Located<T>> {
        match result {
            Ok(value) => Some(Located { value, span }),
            Err(mistake) => {
                self.mistake(&span, key, mistake.what, mistake.remedy);
                None
            }
        }
    }

    fn wrong_type(&self, key: &str, value: &Spanned<DeValue<'_>>, wanted: &str) {
        let what = format!("this is of type {}, not {wanted}", value.get_ref().type_str());
        self.mistake(&value.span(), key, what, format!("write {wanted}"));
    }

    fn titled(&self, key: &str) -> String {
        if self.title.is_empty() { key.to_owned() } else { format!("{}.{key}", self.title) }
    }

    fn headline(&self) -> String {
        match self.title.as_str() {
            "" => "the file".to_owned(),
            "peer" | "service" => format!("this [[{}]]", self.title),
            title => format!("[{title}]"),
        }
    }
}

fn integer(value: &DeValue<'_>) -> Option<i128> {
    let number = value.as_integer()?;
    i128::from_str_radix(number.as_str(), number.radix()).ok()
}

fn within<T>(number: i128, range: &RangeInclusive<T>) -> Result<T, Mistake>
where
    T: TryFrom<i128> + PartialOrd + Display,
{
    let fits = T::try_from(number).ok().filter(|number| range.contains(number));
    fits.ok_or_else(|| {
        let remedy = format!("write a number from {} to {}", range.start(), range.end());
        Mistake::new(format!("{number} is out of range"), remedy)
    })
}
