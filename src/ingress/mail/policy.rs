//! Which files of an event are kept.

use crate::{
    domain::{event::Attachment, source::AttachmentPolicy},
    ingress::mail::sniff,
};

/// Endings of files that a click or a double click runs, or that carry such files past the marks of the system
/// (disk images, shortcuts, documents with macros).
#[rustfmt::skip]
const RUNNABLE: &[&str] = &[
    "ade", "adp", "apk", "app", "appx", "bat", "chm", "cmd", "com", "cpl", "dll", "dmg", "docm", "dotm", "exe", "gadget",
    "hta", "img", "inf", "ins", "iso", "isp", "jar", "js", "jse", "lnk", "mde", "msc", "msi", "msix", "msp", "mst", "pif",
    "potm", "ppam", "ppsm", "pptm", "ps1", "ps1xml", "ps2", "psc1", "reg", "scf", "scr", "sct", "shb", "sys", "url", "vb",
    "vbe", "vbs", "vhd", "vhdx", "vxd", "wsc", "wsf", "wsh", "xlam", "xll", "xlsm", "xltm",
];

/// Refuses files by a source's policy: their bytes are dropped, the reason takes their place.
pub fn enforce(policy: &AttachmentPolicy, files: &mut [(Attachment, Vec<u8>)]) {
    let mut kept = 0_u32;
    for (file, bytes) in files {
        match refusal(policy, file, kept) {
            None => kept = kept.saturating_add(1),
            Some(reason) => {
                file.refused = Some(reason);
                *bytes = Vec::new();
            }
        }
    }
}

fn refusal(policy: &AttachmentPolicy, file: &Attachment, kept: u32) -> Option<String> {
    if kept >= policy.max_count {
        return Some(format!("the source keeps {} files of an event", policy.max_count));
    }
    if file.size > policy.max_bytes {
        return Some(format!("{} bytes; the source keeps files up to {}", file.size, policy.max_bytes));
    }
    if let Some(kind) = policy.deny.iter().find(|kind| may_be(kind, file)) {
        return Some(format!("the source refuses `{kind}`"));
    }
    let allowed = policy.allow.is_empty() || policy.allow.iter().any(|kind| is_surely(kind, file));
    (!allowed).then(|| "not a kind that the source allows".to_owned())
}

/// Whether anything about a file says that it is of this kind.
fn may_be(kind: &str, file: &Attachment) -> bool {
    match kind {
        "executable" => {
            RUNNABLE.iter().any(|ending| has_ending(file, ending))
                || file.sniffed_type.as_deref().is_some_and(sniff::is_program)
        }
        _ => match kind.strip_prefix('.') {
            Some(ending) => has_ending(file, ending),
            None => declared_types(file).any(|found| matches_type(kind, found)),
        },
    }
}

/// Whether nothing about a file says that it is of another kind.
fn is_surely(kind: &str, file: &Attachment) -> bool {
    if kind == "executable" || kind.starts_with('.') {
        return may_be(kind, file);
    }
    match file.sniffed_type.as_deref() {
        Some(found) if !sniff::is_container(found) => matches_type(kind, found),
        Some(_) | None => may_be(kind, file),
    }
}

fn declared_types(file: &Attachment) -> impl Iterator<Item = &str> {
    std::iter::once(file.content_type.as_str()).chain(file.sniffed_type.as_deref())
}

fn matches_type(pattern: &str, found: &str) -> bool {
    match pattern.strip_suffix("/*") {
        Some(family) => found.split_once('/').is_some_and(|(kind, _)| kind.eq_ignore_ascii_case(family)),
        None => pattern == "*/*" || found.eq_ignore_ascii_case(pattern),
    }
}

fn has_ending(file: &Attachment, ending: &str) -> bool {
    file.filename.rsplit_once('.').is_some_and(|(_, found)| found.trim().eq_ignore_ascii_case(ending))
}

#[cfg(test)]
mod tests {
    use super::enforce;
    use crate::{
        domain::{source::AttachmentPolicy, time::Timestamp},
        ingress::mail::RawFile,
    };

    fn refusals(policy: &AttachmentPolicy, files: &[(&str, &str, &[u8])]) -> Vec<Option<String>> {
        let file = |(name, kind, bytes): &(&str, &str, &[u8])| {
            RawFile {
                filename: (*name).to_owned(),
                content_type: (*kind).to_owned(),
                bytes: bytes.to_vec(),
                ..RawFile::default()
            }
            .into_attachment(Timestamp(0))
        };
        let mut files: Vec<_> = files.iter().map(file).collect();
        enforce(policy, &mut files);
        assert!(files.iter().all(|(file, bytes)| file.refused.is_none() || bytes.is_empty()));
        files.into_iter().map(|(file, _)| file.refused).collect()
    }

    #[test]
    fn programs_are_refused_by_name_and_by_bytes() {
        let found = refusals(
            &AttachmentPolicy::default(),
            &[
                ("a.EXE", "image/png", b"x"),
                ("a.png", "image/png", b"MZ\x90\0\x03\0\0\0\x04\0\0\0\xff\xff\0\0"),
                ("a.pdf", "application/pdf", b"%PDF-1.7"),
            ],
        );
        assert_eq!(found.iter().map(Option::is_some).collect::<Vec<_>>(), [true, true, false]);
        assert_eq!(found[0].as_deref(), Some("the source refuses `executable`"));
    }

    #[test]
    fn what_is_allowed_must_be_what_its_bytes_show() {
        let policy = AttachmentPolicy { allow: vec!["image/*".to_owned(), ".csv".to_owned()], ..Default::default() };
        let found = refusals(
            &policy,
            &[
                ("a.png", "image/png", b"\x89PNG\r\n\x1a\n"),
                ("b.png", "image/png", b"%PDF-1.7"),
                ("c.csv", "text/plain", b"a,b"),
                ("d.txt", "text/plain", b"a"),
            ],
        );
        assert_eq!(found.iter().map(Option::is_some).collect::<Vec<_>>(), [false, true, false, true]);
    }

    #[test]
    fn numbers_and_sizes_are_bounded() {
        let policy = AttachmentPolicy { max_bytes: 3, max_count: 1, ..Default::default() };
        let found = refusals(&policy, &[("a", "a/b", b"1234"), ("b", "a/b", b"1"), ("c", "a/b", b"1")]);
        assert_eq!(found[0].as_deref(), Some("4 bytes; the source keeps files up to 3"));
        assert_eq!(found[1], None);
        assert_eq!(found[2].as_deref(), Some("the source keeps 1 files of an event"));
    }

    #[test]
    fn kinds_that_mean_nothing_are_named() {
        let policy = AttachmentPolicy { allow: vec!["pdf".to_owned()], ..Default::default() };
        assert!(policy.check().unwrap_err().contains("`.pdf`"));
        assert!(AttachmentPolicy::default().check().is_ok());
    }
}
