//! What is said of skills, repositories and databases that an agent's file names wrongly.

use crate::config::said;

/// Frontmatter, and what must be said of it.
const CASES: &[(&str, &str)] = &[
    ("mounts:\n- { git: 'https://a:b@git.example.com/x', to: /c }", "`git` has a name or password in it"),
    ("mounts:\n- { git: 'file:///srv/x', to: /c }", "repositories are not fetched by file"),
    ("mounts:\n- { git: 'x', to: /c }", "agents/a.md:4:5: `git` is no URL of a repository"),
    ("mounts:\n- { git: 'https://g.example.com/x', ref: '--upload-pack=x', to: /c }", "is no branch, tag or commit"),
    ("mounts:\n- { git: 'https://g.example.com/x', path: ../y, to: /c }", "`path` is not a plain path"),
    ("mounts:\n- ./book:/c\n- { git: 'https://g.example.com/x', to: /c/d }", "`/c/d` lies over `/c`"),
    ("mounts:\n- { git: 'https://g.example.com/x', to: /c, token: hunter2 }", "`token` must not stand in the file"),
    ("mounts:\n- { git: 'https://g.example.com/x', to: /c, token: { secret: calback } }", "did you mean `callback`?"),
    ("mounts:\n- { git: 'https://g.example.com/x' }", "`mounts[0]` has none of its forms"),
    ("databases: { orders: { url: 'postgres://a', env: A } }", "`url` must not stand in the file"),
    ("env: { A: x }\ndatabases: { orders: { url: { env: X }, env: A } }", "`A` is set twice"),
    ("databases: { orders: { url: { env: X }, env: PATH } }", "`PATH` cannot be set for an agent"),
    (
        "databases: { orders: { url: { env: X }, env: A, to: mcp.ordrs } }\nmcp: { orders: { command: x } }",
        "did you mean `mcp.orders`?",
    ),
    (
        "databases: { orders: { url: { env: X }, env: A, to: mcp.o } }\nmcp: { o: { url: 'https://o.example.com' } }",
        "so it has no environment",
    ),
    (
        "databases: { a: { url: { env: X }, env: U, to: mcp.o } }\nmcp: { o: { command: x, env: { U: y } } }",
        "`U` is set twice",
    ),
    ("setup: { run: '' }", "`setup.run` is empty"),
    ("setup: { run: [] }", "`setup.run` is empty"),
    ("setup: { run: 7 }", "`setup.run` has none of its forms; write lines for /bin/sh"),
    ("setup: { run: 'npm ci {{ subject }}' }", "a setup is prepared before there is an event"),
    ("setup: { run: x, timeout: 3h }", "`setup.timeout` is 3h; write a span between 1s and 2h"),
    ("setup: { run: x, files: [a/../../etc/passwd] }", "is no plain path below `setup/`"),
    ("setup: { run: x, files: [missing.txt] }", "agents/a.md:3:26: `setup/missing.txt` cannot be read"),
    ("setup: { run: x, env: { LD_PRELOAD: y } }", "`LD_PRELOAD` cannot be set for an agent"),
    ("setup: { run: x, env: { K: { secret: calback } } }", "did you mean `callback`?"),
    ("mounts: [{ upload: '../x', to: /c }]", "is neither the name nor the id of an upload"),
    ("mounts: [{ upload: book, to: /c, path: ../x }]", "`path` is not a plain path in the upload"),
    ("mounts: [{ upload: book, to: /c, digest: abc }]", "`digest` is written by the server"),
    ("mounts: [{ upload: book, to: /c }, { upload: book, to: /c/d }]", "`/c/d` lies over `/c`"),
    ("mounts: ['./book:/layer/x']", "belongs to the system"),
    ("skills: [tone, { name: tone, always: true }]", "`tone` is named twice"),
    ("skills: [{ name: tone, when: bdy.a == 1 }]", "agents/a.md:3:24: `when` is no CEL expression"),
    ("skills: [{ name: tone, allways: true }]", "`skills[0]` has none of its forms; write the name"),
];

#[test]
fn what_is_wrong_is_said_with_the_way_out() {
    for (yaml, expected) in CASES {
        let found = said(&format!("executor: claude\n{yaml}")).join("\n");
        assert!(found.contains(expected), "{yaml}: {found}");
        assert!(!found.contains("hunter2"), "{found}");
    }
    let found = said("executor: command\ncommand: [a]\nskills: [{ name: tone, always: true }]").join("\n");
    assert!(found.contains("`always` means nothing with executor command"), "{found}");
    let found =
        said("executor: command\ncommand: [a]\ndatabases: { o: { url: { env: X }, env: A, to: mcp.o } }").join("\n");
    assert!(found.contains("`to` means nothing with executor command"), "{found}");
}
