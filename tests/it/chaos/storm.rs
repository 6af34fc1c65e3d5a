//! Many copies of one event at the same moment.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use futures_util::future::join_all;

use crate::{
    chaos::load::{Acknowledged, event},
    support::{e2e_client::send, e2e_senders::now_s},
};

/// Sends each event in `copies` copies at once, to all gateways in turn. All must be taken, as one event.
pub(super) async fn blow(gateways: &[SocketAddr], events: u64, copies: usize) -> Vec<Acknowledged> {
    let mut acknowledged = Vec::new();
    for number in 0..events {
        // Both kinds of senders.
        let sender = usize::try_from(number % 6).unwrap();
        let key = format!("{sender}-{number}");
        let call = event(gateways[0], sender, &key, now_s());
        let began = Instant::now();
        let replies = join_all((0..copies).map(async |copy| {
            loop {
                let reply = send(gateways[copy % gateways.len()], &call).await.unwrap();
                if !matches!(reply.status, 429 | 503) {
                    return reply;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }))
        .await;
        let took = began.elapsed();
        for reply in replies {
            assert!((200..300).contains(&reply.status), "a copy of {key}: {} {}", reply.status, reply.text());
        }
        acknowledged.push(Acknowledged { key, took });
    }
    acknowledged
}
