//! A name server on loopback that knows some TXT records and nothing else.

use std::{collections::BTreeMap, net::SocketAddr};

use tokio::net::UdpSocket;

/// Answers until its task is dropped.
pub(crate) struct NameServer {
    pub(crate) address: SocketAddr,
    task: tokio::task::JoinHandle<()>,
}

impl NameServer {
    /// Starts one. Without records it stays silent, as a server that is away.
    pub(crate) async fn start(records: &[(&str, &str)]) -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let records: BTreeMap<String, String> =
            records.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect();
        let task = tokio::spawn(async move {
            let mut question = [0; 1500];
            while let Ok((length, from)) = socket.recv_from(&mut question).await {
                if !records.is_empty() {
                    socket.send_to(&answer(&question[..length], &records), from).await.unwrap();
                }
            }
        });
        Self { address, task }
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// RFC 1035, section 4: the question again, and the record or NXDOMAIN.
fn answer(question: &[u8], records: &BTreeMap<String, String>) -> Vec<u8> {
    let (mut labels, mut at) = (Vec::new(), 12);
    while question[at] != 0 {
        let length = usize::from(question[at]);
        labels.push(String::from_utf8(question[at + 1..=at + length].to_vec()).unwrap().to_lowercase());
        at += 1 + length;
    }
    let end = at + 5;
    let text = records.get(&labels.join("."));
    let mut answer = question[..2].to_vec();
    answer.extend([0x81, if text.is_some() { 0x80 } else { 0x83 }, 0, 1, 0, u8::from(text.is_some()), 0, 0, 0, 0]);
    answer.extend(&question[12..end]);
    if let Some(text) = text {
        let pieces: Vec<u8> = text
            .as_bytes()
            .chunks(255)
            .flat_map(|piece| std::iter::once(u8::try_from(piece.len()).unwrap()).chain(piece.iter().copied()))
            .collect();
        answer.extend([0xc0, 0x0c, 0, 16, 0, 1, 0, 0, 0, 60]);
        answer.extend(u16::try_from(pieces.len()).unwrap().to_be_bytes());
        answer.extend(pieces);
    }
    answer
}
