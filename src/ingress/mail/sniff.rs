//! What the first bytes of a file show it to be. The marks are those of the formats' specifications, as collected in
//! the MIME Sniffing standard and in `file`'s database.

/// Marks at a fixed place: offset, bytes, type. The first that fits counts.
#[rustfmt::skip]
const MARKS: &[(usize, &[u8], &str)] = &[
    (0, b"%PDF-", "application/pdf"),
    (0, b"\x89PNG\r\n\x1a\n", "image/png"),
    (0, b"\xff\xd8\xff", "image/jpeg"),
    (0, b"GIF87a", "image/gif"),
    (0, b"GIF89a", "image/gif"),
    (0, b"II*\0", "image/tiff"),
    (0, b"MM\0*", "image/tiff"),
    (0, b"8BPS", "image/vnd.adobe.photoshop"),
    (0, b"\0\0\x01\0", "image/vnd.microsoft.icon"),
    (0, b"\x1f\x8b\x08", "application/gzip"),
    (0, b"BZh", "application/x-bzip2"),
    (0, b"\xfd7zXZ\0", "application/x-xz"),
    (0, b"\x28\xb5\x2f\xfd", "application/zstd"),
    (0, b"7z\xbc\xaf\x27\x1c", "application/x-7z-compressed"),
    (0, b"Rar!\x1a\x07", "application/vnd.rar"),
    (0, b"MSCF\0\0\0\0", "application/vnd.ms-cab-compressed"),
    (257, b"ustar", "application/x-tar"),
    (0, b"\x7fELF", "application/x-elf"),
    (0, b"\xfe\xed\xfa\xce", "application/x-mach-binary"),
    (0, b"\xfe\xed\xfa\xcf", "application/x-mach-binary"),
    (0, b"\xce\xfa\xed\xfe", "application/x-mach-binary"),
    (0, b"\xcf\xfa\xed\xfe", "application/x-mach-binary"),
    (0, b"\xca\xfe\xba\xbe", "application/x-java-class"),
    (0, b"\0asm", "application/wasm"),
    (0, b"\x4c\0\0\0\x01\x14\x02\0", "application/x-ms-shortcut"),
    (0x8001, b"CD001", "application/x-iso9660-image"),
    (0, b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "application/x-ole-storage"),
    (0, b"{\\rtf", "application/rtf"),
    (0, b"%!PS", "application/postscript"),
    (0, b"\x78\x9f\x3e\x22", "application/ms-tnef"),
    (0, b"SQLite format 3\0", "application/vnd.sqlite3"),
    (0, b"ID3", "audio/mpeg"),
    (0, b"\xff\xfb", "audio/mpeg"),
    (0, b"\xff\xf3", "audio/mpeg"),
    (0, b"fLaC", "audio/flac"),
    (0, b"OggS", "application/ogg"),
    (0, b"#!AMR", "audio/amr"),
    (0, b"\x1a\x45\xdf\xa3", "video/webm"),
    (0, b"wOFF", "font/woff"),
    (0, b"wOF2", "font/woff2"),
    (0, b"OTTO\0", "font/otf"),
    (0, b"\0\x01\0\0\0", "font/ttf"),
    (0, b"-----BEGIN PGP MESSAGE-----", "application/pgp-encrypted"),
    (0, b"-----BEGIN PGP SIGNATURE-----", "application/pgp-signature"),
    (0, b"BEGIN:VCALENDAR", "text/calendar"),
    (0, b"BEGIN:VCARD", "text/vcard"),
    (0, b"#!/", "text/x-script"),
];

/// Bytes at either end of an archive in which its files' names are looked for.
const ARCHIVE_BYTES: usize = 1024 * 1024;

/// The media type that the bytes show; `None` for plain text and for what is not known.
pub(super) fn media_type(bytes: &[u8]) -> Option<&'static str> {
    let marked = MARKS.iter().find(|(at, mark, _)| bytes.get(*at..).is_some_and(|rest| rest.starts_with(mark)));
    marked
        .map(|(_, _, kind)| *kind)
        .or_else(|| program(bytes))
        .or_else(|| chunked(bytes))
        .or_else(|| archive(bytes))
        .or_else(|| markup(bytes))
}

/// Whether a system runs files of this type, or mounts them.
pub(super) fn is_program(kind: &str) -> bool {
    matches!(
        kind,
        "application/x-dosexec"
            | "application/x-elf"
            | "application/x-mach-binary"
            | "application/x-java-class"
            | "application/java-archive"
            | "application/vnd.android.package-archive"
            | "application/x-ms-shortcut"
            | "application/x-iso9660-image"
            | "application/vnd.ms-office.macros"
    )
}

/// Whether files of many types have this one's mark, so that the declared type says more.
pub(super) fn is_container(kind: &str) -> bool {
    matches!(kind, "application/zip" | "application/x-ole-storage" | "application/ogg" | "text/xml" | "video/mp4")
}

/// `MZ` alone may begin a text; a program has the place of its real header at 0x3c, or no text around.
fn program(bytes: &[u8]) -> Option<&'static str> {
    let head = bytes.get(..16).filter(|head| head.starts_with(b"MZ"))?;
    let is_text = head.iter().all(|byte| matches!(byte, b' '..=b'~' | b'\t' | b'\r' | b'\n'));
    (!is_text).then_some("application/x-dosexec")
}

