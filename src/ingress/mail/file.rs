//! A mail's file as the attachment of an event.

use crate::{
    crypto,
    domain::{event::Attachment, id::AttachmentId, time::Timestamp},
    ingress::mail::{RawFile, sniff},
};

impl RawFile {
    /// The attachment, told by its bytes as well as by its headers, and the bytes.
    #[must_use]
    pub fn into_attachment(self, at: Timestamp) -> (Attachment, Vec<u8>) {
        let attachment = Attachment {
            id: AttachmentId::new(at),
            sniffed_type: sniff::media_type(&self.bytes).map(str::to_owned),
            filename: self.filename,
            content_type: self.content_type,
            size: self.bytes.len() as u64,
            sha256: crypto::sha256_hex(&self.bytes),
            content_id: self.content_id,
            within: self.within,
            refused: None,
        };
        (attachment, self.bytes)
    }
}
