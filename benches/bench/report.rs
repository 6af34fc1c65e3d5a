//! One row for each figure: a JSON line at once, and a table at the end.

use serde_json::json;

/// What a figure is held against.
#[derive(Clone, Copy)]
pub(crate) enum Target {
    /// At least so much.
    AtLeast(f64),
    /// At most so much.
    AtMost(f64),
    /// Nothing; it is told for information.
    Told,
}

/// All figures of one run of the benchmark.
#[derive(Default)]
pub(crate) struct Report {
    rows: Vec<[String; 5]>,
    missed: usize,
}

impl Report {
    /// A figure that stands for itself.
    pub(crate) fn figure(&mut self, name: &str, value: f64, unit: &str, target: Target) {
        self.row(name, (value, unit), None, target, value);
    }

    /// A figure held against a reference of the same run; the target is of their ratio.
    pub(crate) fn ratio(&mut self, name: &str, value: (f64, &str), reference: (f64, &str), target: Target) {
        self.row(name, value, Some(reference), target, value.0 / reference.0);
    }

    fn row(&mut self, name: &str, value: (f64, &str), reference: Option<(f64, &str)>, target: Target, judged: f64) {
        let (wanted, kept) = match target {
            Target::AtLeast(least) => (format!(">= {least}"), Some(judged >= least)),
            Target::AtMost(most) => (format!("<= {most}"), Some(judged <= most)),
            Target::Told => (String::new(), None),
        };
        let verdict = kept.map_or("", |kept| if kept { "pass" } else { "FAIL" });
        self.missed += usize::from(kept == Some(false));
        let ratio = reference.map(|_| judged);
        println!(
            "{}",
            json!({"name": name, "value": round(value.0), "unit": value.1, "reference": reference.map(|(of, _)| round(of)),
                "reference_name": reference.map(|(_, name)| name), "ratio": ratio.map(round), "target": wanted,
                "pass": kept})
        );
        let against = reference.map(|(of, name)| format!("{:.2} x {name} {}", judged, shown(of))).unwrap_or_default();
        self.rows.push([
            name.to_owned(),
            format!("{} {}", shown(value.0), value.1),
            against,
            wanted,
            verdict.to_owned(),
        ]);
    }

    /// Prints the table; how many targets were missed.
    pub(crate) fn table(&self) -> usize {
        let heads = ["measured", "value", "against", "target", ""].map(ToOwned::to_owned);
        let width =
            |column: usize| self.rows.iter().chain([&heads]).map(|row| row[column].chars().count()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..5).map(width).collect();
        println!();
        for row in [&heads].into_iter().chain(&self.rows) {
            let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
            println!("{}", cells.join("  ").trim_end());
        }
        self.missed
    }
}

fn round(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

fn shown(value: f64) -> String {
    if value >= 100.0 { format!("{value:.0}") } else { format!("{value:.2}") }
}

/// The middle one.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}