/// RIFF and ISO base media files name their content behind a length.
fn chunked(bytes: &[u8]) -> Option<&'static str> {
    let tag = |at: usize| bytes.get(at..at + 4);
    match (tag(0)?, tag(4)?, tag(8)?) {
        (b"RIFF", _, b"WEBP") => Some("image/webp"),
        (b"RIFF", _, b"WAVE") => Some("audio/wav"),
        (b"RIFF", _, b"AVI ") => Some("video/x-msvideo"),
        (_, b"ftyp", b"heic" | b"heix" | b"mif1" | b"msf1") => Some("image/heic"),
        (_, b"ftyp", b"avif") => Some("image/avif"),
        (_, b"ftyp", b"M4A ") => Some("audio/mp4"),
        (_, b"ftyp", b"qt  ") => Some("video/quicktime"),
        (_, b"ftyp", _) => Some("video/mp4"),
        ([b'B', b'M', ..], _, _) if bytes.get(6..10) == Some(&[0; 4]) => Some("image/bmp"),
        _ => None,
    }
}

/// A ZIP file by the names in it: OOXML, OpenDocument, EPUB, Java and Android are ZIP files.
fn archive(bytes: &[u8]) -> Option<&'static str> {
    if !(bytes.starts_with(b"PK\x03\x04") || bytes.starts_with(b"PK\x05\x06")) {
        return None;
    }
    if let Some(named) = bytes.get(30..).and_then(|rest| rest.strip_prefix(b"mimetype")) {
        let is = |kind: &str| named.starts_with(kind.as_bytes());
        let known = [
            "application/epub+zip",
            "application/vnd.oasis.opendocument.text",
            "application/vnd.oasis.opendocument.spreadsheet",
            "application/vnd.oasis.opendocument.presentation",
        ];
        return known.into_iter().find(|kind| is(kind)).or(Some("application/zip"));
    }
    let head = &bytes[..bytes.len().min(ARCHIVE_BYTES)];
    let tail = &bytes[bytes.len().saturating_sub(ARCHIVE_BYTES)..];
    let has = |name: &[u8]| contains(head, name) || contains(tail, name);
    let office = has(b"[Content_Types].xml");
    Some(match () {
        () if office && has(b"vbaProject.bin") => "application/vnd.ms-office.macros",
        () if office && has(b"word/") => "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
        () if office && has(b"xl/") => "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
        () if office && has(b"ppt/") => "application/vnd.openxmlformats-officedocument.presentationml.presentation",
        () if has(b"AndroidManifest.xml") => "application/vnd.android.package-archive",
        () if has(b"META-INF/MANIFEST.MF") => "application/java-archive",
        () => "application/zip",
    })
}

fn contains(bytes: &[u8], word: &[u8]) -> bool {
    let Some((first, _)) = word.split_first() else { return true };
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(|byte| byte == first) {
        rest = &rest[at..];
        if rest.starts_with(word) {
            return true;
        }
        rest = &rest[1..];
    }
    false
}

fn markup(bytes: &[u8]) -> Option<&'static str> {
    let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes).trim_ascii_start();
    let starts = |word: &[u8]| text.get(..word.len()).is_some_and(|start| start.eq_ignore_ascii_case(word));
    if starts(b"<!doctype html") || starts(b"<html") {
        return Some("text/html");
    }
    if starts(b"<svg") {
        return Some("image/svg+xml");
    }
    starts(b"<?xml")
        .then(|| if contains(&text[..text.len().min(1024)], b"<svg") { "image/svg+xml" } else { "text/xml" })
}

#[cfg(test)]
mod tests {
    use super::media_type;

    #[test]
    fn files_are_told_by_their_marks() {
        let zip = |name: &str| [b"PK\x03\x04".as_slice(), &[0; 26], name.as_bytes()].concat();
        let cases: &[(Vec<u8>, Option<&str>)] = &[
            (b"%PDF-1.4".to_vec(), Some("application/pdf")),
            (b"RIFF\x10\0\0\0WEBPVP8 ".to_vec(), Some("image/webp")),
            (b"MZ\x90\0\x03\0\0\0\x04\0\0\0\xff\xff\0\0".to_vec(), Some("application/x-dosexec")),
            (b"MZ is the mark of DOS".to_vec(), None),
            (zip("a.txt"), Some("application/zip")),
            (
                zip("[Content_Types].xml word/document.xml"),
                Some("application/vnd.openxmlformats-officedocument.wordprocessingml.document"),
            ),
            (zip("[Content_Types].xml word/vbaProject.bin"), Some("application/vnd.ms-office.macros")),
            (zip("META-INF/MANIFEST.MF"), Some("application/java-archive")),
            (zip("mimetypeapplication/epub+zip"), Some("application/epub+zip")),
            (b" \n<!DOCTYPE HTML><p>".to_vec(), Some("text/html")),
            (b"<?xml version='1.0'?><svg>".to_vec(), Some("image/svg+xml")),
            (b"plain text".to_vec(), None),
            (Vec::new(), None),
        ];
        for (bytes, expected) in cases {
            assert_eq!(media_type(bytes), *expected, "{}", String::from_utf8_lossy(bytes));
        }
    }
}
