//! `verify vectors`: recorded requests through the real verification and parsing.

use std::{
    collections::HashMap,
    fs::{self, File},
    io::Read,
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::Context as _;
use clap::Args;
use serde_json::Value;

use crate::{
    cli::output,
    ingress::vectors::{Sequence, Vector, disagreements},
};

/// Bytes of a file at most.
const LARGEST_FILE: u64 = 256 << 20;
/// Names of vectors that disagree in the summary at most.
const MOST_NAMED: usize = 200;

/// Which files.
#[derive(Debug, Args)]
pub(super) struct Vectors {
    /// Files of vectors or sequences, or directories of them.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
}

/// What stands in the files.
#[derive(Default)]
struct Found {
    vectors: Vec<Vector>,
    /// Of the folders of sequences, so that steps find what they name.
    neighbours: Vec<Vector>,
    sequences: Vec<Sequence>,
}

/// How many agree with what is expected of them.
#[derive(Default)]
struct Tally {
    run: usize,
    judged: usize,
    faults: Vec<String>,
}

pub(super) fn vectors(arguments: &Vectors) -> anyhow::Result<ExitCode> {
    let found = Found::read(&arguments.files)?;
    let mut tally = Tally::default();
    for vector in &found.vectors {
        let report = vector.run();
        print(&report);
        tally.run += 1;
        let mut faults = disagreements(vector, &report);
        if report.verdict == "error" && vector.expect.is_none() {
            faults.push(format!("it cannot be run: {}", report.detail.unwrap_or_default()));
        }
        tally.judged += usize::from(vector.expect.is_some() || !faults.is_empty());
        tally.count(&vector.name, &faults);
    }
    let by_name: HashMap<&str, &Vector> =
        found.neighbours.iter().chain(&found.vectors).map(|vector| (vector.name.as_str(), vector)).collect();
    for sequence in &found.sequences {
        let reports = sequence.run(|name| by_name.get(name).copied());
        for (step, report) in sequence.steps.iter().zip(&reports) {
            print(report);
            tally.run += 1;
            let Some(expected) = &step.expect else { continue };
            tally.judged += 1;
            let fault = format!("{}, expected {expected}", report.verdict);
            let faults = if expected == report.verdict { Vec::new() } else { vec![fault] };
            tally.count(&report.name, &faults);
        }
    }
    Ok(tally.sum_up())
}

fn print(report: &impl serde::Serialize) {
    output::line(serde_json::to_string(report).unwrap_or_default());
}

impl Tally {
    fn count(&mut self, name: &str, faults: &[String]) {
        // One line a vector: what it disagrees on stands behind each other.
        self.faults.extend((!faults.is_empty()).then(|| format!("{name}: {}", faults.join("; "))));
    }

    fn sum_up(&self) -> ExitCode {
        for fault in self.faults.iter().take(MOST_NAMED) {
            output::note(output::one_line(fault, 600));
        }
        let agree = self.judged.saturating_sub(self.faults.len());
        output::note(format!("{agree} of {} agree with what is expected; {} were run", self.judged, self.run));
        if self.faults.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(1) }
    }
}

impl Found {
    fn read(files: &[PathBuf]) -> anyhow::Result<Self> {
        let mut found = Self::default();
        for path in files {
            if path.is_dir() {
                for path in json_files(path)? {
                    found.read_file(&path)?;
                }
            } else {
                found.read_file(path)?;
            }
        }
        Ok(found)
    }

    fn read_file(&mut self, path: &Path) -> anyhow::Result<()> {
        for (number, entry) in entries(path)?.into_iter().enumerate() {
            let place = || format!("{}, entry {}", path.display(), number + 1);
            if entry.get("steps").is_some() {
                self.sequences.push(serde_json::from_value(entry).with_context(place)?);
                if number == 0 {
                    self.read_neighbours(path)?;
                }
            } else {
                self.vectors.push(serde_json::from_value(entry).with_context(place)?);
            }
        }
        Ok(())
    }

    /// The vectors beside a file of sequences. What is no vector is passed over.
    fn read_neighbours(&mut self, path: &Path) -> anyhow::Result<()> {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        for path in json_files(folder)? {
            let vectors = entries(&path).unwrap_or_default();
            self.neighbours.extend(vectors.into_iter().filter_map(|entry| serde_json::from_value(entry).ok()));
        }
        Ok(())
    }
}

/// The entries of a file: of an array each item, anything else is one.
fn entries(path: &Path) -> anyhow::Result<Vec<Value>> {
    let mut text = Vec::new();
    let read = File::open(path).and_then(|file| file.take(LARGEST_FILE).read_to_end(&mut text));
    read.with_context(|| format!("{} cannot be read", path.display()))?;
    let value = serde_json::from_slice(&text).with_context(|| format!("{} is no JSON", path.display()))?;
    Ok(match value {
        Value::Array(entries) => entries,
        one @ (Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_)) => vec![one],
    })
}

fn json_files(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| format!("{} cannot be read", folder.display()))?;
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    paths.sort();
    Ok(paths)
}
