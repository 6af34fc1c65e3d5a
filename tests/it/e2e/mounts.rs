//! What of a project is mounted is what was found there when it was applied, whatever is put in its way later.

use std::{fs, os::unix::fs::symlink};

use serde_json::json;

use super::run_of;
use crate::support::{
    e2e_app::TestApp,
    e2e_project::{Engine, TestProject, on_both_engines},
    e2e_senders::{now_s, standard},
};

on_both_engines!(a_link_that_is_put_in_the_way_of_a_mount_is_not_followed,);

async fn a_link_that_is_put_in_the_way_of_a_mount_is_not_followed(engine: Engine) {
    let project = TestProject::new(engine).await;
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("page"), "stolen").unwrap();
    fs::create_dir_all(project.path().join("shared/book")).unwrap();
    fs::write(project.path().join("shared/book/page"), "ours").unwrap();
    // A link inside the project is what the project says.
    symlink("shared/book", project.path().join("book")).unwrap();
    project.agent_file(
        "reader",
        "---\nexecutor: command\ncommand: [/bin/cat, /context/book/page, /context/page]\n\
         mounts: ['./book:/context/book', './shared/book/page:/context/page:ro']\n\
         triggers: [{source: standard}]\n---\nBe brief.\n",
    );
    let app = TestApp::start(project).await;
    let read = async |id: &str| {
        let run = run_of(&app.send(&standard(id, &json!({}), now_s())).await);
        app.ended(&run).await
    };
    assert_eq!(read("one").await["result_text"], "oursours");
    let (folder, aside) = (app.project.path().join("shared"), app.project.path().join("aside"));
    // At its end, and before it.
    for (place, kept, target) in
        [(folder.join("book"), folder.join("kept"), outside.path().to_owned()), (folder.clone(), aside.clone(), aside)]
    {
        fs::rename(&place, &kept).unwrap();
        symlink(&target, &place).unwrap();
        let ended = read(&place.display().to_string()).await;
        assert_eq!((&ended["state"], &ended["failure"]["code"]), (&json!("failed"), &json!("file_access")), "{ended}");
        let why = ended["failure"]["message"].as_str().unwrap();
        assert!(why.contains(&format!("`{}` is a link now", place.display())), "{why}");
        fs::remove_file(&place).unwrap();
        fs::rename(&kept, &place).unwrap();
    }
    assert_eq!(read("two").await["result_text"], "oursours");
    app.stop().await;
}
