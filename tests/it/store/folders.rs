//! Folders of mailboxes: one reader at a time, and a cursor that only it moves.

use postern::{
    domain::time::Timestamp,
    store::{Cursor, FolderClaim, FolderLease, FolderWish},
};

use crate::support::{
    database::{Database, each_engine},
    records::World,
};

const LEASE_MS: i64 = 60_000;

async fn claim(db: &Database, world: &World, owner: &str, dead: Option<&str>) -> FolderClaim {
    let source = &world.catalog.sources["hooks"].id;
    let wish = FolderWish { tenant: &world.tenant, source, folder: "INBOX", owner, dead };
    db.store.claim_folder(&wish, LEASE_MS).await.unwrap()
}

fn ours(claim: FolderClaim) -> (FolderLease, Option<Cursor>) {
    match claim {
        FolderClaim::Ours(lease, cursor) => (lease, cursor),
        FolderClaim::Theirs { owner } => panic!("{owner} has it"),
    }
}

#[tokio::test]
async fn a_folder_has_one_reader_and_only_that_one_moves_its_cursor() {
    each_engine(async |db| {
        let world = World::new(&db.store).await;
        let (first, cursor) = ours(claim(db, &world, "a", None).await);
        assert_eq!(cursor, None);
        let read = Cursor {
            uid_validity: 7,
            next_uid: 12,
            filter_below: 3,
            taken_since: Timestamp(5),
            caught_up_at: Some(Timestamp(6)),
        };
        assert!(db.store.move_cursor(&first, &read).await.unwrap());
        assert_eq!(claim(db, &world, "b", None).await, FolderClaim::Theirs { owner: "a".to_owned() });
        db.clock.advance(LEASE_MS / 2);
        assert!(db.store.renew_folder(&first, LEASE_MS).await.unwrap());
        db.clock.advance(LEASE_MS - 1);
        assert!(matches!(claim(db, &world, "b", None).await, FolderClaim::Theirs { .. }), "it was prolonged");
        db.clock.advance(2);
        let (second, cursor) = ours(claim(db, &world, "b", None).await);
        assert_eq!(cursor, Some(read));
        let later = Cursor { next_uid: 13, ..read };
        assert!(!db.store.move_cursor(&first, &later).await.unwrap(), "the lease is lost");
        assert!(!db.store.renew_folder(&first, LEASE_MS).await.unwrap());
        db.store.release_folder(&first).await.unwrap();
        assert!(db.store.move_cursor(&second, &later).await.unwrap());
        let (third, _) = ours(claim(db, &world, "c", Some("b")).await);
        db.store.release_folder(&third).await.unwrap();
        let (_, cursor) = ours(claim(db, &world, "d", None).await);
        assert_eq!(cursor, Some(later));
    })
    .await;
}

#[tokio::test]
async fn how_it_goes_is_told_until_the_lease_runs_out() {
    each_engine(async |db| {
        let world = World::new(&db.store).await;
        let (lease, _) = ours(claim(db, &world, "a", None).await);
        let told = async || {
            let folders = db.store.folders(&world.tenant).await.unwrap();
            assert_eq!((folders.len(), folders[0].folder.as_str()), (1, "INBOX"));
            (folders[0].state.clone(), folders[0].fault.clone())
        };
        db.store.note_folder(&lease, None).await.unwrap();
        assert_eq!(told().await, ("connected".to_owned(), None));
        db.store.note_folder(&lease, Some("no\0 answer")).await.unwrap();
        assert_eq!(told().await, ("waiting".to_owned(), Some("no\u{fffd} answer".to_owned())));
        db.store.note_folder(&lease, None).await.unwrap();
        assert_eq!(told().await, ("connected".to_owned(), None));
        db.clock.advance(LEASE_MS + 1);
        assert_eq!(told().await, ("waiting".to_owned(), None));
        let other = db.store.ensure_tenant("other").await.unwrap();
        assert!(db.store.folders(&other).await.unwrap().is_empty());
    })
    .await;
}
