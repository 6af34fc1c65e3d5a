//! What `validate` refuses because it would reach further than an agent's file says.

use std::{fs, os::unix::fs::symlink};

use postern::config::validate::check_bundle;
use serde_json::json;

use crate::config::{load, problems, project, said, write};

const SECRET: &str = "executor: claude\nenv: { KEY: { secret: callback } }\ntriggers:\n";

#[test]
fn strangers_beside_secrets_and_the_network_are_refused_however_they_come_in() {
    for (trigger, expected) in [
        (
            "- { source: hooks }",
            "agents/a.md:5:1: warning: strangers can start this agent by `hooks`, where no `from` names",
        ),
        ("- { source: hooks, prompt: '{{ body.issue.body }}' }", "it holds secrets and may use the network"),
        (
            "- { source: mail, from: a@example.com }\n- { source: hooks }",
            "agents/a.md:6:1: warning: strangers can start",
        ),
        ("- { source: hooks }\n- { source: mail, from: '*' }", "agents/a.md:6:1: everybody can start"),
        ("- { source: hooks, from: 'acme-*' }", "everybody can start this agent, it holds secrets"),
        ("- { source: mail, from: '*.com' }", "everybody can start this agent, it holds secrets"),
        ("- { source: mail, from: ['a@example.com', '*@co.uk'] }", "everybody can start this agent"),
        ("- { source: mail, from: '*@gmail.com' }", "everybody can start this agent"),
        ("- { source: mail, from: '+1*' }", "everybody can start this agent"),
    ] {
        let found = said(&format!("{SECRET}{trigger}")).join("\n");
        assert!(found.contains(expected), "{trigger}: {found}");
        let known = said(&format!("{SECRET}{trigger}\nacknowledge: [untrusted-secrets-egress]")).join("\n");
        assert!(!known.contains("holds secrets"), "{trigger}: {known}");
    }
    for trigger in [
        "- { source: hooks, from: octocat }",
        "- { source: mail, from: '*@example.com' }",
        "- { source: mail, from: dana@gmail.com }",
        "- { source: mail, from: '+1555*' }",
        "- { source: mail }",
        "- schedule: { every: 1h }",
    ] {
        let found = said(&format!("{SECRET}{trigger}")).join("\n");
        assert!(!found.contains("holds secrets"), "{trigger}: {found}");
    }
}

#[test]
fn a_usual_agent_for_mail_and_webhooks_is_warned_of_and_valid() {
    let agent = "---\nexecutor: claude\ntools: [Read]\npermissions: [{ allow: Read(/context/**) }]\nmounts: [\"./book:/context/book:ro\"]\n\
        env: { TOKEN: { secret: orders } }\ntriggers:\n- { source: mail, to: support@agents.example.com, from: ['*@example.com'] }\n\
        - { source: hooks, where: 'body.action == \"opened\"', prompt: 'Triage {{ body.issue.title }}' }\n---\nYou answer.\n";
    let settings = "[sources.mail]\nprovider = \"mailgun\"\nsecret = { env = \"KEY\" }\n[sources.hooks]\nprovider = \"github\"\n\
        secret = { env = \"KEY\" }\n[secrets]\norders = { env = \"KEY\" }\n";
    let dir = project(&[("agents/a.md", agent), ("postern.toml", settings), ("book/page", "x")]);
    let loaded = load(dir.path());
    assert!(!loaded.has_errors(), "{:?}", loaded.problems);
    assert_eq!(loaded.problems.len(), 1, "{:?}", loaded.problems);
}

#[test]
fn an_agent_that_webhooks_start_keeps_those_that_it_may_start() {
    let front = "---\nexecutor: anthropic\ntools: [mcp__postern__trigger_agent]\nmay_trigger: [back]\ntriggers: [{ source: hooks }]\n---\n\
        You answer.\n";
    let back = "---\nexecutor: claude\nenv: { KEY: { secret: callback } }\ntriggers: [{ source: hooks, from: octocat }]\n---\nYou work.\n";
    let dir = project(&[("agents/front.md", front), ("agents/back.md", back)]);
    let loaded = load(dir.path());
    let said: Vec<String> = loaded.problems.iter().map(ToString::to_string).collect();
    assert!(
        said.iter().any(|said| said.contains("warning: strangers can start") && said.contains("(`back`)")),
        "{said:?}"
    );
    assert_eq!(loaded.agents.keys().collect::<Vec<_>>(), ["back", "front"], "{said:?}");
}

