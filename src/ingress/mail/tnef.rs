//! Outlook's `winmail.dat` (MS-OXTNEF): the files and the text in it. Bounded and without recursion; what is cut off or
//! makes no sense ends the reading, and what was read so far counts.

use crate::ingress::mail::{decode, rtf};

/// Files that are taken out.
const FILES: usize = 200;
/// Properties of one object that are read.
const PROPERTIES: usize = 2_000;
/// Mails within a mail that are opened.
const STREAMS: usize = 5;

/// What a `winmail.dat` holds.
#[derive(Debug, Default)]
pub(super) struct Tnef {
    /// The text, when it has one.
    pub(super) text: Option<String>,
    /// The HTML, when it has one.
    pub(super) html: Option<String>,
    /// The files in order.
    pub(super) files: Vec<TnefFile>,
}

/// A file in a `winmail.dat`.
#[derive(Debug, Default)]
pub(super) struct TnefFile {
    /// As written, not yet safe.
    pub(super) name: String,
    /// The declared media type, or nothing.
    pub(super) content_type: String,
    /// As they are.
    pub(super) bytes: Vec<u8>,
    /// `Content-ID` without angle brackets.
    pub(super) content_id: Option<String>,
}

const SIGNATURE: u32 = 0x223e_9f78;

/// Reads a `winmail.dat`; `None` when it is none.
pub(super) fn read(bytes: &[u8]) -> Option<Tnef> {
    let mut found = Tnef::default();
    let mut streams = vec![bytes];
    let mut opened = 0;
    while let Some(stream) = streams.pop().filter(|_| opened < STREAMS) {
        let mut reader = Reader { bytes: stream };
        if reader.u32()? != SIGNATURE {
            break;
        }
        reader.take(2)?;
        attributes(reader, &mut found, &mut streams, opened == 0);
        opened += 1;
    }
    (opened > 0).then_some(found)
}

/// Reads little-endian numbers; `None` at the end.
struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.bytes.split_at_checked(count)?;
        self.bytes = rest;
        Some(taken)
    }

    fn u16(&mut self) -> Option<u16> {
        self.take(2).and_then(|bytes| bytes.try_into().ok()).map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take(4).and_then(|bytes| bytes.try_into().ok()).map(u32::from_le_bytes)
    }

    fn length(&mut self) -> Option<usize> {
        self.u32().and_then(|length| usize::try_from(length).ok())
    }

    /// Bytes behind their length, filled up to a multiple of four.
    fn padded(&mut self) -> Option<&'a [u8]> {
        let length = self.length()?;
        let bytes = self.take(length)?;
        self.take((4 - length % 4) % 4).or_else(|| self.take(self.bytes.len()))?;
        Some(bytes)
    }
}

fn attributes<'a>(mut reader: Reader<'a>, found: &mut Tnef, streams: &mut Vec<&'a [u8]>, outermost: bool) {
    while let Some((id, data)) = attribute(&mut reader) {
        match id {
            // attAttachRenddata begins a file.
            0x9002 if found.files.len() >= FILES => return,
            0x9002 => found.files.push(TnefFile::default()),
            0x8010 | 0x800f | 0x9005 => {
                let Some(file) = found.files.last_mut() else { continue };
                match id {
                    0x8010 if file.name.is_empty() => file.name = text8(data),
                    0x800f => file.bytes = data.to_vec(),
                    0x9005 => of_file(data, file, streams),
                    _ => {}
                }
            }
            0x800c if outermost => found.text = Some(text8(data)),
            0x9003 if outermost => of_mail(data, found),
            _ => {}
        }
    }
}

/// Level, name and type, length, data, checksum.
fn attribute<'a>(reader: &mut Reader<'a>) -> Option<(u32, &'a [u8])> {
    reader.take(1)?;
    let id = reader.u32()? & 0xffff;
    let length = reader.length()?;
    let data = reader.take(length)?;
    reader.take(2)?;
    Some((id, data))
}

/// Text of one byte a character, without the final NUL.
fn text8(data: &[u8]) -> String {
    decode::undeclared(data.split(|byte| *byte == 0).next().unwrap_or_default())
}

fn text16(data: &[u8]) -> String {
    let units = data.chunks_exact(2).filter_map(|pair| pair.try_into().ok()).map(u16::from_le_bytes);
    let units: Vec<u16> = units.take_while(|unit| *unit != 0).collect();
    String::from_utf16_lossy(&units)
}

/// One MAPI property: its id, type and first value.
struct Property<'a> {
    id: u16,
    kind: u16,
    value: &'a [u8],
}

impl Property<'_> {
    fn text(&self) -> String {
        if self.kind & 0xfff == 0x1f { text16(self.value) } else { text8(self.value) }
    }
}

/// The properties of MS-OXTNEF §2.1.3.4.
fn properties(data: &[u8]) -> Vec<Property<'_>> {
    let mut reader = Reader { bytes: data };
    let count = reader.length().unwrap_or(0).min(PROPERTIES);
    std::iter::from_fn(|| property(&mut reader)).take(count).collect()
}

