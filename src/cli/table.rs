//! Text for people: columns and dates.

/// Rows with their columns aligned. The last cell of a row is not padded, and a row of a single cell is a
/// line of its own that widens nothing.
pub(super) fn aligned(rows: &[Vec<String>]) -> String {
    let mut widths: Vec<usize> = Vec::new();
    for row in rows.iter().filter(|row| row.len() > 1) {
        for (column, cell) in row.iter().enumerate() {
            let width = cell.chars().count();
            match widths.get_mut(column) {
                Some(widest) => *widest = width.max(*widest),
                None => widths.push(width),
            }
        }
    }
    rows.iter().map(|row| line(row, &widths)).collect()
}

fn line(row: &[String], widths: &[usize]) -> String {
    let Some((last, others)) = row.split_last() else {
        return "\n".into();
    };
    let padded: String = others.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}  ")).collect();
    let line = format!("{padded}{last}");
    format!("{}\n", line.trim_end())
}

/// A time in seconds since 1970 as 2026-01-31T23:59:59Z.
pub(super) fn date(unix_seconds: u64) -> String {
    const DAY: u64 = 86_400;
    let (days, seconds) = (unix_seconds / DAY, unix_seconds % DAY);
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// The Gregorian date of a day counted from 1970-01-01.
fn civil(mut day: u64) -> (u64, u64, u64) {
    let cycles = day / CYCLE;
    day %= CYCLE;
    let mut year = 1970;
    while day >= year_length(year) {
        day -= year_length(year);
        year += 1;
    }
    let february = if year_length(year) == 366 { 29 } else { 28 };
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if day < length {
            break;
        }
        day -= length;
        month += 1;
    }
    (year + 400 * cycles, month, day + 1)
}

/// Days of 400 years, after which the calendar repeats.
const CYCLE: u64 = 146_097;

fn year_length(year: u64) -> u64 {
    if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) { 366 } else { 365 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [["ID", "GROUP", "X"], ["meter-1", "-", "y"], ["b", "", ""]];
        let rows: Vec<Vec<String>> = rows.iter().map(|row| row.iter().map(ToString::to_string).collect()).collect();
        assert_eq!(aligned(&rows), "ID       GROUP  X\nmeter-1  -      y\nb\n");
        assert_eq!(aligned(&[]), "");
    }

    #[test]
    fn dates_are_gregorian() {
        assert_eq!(date(0), "1970-01-01T00:00:00Z");
        assert_eq!(date(951_782_399), "2000-02-28T23:59:59Z");
        assert_eq!(date(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(date(1_767_225_599), "2025-12-31T23:59:59Z");
        assert_eq!(date(4_107_542_400), "2100-03-01T00:00:00Z");
        assert!(date(u64::MAX).ends_with('Z'));
    }
}
