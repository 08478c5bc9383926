//! Measurements → Markdown.

use super::sample::{Point, Sample};
use std::time::Duration;

/// A command of the table.
pub struct Row<'a> {
    /// Its name.
    pub name: &'a str,
    /// Set if the others are compared to it.
    pub yardstick: bool,
}

/// The heading and the table of one point.
pub fn point(rows: &[Row], point: &Point) -> String {
    let mut head = vec!["command".to_owned(), "min ms".to_owned(), "median ms".to_owned()];
    let yardsticks: Vec<(&Row, &Sample)> =
        rows.iter().zip(&point.samples).filter(|(row, _)| row.yardstick).collect();
    head.extend(yardsticks.iter().map(|(row, _)| format!("× {}", row.name)));
    head.extend(["peak MB", "syscalls", "a process", "rounds"].map(str::to_owned));
    let mut lines = vec![head];
    for (row, sample) in rows.iter().zip(&point.samples) {
        let mut times = millis(&sample.times);
        let median = median(&mut times);
        let mut line = vec![format!("`{}`", row.name), figure(times.first().copied()), figure(median)];
        line.extend(yardsticks.iter().map(|(_, yardstick)| figure(faster(&sample.times, &yardstick.times))));
        line.push(figure(Some(float(sample.memory) / 1024.0)));
        line.push(sample.calls.to_string());
        line.push(figure(Some(float(sample.calls) / float(point.processes as u64))));
        line.push(sample.times.len().to_string());
        lines.push(line);
    }
    format!(
        "### {} processes, {} namespaces\n\n{}\nOthers took {:.0} % of the processors' time.\n",
        thousands(point.processes),
        thousands(point.namespaces),
        markdown(&lines),
        point.others * 100.0
    )
}

/// The cost of each additional process, between each two points of different size, for the command at `index`.
pub fn cost(name: &str, index: usize, points: &[&Point]) -> Option<String> {
    let at = |point: &Point| Some((point.processes, median(&mut millis(&point.samples[index].times))?));
    let sizes: Vec<(usize, f64)> = points.iter().copied().filter_map(at).collect();
    let steps: Vec<(String, f64)> = sizes
        .windows(2)
        .filter(|step| step[1].0 > step[0].0)
        .map(|step| {
            let cost = (step[1].1 - step[0].1) * 1000.0 / float((step[1].0 - step[0].0) as u64);
            (format!("{cost:.1} µs from {} to {}", thousands(step[0].0), thousands(step[1].0)), cost)
        })
        .collect();
    let (first, last) = (steps.first()?, steps.last()?);
    let change = if steps.len() > 1 {
        format!(" ({:+.0} %)", (last.1 / first.1 - 1.0) * 100.0)
    } else {
        String::new()
    };
    let steps: Vec<&str> = steps.iter().map(|(step, _)| step.as_str()).collect();
    Some(format!("Cost of each additional process, `{name}`: {}{change}", steps.join(", ")))
}

/// The factor by which the yardstick takes longer: the median of the ratios of rounds that both took part in. A round is
/// one moment of the machine, so whatever slows it down slows both.
fn faster(times: &[Duration], yardstick: &[Duration]) -> Option<f64> {
    let ratio = |(own, yardstick): (&Duration, &Duration)| yardstick.as_secs_f64() / own.as_secs_f64();
    median(&mut times.iter().zip(yardstick).map(ratio).collect::<Vec<_>>())
}

/// The median; sorts the values.
pub fn median(values: &mut [f64]) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let (low, high) = (values.get(values.len().checked_sub(1)? / 2)?, values.get(values.len() / 2)?);
    Some(f64::midpoint(*low, *high))
}

fn millis(times: &[Duration]) -> Vec<f64> {
    times.iter().map(|time| time.as_secs_f64() * 1000.0).collect()
}

/// The number as a float, for division.
#[expect(clippy::cast_precision_loss, reason = "counts of this machine are far below 2^52")]
pub fn float(count: u64) -> f64 {
    count as f64
}

