//! What is wrong in a configuration file, where, and what to write instead.

use std::cell::RefCell;
use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Serialize;

/// One mistake or warning.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Whether the configuration can be used all the same.
    pub severity: Severity,
    /// The configuration file.
    pub file: PathBuf,
    /// The line, from 1.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// The setting, as `section.key`; empty where the text is no TOML.
    pub key: String,
    /// What is wrong.
    pub what: String,
    /// What to do about it.
    pub remedy: String,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The configuration is refused.
    Mistake,
    /// Probably not what was meant.
    Warning,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Mistake => "mistake",
            Severity::Warning => "warning",
        };
        write!(f, "{}:{}:{}: {severity}: ", self.file.display(), self.line, self.column)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        write!(f, "{}\n    {}", self.what, self.remedy)
    }
}

/// Collects findings while a file is read.
pub(super) struct Report<'a> {
    file: &'a Path,
    source: &'a str,
    findings: RefCell<Vec<Finding>>,
}

impl<'a> Report<'a> {
    pub fn new(file: &'a Path, source: &'a str) -> Self {
        Self { file, source, findings: RefCell::default() }
    }

    pub fn mistake(&self, span: &Range<usize>, key: &str, what: impl Into<String>, remedy: impl Into<String>) {
        self.add(Severity::Mistake, span, key, what.into(), remedy.into());
    }

    pub fn warning(&self, span: &Range<usize>, key: &str, what: impl Into<String>, remedy: impl Into<String>) {
        self.add(Severity::Warning, span, key, what.into(), remedy.into());
    }

    pub fn has_mistakes(&self) -> bool {
        self.findings.borrow().iter().any(|finding| finding.severity == Severity::Mistake)
    }

    pub fn into_findings(self) -> Vec<Finding> {
        let mut findings = self.findings.into_inner();
        findings.sort_by_key(|finding| (finding.line, finding.column));
        findings
    }

    fn add(&self, severity: Severity, span: &Range<usize>, key: &str, what: String, remedy: String) {
        let (line, column) = self.position(span.start);
        let file = self.file.to_owned();
        self.findings.borrow_mut().push(Finding { severity, file, line, column, key: key.to_owned(), what, remedy });
    }

    fn position(&self, offset: usize) -> (usize, usize) {
        let before = self.source.get(..offset).unwrap_or(self.source);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        let column = before.get(line_start..).map_or(0, |line| line.chars().count());
        (before.matches('\n').count() + 1, column + 1)
    }
}

/// The known word that `given` was probably meant to be: at most two letters, and a third of it, differ.
pub(super) fn nearest<'k>(given: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let given = given.to_lowercase();
    let allowed = 2.min(given.chars().count().div_ceil(3));
    known
        .into_iter()
        .map(|word| (distance(&given, &word.to_lowercase()), word))
        .filter(|(distance, _)| *distance <= allowed)
        .min()
        .map(|(_, word)| word)
}

/// The number of letters to insert, remove or replace (Levenshtein).
fn distance(from: &str, to: &str) -> usize {
    let to: Vec<char> = to.chars().collect();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.chars().enumerate() {
        let mut next = vec![i + 1];
        for ((b, diagonal), above) in to.iter().zip(&row).zip(row.iter().skip(1)) {
            let left = next.last().copied().unwrap_or_default();
            let replaced = diagonal + usize::from(a != *b);
            next.push(replaced.min(left + 1).min(above + 1));
        }
        row = next;
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_counted_in_letters() {
        assert_eq!(distance("kitten", "sitting"), 3);
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("abc", ""), 3);
        assert_eq!(distance("same", "same"), 0);
    }

    #[test]
    fn only_a_near_word_is_suggested() {
        let known = ["ports", "name", "terminals"];
        assert_eq!(nearest("port", known), Some("ports"));
        assert_eq!(nearest("Terminal", known), Some("terminals"));
        assert_eq!(nearest("colour", known), None);
        assert_eq!(nearest("x", known), None);
    }

    #[test]
    fn positions_count_lines_and_characters_from_one() {
        let report = Report::new(Path::new("f"), "a = 1\n\u{e9} = 2 x\n");
        assert_eq!(report.position(0), (1, 1));
        assert_eq!(report.position(6), (2, 1));
        assert_eq!(report.position(8), (2, 2));
        assert_eq!(report.position(99), (3, 1));
    }
}
