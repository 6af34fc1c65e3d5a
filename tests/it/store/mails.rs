//! What is kept of mails beside their events.

use postern::{
    crypto::sha256_hex,
    domain::{
        delivery::{EmailMessage, Message, Quote},
        event::{Content, Email, Mailbox, Sender, SenderAuth},
        id::DeliveryId,
        report::{NewReport, ReportStatus, Returned},
    },
    store::{Acceptance, MailTraffic, NewDelivery, thread_ids},
};

use crate::support::{
    database::each_engine,
    records::{World, page, success},
};

/// A mail of a thread that starts `runs` runs.
fn mail(world: &World, id: &str, sender: &str, runs: usize) -> Acceptance {
    let mut acceptance = world.webhook(id);
    acceptance.event.thread_key = Some("root@x.example".to_owned());
    acceptance.event.sender = Some(Sender {
        address: sender.to_owned(),
        name: None,
        auth: SenderAuth::Unknown,
        auth_reason: "a test".to_owned(),
        flags: Vec::new(),
    });
    acceptance.event.content = Content::Email(Email {
        from: vec![Mailbox { address: sender.to_owned(), name: None }],
        message_id: Some(format!("{id}@x.example")),
        text: format!("The words of {id}\0."),
        ..Email::default()
    });
    acceptance.runs = (0..runs).map(|_| world.new_run("helper", None)).collect();
    acceptance
}

fn answer(world: &World, to: &str) -> NewDelivery {
    let message = Message::Email(EmailMessage {
        from: "agent@us.example".to_owned(),
        to: to.to_owned(),
        subject: "Re: x".to_owned(),
        text: "Our answer.".to_owned(),
        in_reply_to: None,
        references: Vec::new(),
        quote: Some(Quote {
            author: "A".to_owned(),
            at: world.store.clock().now(),
            text: "Their question.".to_owned(),
        }),
        hops: 1,
        hops_proof: None,
        reply_token: None,
        files: Vec::new(),
    });
    NewDelivery {
        id: DeliveryId::new(world.store.clock().now()),
        message,
        message_id: None,
        reply_token: None,
        guest: None,
        echo: Some(sha256_hex(b"echo")),
    }
}

/// Ends a run with an answer by mail.
async fn answered(world: &World, to: &str) -> DeliveryId {
    world.start(to, None).await;
    let work = world.take().await;
    let delivery = answer(world, to);
    world.store.finish_run(&work, &success("x"), &[], std::slice::from_ref(&delivery)).await.unwrap().unwrap();
    delivery.id
}

#[tokio::test]
async fn a_thread_finds_its_mails_in_both_directions_and_those_of_its_tenant_alone() {
    each_engine(async |db| {
        let world = World::new(&db.store).await;
        let other = World::of_tenant(&db.store, "other").await;
        world.accept(mail(&world, "a", "dana@x.example", 0)).await;
        world.accept(mail(&world, "b", "dana@x.example", 0)).await;
        other.accept(mail(&other, "secret", "eve@x.example", 0)).await;
        let delivery = answered(&world, "dana@x.example").await;
        let email = Email {
            references: vec!["a@x.example".to_owned(), "secret@x.example".to_owned(), "none@x".to_owned()],
            in_reply_to: vec![format!("{delivery}@us.example")],
            ..Email::default()
        };
        let mut texts = db.store.remembered(&world.tenant, &thread_ids(&email)).await.unwrap();
        texts.sort();
        assert_eq!(texts, ["Our answer.\nTheir question.", "The words of a\0."]);
        assert!(db.store.remembered(&other.tenant, &thread_ids(&email)).await.unwrap().len() == 1);
    })
    .await;
}

#[tokio::test]
async fn mails_that_started_runs_are_counted_by_thread_and_sender() {
    each_engine(async |db| {
        let world = World::new(&db.store).await;
        for (id, sender, runs) in [
            ("a", "Dana@x.example", 1),
            ("b", "dana@x.example", 1),
            ("c", "eve@x.example", 1),
            ("d", "dana@x.example", 0),
        ] {
            world.accept(mail(&world, id, sender, runs)).await;
        }
        let traffic = async || {
            let now = db.clock.now();
            db.store.mail_traffic(&world.tenant, "root@x.example", "DANA@x.example", now).await.unwrap()
        };
        assert_eq!(traffic().await, MailTraffic { thread_hour: 3, thread_day: 2, sender_hour: 2 });
        db.clock.advance(2 * 3_600_000);
        assert_eq!(traffic().await, MailTraffic { thread_hour: 0, thread_day: 2, sender_hour: 0 });
        db.clock.advance(86_400_000);
        assert_eq!(traffic().await, MailTraffic::default());
    })
    .await;
}