/// What is said of one mount of a project that has links, secrets and a folder beside it.
fn said_of_mount(mount: &str) -> String {
    let agent =
        format!("---\nexecutor: command\ncommand: [a]\nmounts: ['{mount}']\ntriggers: [{{ source: hooks }}]\n---\n");
    let dir = project(&[
        ("app/agents/a.md", agent.as_str()),
        ("app/postern.toml", "[sources.hooks]\nprovider = \"github\"\nsecret = { env = \"KEY\" }\n"),
        ("app/book/page", "x"),
        ("app/linked/deep/page", "x"),
        ("app/whole/page", "x"),
        ("app/.env", "KEY=x"),
        ("app/.postern/work/x", "x"),
        ("beside/page", "x"),
    ]);
    let app = dir.path().join("app");
    symlink("/etc", app.join("link")).unwrap();
    symlink("../beside", app.join("neighbour")).unwrap();
    symlink("book", app.join("same")).unwrap();
    symlink("/etc/passwd", app.join("linked/deep/passwd")).unwrap();
    symlink("page", app.join("whole/again")).unwrap();
    symlink(".postern", app.join("sly")).unwrap();
    let mount = mount.replace("APP", &app.display().to_string());
    write(&app, "agents/a.md", &agent.replace("APP", &app.display().to_string()));
    let found = problems(&app);
    found.replace(&format!("`{}", app.display()), "`APP") + &format!(" [{mount}]")
}

#[test]
fn a_mount_opens_neither_the_machine_nor_postern_itself() {
    for (mount, expected) in [
        ("../beside:/context/h", "agents/a.md:4:10: `../beside` leads away by `..`; write the path itself, /"),
        ("./book/../../beside:/context/h", "leads away by `..`"),
        ("./link:/context/h", "`./link` leads out of the project by a link; write the path itself, /etc, if"),
        ("./link/ssl:/context/h", "leads out of the project by a link"),
        ("./neighbour:/context/h", "leads out of the project by a link"),
        ("./neighbour/../outside:/context/h", "is not there to be mounted"),
        ("./linked:/context/h", "`./linked` has a link in it that leads out of it: `deep/passwd`; copy what is meant"),
        ("/:/context/h", "`/` would open the whole file system to the agent"),
        ("/proc/self/root:/context/h", "would open the processes of the machine"),
        ("/proc/1:/context/h", "would open the processes of the machine"),
        (".:/context/h", "`.` would open Postern\\'s database to the agent; mount a folder that holds only"),
        ("APP:/context/h", "`APP` would open Postern\\'s database"),
        ("APP/..:/context/h", "would open Postern\\'s database"),
        ("./.postern:/context/h", "would open Postern\\'s database"),
        ("./.postern/work:/context/h", "to the agent"),
        ("./sly:/context/h", "would open Postern\\'s database"),
        ("./.env:/context/h", "`./.env` would open the project\\'s secrets in .env to the agent"),
        (
            "./book:/context/h:rx",
            "agents/a.md:4:10: `rx` at the end of `./book:/context/h:rx` is neither `ro` nor `rw`",
        ),
        ("./book:/context/h:RO", "is neither `ro` nor `rw`; end it in `:ro` to be read"),
    ] {
        let (found, expected) = (said_of_mount(mount), expected.replace("\\'", "'"));
        assert!(found.contains(&expected), "{mount}: {found}");
        assert_eq!(found.lines().count(), 1, "one fault, said once: {found}");
    }
    let written = said_of_mount("./linked:/context/h:rw");
    assert!(written.contains("warning: `./linked` has a link in it that leads out of it"), "{written}");
    for mount in [
        "./book:/context/h",
        "./same:/context/h",
        "./whole:/context/h:ro",
        "APP/../beside:/context/h",
        "/usr/share:/context/h",
    ] {
        let found = said_of_mount(mount);
        assert!(found.starts_with(" ["), "{mount}: {found}");
    }
}

#[test]
fn a_mount_that_was_sent_is_judged_by_its_words() {
    let dir = project(&[("agents/a.md", "---\nexecutor: command\ncommand: [a]\ntriggers: [{ source: hooks }]\n---\n")]);
    let settings = load(dir.path()).settings;
    let shown = dir.path().display().to_string();
    for (mount, expected) in [
        ("/:/c", "the whole file system"),
        ("DIR/.postern:/c", "Postern's database"),
        ("DIR/.postern/work/runs:/c", "to the agent"),
        ("DIR:/c", "Postern's database"),
        ("DIR/book/../.postern:/c", "Postern's database"),
        ("/proc/self/cwd:/c", "the processes of the machine"),
        ("/srv/../etc:/c", "`/srv/../etc` leads away by `..`; write the path itself, /etc"),
        ("/srv/book:/c", ""),
        ("DIR/book:/c", ""),
    ] {
        let mounts = json!([mount.replace("DIR", &shown)]);
        let bundle = json!({"sources": {"a": {"provider": "github", "secret": {"env": "A"}}}, "agents": {"b": {"spec":
            {"executor": "command", "command": ["x"], "triggers": [{"source": "a"}], "mounts": mounts}}}});
        let found = check_bundle(&serde_json::from_value(bundle).unwrap(), &settings, &["github"]);
        let found: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(found.len(), usize::from(!expected.is_empty()), "{mount}: {found:?}");
        assert!(found.iter().all(|problem| problem.contains(expected)), "{mount}: {found:?}");
    }
}