fn property<'a>(reader: &mut Reader<'a>) -> Option<Property<'a>> {
    let (kind, id) = (reader.u16()?, reader.u16()?);
    if id >= 0x8000 {
        reader.take(16)?;
        match reader.u32()? {
            0 => reader.take(4).map(drop)?,
            _ => reader.padded().map(drop)?,
        }
    }
    let of_length = matches!(kind & 0xfff, 0x1e | 0x1f | 0x102 | 0x0d);
    let count = if kind & 0x1000 != 0 || of_length { reader.length()?.min(PROPERTIES) } else { 1 };
    let mut value = &[][..];
    for nth in 0..count {
        let next = match kind & 0xfff {
            _ if of_length => reader.padded()?,
            0x02 | 0x03 | 0x04 | 0x0a | 0x0b => reader.take(4)?,
            0x05..=0x07 | 0x14 | 0x40 => reader.take(8)?,
            0x48 => reader.take(16)?,
            _ => return None,
        };
        if nth == 0 {
            value = next;
        }
    }
    Some(Property { id, kind, value })
}

fn of_mail(data: &[u8], found: &mut Tnef) {
    for property in properties(data) {
        match property.id {
            0x1000 => found.text = Some(property.text()).filter(|text| !text.trim().is_empty()),
            0x1013 => {
                let html = if property.kind & 0xfff == 0x102 { text8(property.value) } else { property.text() };
                found.html = Some(html).filter(|html| !html.trim().is_empty());
            }
            0x1009 if found.text.is_none() && found.html.is_none() => {
                match rtf::decompressed(property.value).map(|rtf| rtf::read(&rtf)) {
                    Some(rtf::Rtf::Html(html)) => found.html = Some(html),
                    Some(rtf::Rtf::Text(text)) => found.text = Some(text),
                    None => {}
                }
            }
            _ => {}
        }
    }
}

fn of_file<'a>(data: &'a [u8], file: &mut TnefFile, streams: &mut Vec<&'a [u8]>) {
    let mut named = false;
    for property in properties(data) {
        match (property.id, property.kind & 0xfff) {
            // PR_ATTACH_LONG_FILENAME, then PR_DISPLAY_NAME and PR_ATTACH_FILENAME.
            (0x3707, _) => (file.name, named) = (property.text(), true),
            (0x3001 | 0x3704, _) if file.name.is_empty() && !named => file.name = property.text(),
            (0x370e, _) => file.content_type = property.text(),
            (0x3712, _) => file.content_id = Some(property.text()).filter(|id| !id.is_empty()),
            (0x3701, 0x102) => file.bytes = property.value.to_vec(),
            (0x3701, 0x0d) => {
                // The kind of object (16 bytes), then for a mail its own stream.
                let inner = property.value.get(16..).unwrap_or_default();
                if inner.starts_with(&SIGNATURE.to_le_bytes()) && streams.len() < STREAMS {
                    streams.push(inner);
                }
                file.bytes = inner.to_vec();
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::read;

    fn attribute(id: u32, data: &[u8]) -> Vec<u8> {
        let length = u32::try_from(data.len()).unwrap();
        [&[2][..], &id.to_le_bytes(), &length.to_le_bytes(), data, &[0, 0]].concat()
    }

    fn property(kind: u16, id: u16, value: &[u8]) -> Vec<u8> {
        let length = u32::try_from(value.len()).unwrap();
        let padding = vec![0; (4 - value.len() % 4) % 4];
        [&kind.to_le_bytes()[..], &id.to_le_bytes(), &1_u32.to_le_bytes(), &length.to_le_bytes(), value, &padding]
            .concat()
    }

    fn tnef(attributes: &[Vec<u8>]) -> Vec<u8> {
        [&[0x78, 0x9f, 0x3e, 0x22, 1, 0][..], &attributes.concat()].concat()
    }

    #[test]
    fn files_and_text_are_taken_out() {
        let long: Vec<u8> = "Bericht ä.pdf\0".encode_utf16().flat_map(u16::to_le_bytes).collect();
        let of_file =
            [&2_u32.to_le_bytes()[..], &property(0x1f, 0x3707, &long), &property(0x1e, 0x370e, b"application/pdf\0")]
                .concat();
        let of_mail = [&1_u32.to_le_bytes()[..], &property(0x102, 0x1013, b"<p>Hi</p>")].concat();
        let bytes = tnef(&[
            attribute(0x0006_9003, &of_mail),
            attribute(0x0006_9002, &[0; 14]),
            attribute(0x0001_8010, b"BERICH~1.PDF\0"),
            attribute(0x0006_800f, b"%PDF-1.4"),
            attribute(0x0006_9005, &of_file),
        ]);
        let found = read(&bytes).unwrap();
        assert_eq!(found.html.as_deref(), Some("<p>Hi</p>"));
        assert_eq!(
            (found.files[0].name.as_str(), found.files[0].content_type.as_str()),
            ("Bericht ä.pdf", "application/pdf")
        );
        assert_eq!(found.files[0].bytes, b"%PDF-1.4");
        for cut in 0..bytes.len() {
            let _ = read(&bytes[..cut]);
        }
    }

    #[test]
    fn what_is_none_is_none_and_lengths_are_not_believed() {
        assert!(read(b"hello").is_none());
        let huge =
            [&[0x78, 0x9f, 0x3e, 0x22, 0, 0, 2][..], &[5, 0x90, 6, 0, 0xff, 0xff, 0xff, 0x7f].repeat(1000)].concat();
        assert!(read(&huge).unwrap().files.is_empty());
        let many = tnef(&vec![attribute(0x9002, &[]); 100_000]);
        assert_eq!(read(&many).unwrap().files.len(), 200);
    }
}
