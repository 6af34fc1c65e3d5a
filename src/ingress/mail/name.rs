//! Names of files that are safe to show and to write.

use std::collections::HashSet;

use crate::ingress::mail::{RawFile, clean};

const NAME_BYTES: usize = 255;

/// A base name for a file: no folders of either kind, no controls or direction marks, nothing that a shell, a
/// terminal or Windows reads as more than a name, at most 255 bytes. `file` when nothing is left.
pub fn safe_filename(raw: &str) -> String {
    let visible = clean::line(raw);
    let base =
        visible.rsplit(['/', '\\', '\u{2044}', '\u{2215}', '\u{29f8}', '\u{ff0f}', '\u{ff3c}']).next().unwrap_or("");
    let mapped: String = base
        .chars()
        .map(|c| match c {
            ':' | '*' | '?' | '"' | '<' | '>' | '|' | '$' | '`' | ';' | '&' => '_',
            _ => c,
        })
        .collect();
    let trimmed = mapped.trim_start_matches([' ', '.', '-', '~']).trim_end_matches([' ', '.']);
    let name = shorten(trimmed, NAME_BYTES);
    match name.is_empty() {
        true => "file".to_owned(),
        false if is_device(&name) => format!("_{name}"),
        false => name,
    }
}

/// Windows opens these as devices whatever follows the first dot.
fn is_device(name: &str) -> bool {
    let stem = name.split('.').next().unwrap_or("").trim().to_ascii_lowercase();
    matches!(stem.as_str(), "con" | "prn" | "aux" | "nul")
        || (matches!(stem.get(..3), Some("com" | "lpt")) && matches!(stem.as_bytes().get(3..), Some([b'0'..=b'9'])))
}

/// Cuts in the stem and keeps a short extension.
fn shorten(name: &str, limit: usize) -> String {
    if name.len() <= limit {
        return name.to_owned();
    }
    let extension = name.rfind('.').map_or("", |dot| &name[dot..]);
    let extension = if extension.len() <= 16 { extension } else { "" };
    let room = limit.saturating_sub(extension.len());
    let cut = (0..=room.min(name.len())).rev().find(|at| name.is_char_boundary(*at)).unwrap_or(0);
    format!("{}{extension}", &name[..cut])
}

/// The files with safe names, each once: `a.txt`, `a-2.txt`, … Case does not make a name different.
#[must_use]
pub fn unique(files: Vec<RawFile>) -> Vec<RawFile> {
    let mut taken = HashSet::new();
    let mut next = std::collections::HashMap::new();
    files
        .into_iter()
        .map(|mut file| {
            let name = safe_filename(&file.filename);
            let mut candidate = name.clone();
            let counter = next.entry(name.to_lowercase()).or_insert(1_usize);
            while !taken.insert(candidate.to_lowercase()) {
                *counter += 1;
                candidate = numbered(&name, *counter);
            }
            file.filename = candidate;
            file
        })
        .collect()
}

fn numbered(name: &str, number: usize) -> String {
    let suffix = format!("-{number}");
    let name = shorten(name, NAME_BYTES - suffix.len());
    match name.rfind('.').filter(|dot| *dot > 0) {
        Some(dot) => format!("{}{suffix}{}", &name[..dot], &name[dot..]),
        None => format!("{name}{suffix}"),
    }
}

#[cfg(test)]
mod tests {
    use super::{safe_filename, unique};
    use crate::ingress::mail::RawFile;

    #[test]
    fn hostile_names_become_plain_base_names() {
        for (raw, safe) in [
            ("../../../etc/passwd", "passwd"),
            (r"C:\Users\x.exe", "x.exe"),
            ("..", "file"),
            ("", "file"),
            ("CON", "_CON"),
            ("-rf", "rf"),
            ("invoice\u{202e}gpj.exe", "invoicegpj.exe"),
            ("a\r\nX-Evil: 1.txt", "a X-Evil_ 1.txt"),
            ("file.txt:evil.exe", "file.txt_evil.exe"),
            ("Übersicht März.pdf", "Übersicht März.pdf"),
        ] {
            assert_eq!(safe_filename(raw), safe);
        }
        assert!(safe_filename(&"ä".repeat(5000)).len() <= 255);
    }

    #[test]
    fn equal_names_are_numbered() {
        let file = |name: &str| RawFile { filename: name.to_owned(), ..RawFile::default() };
        let names: Vec<_> =
            unique(vec![file("a.txt"), file("A.txt"), file("a.txt")]).into_iter().map(|file| file.filename).collect();
        assert_eq!(names, ["a.txt", "A-2.txt", "a-3.txt"]);
    }
}