#[tokio::test]
async fn the_same_answer_is_found_again_for_a_while() {
    each_engine(async |db| {
        let world = World::new(&db.store).await;
        let delivery = answered(&world, "dana@x.example").await;
        let (echo, now) = (sha256_hex(b"echo"), db.clock.now());
        let found = db.store.answered_before(&world.tenant, &echo, now.plus_ms(-1)).await.unwrap();
        assert_eq!(found, Some(delivery.to_string()));
        assert_eq!(db.store.answered_before(&world.tenant, &echo, now.plus_ms(1)).await.unwrap(), None);
        assert_eq!(db.store.answered_before(&world.tenant, "other", now.plus_ms(-1)).await.unwrap(), None);
    })
    .await;
}

#[tokio::test]
async fn a_mail_that_came_back_is_told_of_its_delivery_and_suppresses_its_recipient() {
    each_engine(async |db| {
        let world = World::new(&db.store).await;
        let delivery = answered(&world, "Dana@x.example").await;
        let bounce = |id: &str, address: &str| {
            let mut bounce = mail(&world, id, "mailer-daemon@x.example", 0);
            bounce.effects.reports.push(NewReport {
                about: delivery.to_string(),
                status: ReportStatus::Undelivered,
                code: Some("5.1.1".to_owned()),
                detail: "no such user".to_owned(),
            });
            bounce.effects.returned.push(Returned {
                about: delivery.to_string(),
                address: Some(address.to_owned()),
                reason: "mail to it came back: 5.1.1 no such user".to_owned(),
            });
            bounce
        };
        world.accept(bounce("forged", "victim@x.example")).await;
        assert_eq!(db.store.suppression(&world.tenant, "victim@x.example").await.unwrap(), None);
        let event = world.accept(bounce("real", "dana@X.example")).await.event;
        let found = db.store.suppression(&world.tenant, "DANA@x.example").await.unwrap().unwrap();
        assert_eq!((found.address.as_str(), found.event), ("dana@x.example", event.to_string()));
        assert_eq!(db.store.reports(&world.tenant, &delivery).await.unwrap()[0].code.as_deref(), Some("5.1.1"));
        let listed = db.store.suppressions(&world.tenant, &page(None, 5)).await.unwrap().items;
        assert_eq!(listed.len(), 1);
        let other = World::of_tenant(&db.store, "other").await;
        assert!(!db.store.release_address(&other.tenant, "dana@x.example").await.unwrap());
        assert!(db.store.release_address(&world.tenant, "Dana@x.example").await.unwrap());
        assert_eq!(db.store.suppression(&world.tenant, "dana@x.example").await.unwrap(), None);
    })
    .await;
}

#[tokio::test]
async fn addresses_that_one_event_suppressed_are_paged_without_gaps_or_repeats() {
    each_engine(async |db| {
        let world = World::new(&db.store).await;
        let mut bounces: Vec<Acceptance> =
            (0..3).map(|event| mail(&world, &format!("bounce-{event}"), "mailer-daemon@x.example", 0)).collect();
        for number in 0..11 {
            let address = format!("dana-{number}@x.example");
            let about = answered(&world, &address).await.to_string();
            let reason = "it came back".to_owned();
            bounces[number / 4].effects.returned.push(Returned { about, address: Some(address), reason });
        }
        let mut events = Vec::new();
        for bounce in bounces {
            events.push(world.accept(bounce).await.event.to_string());
        }
        for limit in 1..=12 {
            let (mut seen, mut before) = (Vec::new(), None);
            loop {
                let part = db.store.suppressions(&world.tenant, &page(before, limit)).await.unwrap();
                seen.extend(part.items);
                before = part.next;
                if before.is_none() {
                    break;
                }
            }
            let mut addresses: Vec<&str> = seen.iter().map(|found| found.address.as_str()).collect();
            addresses.sort_unstable();
            addresses.dedup();
            assert_eq!((seen.len(), addresses.len()), (11, 11), "pages of {limit}");
            let newest: Vec<&str> = seen.iter().map(|found| found.event.as_str()).collect();
            assert!(newest.is_sorted_by(|first, second| first >= second), "{newest:?}");
            assert_eq!(newest.last(), Some(&events.iter().min().unwrap().as_str()));
        }
    })
    .await;
}
