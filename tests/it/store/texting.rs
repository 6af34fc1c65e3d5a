//! Reports about deliveries, consent to text messages, parts of long ones.

use postern::{
    domain::{
        event::{Content, Sms},
        report::{NewReport, ReportStatus},
        texting::{Consent, MessagePart, number_key},
    },
    store::{DELIVERY_QUEUE, Next},
};

use crate::support::{
    database::each_engine,
    records::{LEASE_MS, World, page},
};

fn report(about: &str, status: ReportStatus, code: Option<&str>) -> NewReport {
    NewReport { about: about.to_owned(), status, code: code.map(str::to_owned), detail: "said\0 so".to_owned() }
}

#[tokio::test]
async fn reports_find_their_delivery_even_when_they_come_first() {
    each_engine(async |db| {
        let world = World::new(&db.store).await;
        let id = world.owe("a").await;
        let mut early = world.webhook("status-1");
        early.effects.reports =
            vec![report("SM1", ReportStatus::Sent, None), report("other", ReportStatus::Failed, None)];
        world.accept(early.clone()).await;
        let claimed = db.store.claim(DELIVERY_QUEUE, "one", 5, LEASE_MS).await.unwrap().remove(0);
        let taken = Next::Delivered { provider_id: Some("SM1".to_owned()), captured: false };
        assert!(db.store.record_attempt(&claimed.lease, &world.attempt(1, "delivered"), &taken).await.unwrap());
        let mut later = world.webhook("status-2");
        later.effects.reports = vec![report(id.as_str(), ReportStatus::Undelivered, Some("30003"))];
        world.accept(later).await;
        early.effects.reports[0].status = ReportStatus::Read;
        world.accept(early).await;
        let reports = db.store.reports(&world.tenant, &id).await.unwrap();
        let told: Vec<_> = reports.iter().map(|r| (r.status, r.code.as_deref(), r.detail.as_str())).collect();
        assert_eq!(
            told,
            [
                (ReportStatus::Sent, None, "said\u{fffd} so"),
                (ReportStatus::Undelivered, Some("30003"), "said\u{fffd} so")
            ],
            "a repeated callback changes nothing"
        );
    })
    .await;
}

#[tokio::test]
async fn who_says_stop_is_remembered_until_start() {
    each_engine(async |db| {
        let world = World::new(&db.store).await;
        let says = async |key: &str, opted_out: bool| {
            let mut acceptance = world.webhook(key);
            let (ours, theirs) = (number_key("+1 773"), number_key("+1312"));
            acceptance.effects.consent = Some(Consent { ours, theirs, opted_out });
            world.accept(acceptance).await;
        };
        let is_out =
            async |ours: &str, theirs: &str| db.store.has_opted_out(&world.tenant, ours, theirs).await.unwrap();
        assert!(!is_out("+1773", "+1312").await);
        says("stop", true).await;
        says("stop again", true).await;
        assert!(is_out("1773", "+1312").await);
        assert!(!is_out("+1773", "+1313").await && !is_out("+1774", "+1312").await);
        let listed = db.store.opt_outs(&world.tenant, &page(None, 10)).await.unwrap().items;
        assert_eq!(listed.iter().map(|o| (o.ours.as_str(), o.theirs.as_str())).collect::<Vec<_>>(), [("1773", "1312")]);
        says("start", false).await;
        assert!(!is_out("1773", "1312").await);
        says("stop", true).await;
        assert!(!is_out("1773", "1312").await, "a repeated delivery changes nothing");
    })
    .await;
}

#[tokio::test]
async fn parts_wait_until_they_are_forgotten() {
    each_engine(async |db| {
        let world = World::new(&db.store).await;
        for number in [2, 1] {
            let mut acceptance = world.webhook(&format!("part-{number}"));
            acceptance.event.content = Content::Sms(Sms {
                message_id: format!("0A{number}"),
                from: "4471".to_owned(),
                to: "4470".to_owned(),
                text: format!("text {number}"),
                ..Sms::default()
            });
            acceptance.effects.part = Some(MessagePart { reference: "7".to_owned(), number, total: 2 });
            world.accept(acceptance.clone()).await;
            world.accept(acceptance).await;
        }
        let waiting = db.store.waiting_parts(&world.tenant, 10).await.unwrap();
        let told: Vec<_> = waiting.iter().map(|p| (p.part.number, p.text.as_str(), p.message_id.as_str())).collect();
        assert_eq!(told, [(2, "text 2", "0A2"), (1, "text 1", "0A1")]);
        assert_eq!(db.store.waiting_parts(&world.tenant, 1).await.unwrap().len(), 1);
        db.store.forget_parts(&world.tenant, &[waiting[0].event.clone()]).await.unwrap();
        assert_eq!(db.store.waiting_parts(&world.tenant, 10).await.unwrap(), waiting[1..]);
    })
    .await;
}