#[test]
fn a_skill_brings_words_alone() {
    let agent = "---\nexecutor: claude\ntools: [Skill]\nskills: [tone]\ntriggers: [{ source: hooks }]\n---\nHi\n";
    let dir = project(&[("agents/a.md", agent), ("agents/b.md", agent), ("skills/tone/SKILL.md", "")]);
    for (front, text, expected) in [
        ("license: MIT\nmetadata: { a: 1 }\nargument-hint: x\nwhen_to_use: now", "Text `!` and wow!", ""),
        (
            "hooks:\n  PreToolUse: []",
            "Text",
            "skills/tone/SKILL.md:4:1: has `hooks`, which would start programs or grant rights to every agent with it; \
             remove it",
        ),
        ("Hooks: {}", "Text", "SKILL.md:4:1: has `Hooks`"),
        ("mcp_servers: {}", "Text", "SKILL.md:4:1: has `mcp_servers`"),
        (
            "license: x\nallowed-tools: Bash(rm *)",
            "Text",
            "skills/tone/SKILL.md:5:1: warning: `allowed-tools` has no effect; what an agent may do, the `permissions`",
        ),
        ("model: opus", "Text", "warning: `model` has no effect; an agent's file says which model works"),
        ("context: fork", "Text", "warning: `context` has no effect"),
        ("brand-new-key: x", "Text", "warning: `brand-new-key` has no effect"),
        ("license: x", "Text\n\nNow !`rm x`", "SKILL.md:8:5: warning: the command here is not run"),
        ("license: x", "```!\nrm x\n```", "SKILL.md:6:1: warning: the command here is not run"),
    ] {
        let skill = format!("---\nname: tone\ndescription: d\n{front}\n---\n{text}\n");
        write(dir.path(), "skills/tone/SKILL.md", &skill);
        let found: Vec<String> = load(dir.path()).problems.iter().map(ToString::to_string).collect();
        let is_error = expected.contains(": has ");
        // A warning stands there once, an error once for each agent that cannot be used.
        let count = if expected.is_empty() { 0 } else { 1 + usize::from(is_error) };
        assert_eq!(found.len(), count, "{front} {text}: {found:?}");
        assert!(found.iter().all(|problem| problem.contains(expected)), "{front} {text}: {found:?}");
    }
    write(dir.path(), "skills/tone/SKILL.md", "---\nname: tone\ndescription: d\n---\nText\n");
    write(dir.path(), "skills/tone/skill.md", "---\nname: tone\ndescription: d\nhooks: {}\n---\nText\n");
    assert!(problems(dir.path()).contains("has a `skill.md` beside its SKILL.md"), "{}", problems(dir.path()));
    fs::remove_file(dir.path().join("skills/tone/skill.md")).unwrap();
    assert_eq!(problems(dir.path()), "");
}

#[test]
fn a_claude_agent_that_could_not_live_is_refused() {
    for (yaml, expected) in [
        ("executor: claude\nnetwork: false", "agents/a.md:3:1: a claude agent reaches its model over the network"),
        ("executor: anthropic\nnetwork: false", "agents/a.md:3:1: `network` means nothing with executor anthropic"),
        (
            "executor: claude\nlimits: { idle: 20s }",
            "agents/a.md:3:11: warning: `limits.idle` is 20s, and while a tool",
        ),
        (
            "executor: claude\noutput_schema: { type: object, $ref: 'https://x.example/s' }",
            "which lies outside at `/`; copy that schema into `$defs`",
        ),
        (
            "executor: anthropic\noutput_schema: { type: object, properties: { a: { enum: 7 } } }",
            "has a `enum` that is no list, or an empty one at `/properties/a`; list the values that there are",
        ),
    ] {
        let found = said(yaml).join("\n");
        assert!(found.contains(expected), "{yaml}: {found}");
    }
    let found = said("executor: claude\nnetwork: true\nlimits: { idle: 45s }").join("\n");
    assert!(!found.contains("network") && !found.contains("idle"), "{found}");
}