/// Three digits of a number, or more if they are before the point.
pub fn figure(value: Option<f64>) -> String {
    match value {
        None => "–".to_owned(),
        Some(value) if value < 9.995 => format!("{value:.2}"),
        Some(value) if value < 99.95 => format!("{value:.1}"),
        Some(value) => format!("{value:.0}"),
    }
}

/// A number with a comma at each thousand.
pub fn thousands(count: impl ToString + Copy) -> String {
    let digits = count.to_string();
    let mut grouped = String::new();
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// A table in Markdown, the first line its head; all columns but the first are right-aligned.
pub fn markdown(lines: &[Vec<String>]) -> String {
    let columns = lines.first().map_or(0, Vec::len);
    let width = |column: usize| lines.iter().map(|line| line[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for (at, line) in lines.iter().enumerate() {
        for (column, (cell, &width)) in line.iter().zip(&widths).enumerate() {
            let cell = if column == 0 { format!("| {cell:<width$} ") } else { format!("| {cell:>width$} ") };
            text.push_str(&cell);
        }
        text.push_str("|\n");
        if at == 0 {
            for (column, &width) in widths.iter().enumerate() {
                text.push('|');
                text.push_str(&"-".repeat(width + 1));
                text.push(if column == 0 { '-' } else { ':' });
            }
            text.push_str("|\n");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(millis: &[u64]) -> Sample {
        Sample {
            times: millis.iter().copied().map(Duration::from_millis).collect(),
            memory: 4096,
            calls: 4000,
        }
    }

    fn at(processes: usize, samples: Vec<Sample>) -> Point {
        Point { processes, namespaces: 12, others: 0.02, samples }
    }

    #[test]
    fn medians_are_in_the_middle() {
        assert_eq!(median(&mut [3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&mut [4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(&mut []), None);
    }

    #[test]
    fn ratios_are_of_the_same_round() {
        let times = |millis: &[u64]| sample(millis).times;
        // A slow moment, the second, slows both.
        assert_eq!(faster(&times(&[10, 100, 10]), &times(&[50, 500, 60])), Some(5.0));
        // Rounds that only one took part in do not count.
        assert_eq!(faster(&times(&[10, 10, 1, 1]), &times(&[20, 40])), Some(3.0));
        assert_eq!(faster(&times(&[10]), &[]), None);
    }

    #[test]
    fn point_is_a_table() {
        let rows = [Row { name: "fast", yardstick: false }, Row { name: "lsns 1", yardstick: true }];
        let text = point(&rows, &at(1000, vec![sample(&[10, 11, 30]), sample(&[100, 132])]));
        insta::assert_snapshot!(text, @"
        ### 1,000 processes, 12 namespaces

        | command  | min ms | median ms | × lsns 1 | peak MB | syscalls | a process | rounds |
        |----------|-------:|----------:|---------:|--------:|---------:|----------:|-------:|
        | `fast`   |   10.0 |      11.0 |     11.0 |    4.00 |     4000 |      4.00 |      3 |
        | `lsns 1` |    100 |       116 |     1.00 |    4.00 |     4000 |      4.00 |      2 |

        Others took 2 % of the processors' time.
        ");
    }

    #[test]
    fn cost_of_a_process_is_a_slope() {
        let points =
            [1000, 4000, 10_000].map(|processes| at(processes, vec![sample(&[processes as u64 / 100 + 5])]));
        let points: Vec<&Point> = points.iter().collect();
        let line = cost("fast", 0, &points).expect("points");
        insta::assert_snapshot!(line, @"Cost of each additional process, `fast`: 10.0 µs from 1,000 to 4,000, 10.0 µs from 4,000 to 10,000 (+0 %)");
        assert!(cost("fast", 0, &points[..2]).is_some_and(|line| !line.contains('%')));
        assert_eq!(cost("fast", 0, &points[..1]), None);
    }

    #[test]
    fn numbers_have_three_digits() {
        let figures = [0.0, 1.234, 9.999, 12.345, 99.99, 1234.5].map(|value| figure(Some(value)));
        assert_eq!(figures, ["0.00", "1.23", "10.0", "12.3", "100", "1234"]);
        assert_eq!([0, 100, 1000, 1_234_567].map(thousands), ["0", "100", "1,000", "1,234,567"]);
    }
}
